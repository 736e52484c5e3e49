"""Facts about a preprocessed dataset: what was found, what was planned from it, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffunet.errors import UsageError
from diffunet.fingerprint.fingerprint import Fingerprint, ObjectFingerprint
from diffunet.fingerprint.summary import Summary
from diffunet.jsonio import as_json
from diffunet.plans import Plans
from diffunet.plans.edits import PLANNED_SUFFIX
from diffunet.report.charts import Chart, counted, number
from diffunet.report.dataset_pictures import CasePicture, typical_picture
from diffunet.report.noise_chart import noise_chart
from diffunet.report.plan_facts import Choice, chosen_values
from diffunet.workspace import DEFAULT_PLANS_NAME, FINGERPRINT_FILE

_MOST_LABELS = 20


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """What was found about one label, in words; empty where it is unknown."""

    name: str
    volume: str
    empty: str
    agreement: str
    prevalence: str


@dataclass(frozen=True, kw_only=True)
class ConfigurationFacts:
    """One configuration of the plans.

    Attributes:
        picture: a typical training case with the patch on it; None where it cannot be shown.
        picture_note: why not; else empty.
    """

    name: str
    is_recommended: bool
    choices: tuple[Choice, ...]
    noise: Chart | None
    noise_note: str
    picture: CasePicture | None
    picture_note: str


@dataclass(frozen=True, kw_only=True)
class DatasetPage:
    """All that a page about a dataset shows."""

    title: str
    folder: Path
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    found: tuple[tuple[str, str], ...]
    labels: tuple[LabelRow, ...]
    trivial: tuple[tuple[str, str], ...]
    general: tuple[Choice, ...]
    configurations: tuple[ConfigurationFacts, ...]


def read_dataset_page(folder: Path) -> DatasetPage:
    """Read a folder of `preprocessed`.

    Raises:
        DiffunetError: the fingerprint or the plans are missing or damaged.
    """
    fingerprint = Fingerprint.load(folder / FINGERPRINT_FILE)
    plans = Plans.load(_plans_path(folder))
    reasons = plans.reasons
    general = {
        "method": plans.method,
        "recommended_configuration": plans.recommended_configuration,
        "transpose_forward": list(plans.transpose_forward),
    }
    ordered = sorted(plans.configurations, key=lambda name: name != plans.recommended_configuration)
    configurations = tuple(
        _configuration(name, plans, fingerprint, folder=folder) for name in ordered
    )
    return DatasetPage(
        title=f"Dataset: {fingerprint.dataset_name}",
        folder=folder,
        verdict=tuple(_verdict(fingerprint, plans)),
        warnings=tuple(fingerprint.warnings),
        found=tuple(_found(fingerprint)),
        labels=tuple(_labels(fingerprint)),
        trivial=tuple(_trivial(fingerprint)),
        general=chosen_values(general, reasons, method=plans.method),
        configurations=configurations,
    )


def _plans_path(folder: Path) -> Path:
    default = folder / f"{DEFAULT_PLANS_NAME}.json"
    if default.is_file():
        return default
    others = [
        path
        for path in sorted(folder.glob("*plans*.json"))
        if not path.name.endswith(PLANNED_SUFFIX)
    ]
    if not others:
        raise UsageError(f"'{folder}' has no plans yet: run diffunet_plan_experiment")
    return others[0]


def _configuration(
    name: str, plans: Plans, fingerprint: Fingerprint, *, folder: Path
) -> ConfigurationFacts:
    plan = plans.configurations[name]
    reasons = plans.reasons.get("configurations", {}).get(name, {})
    chart, note = noise_chart(plan, reasons)
    picture = typical_picture(folder, plan, fingerprint)
    return ConfigurationFacts(
        name=name,
        is_recommended=name == plans.recommended_configuration,
        choices=chosen_values(as_json(plan), reasons, method=plans.method),
        noise=chart,
        noise_note=note,
        picture=None if isinstance(picture, str) else picture,
        picture_note=picture if isinstance(picture, str) else "",
    )


def _found(fingerprint: Fingerprint) -> list[tuple[str, str]]:
    geometry = fingerprint.geometry
    raters = fingerprint.raters
    rows = [
        ("cases", f"{fingerprint.num_cases} of {counted(fingerprint.num_patients, 'patient')}"),
        ("channels", ", ".join(channel.name for channel in fingerprint.channels)),
        ("size (voxels)", _per_axis(geometry.shape)),
        ("spacing (mm)", _per_axis(geometry.spacing_mm))
        if geometry.has_spacing
        else ("spacing", "not in the files; lengths count in voxels"),
    ]
    if raters is not None:
        rows.append(("raters per case", _span(raters.per_case)))
        rows.append(("masks that mark nothing", f"{raters.share_of_empty_masks:.0%}"))
        if raters.per_case.maximum > 1:
            share = f"{raters.share_of_cases_partly_empty:.0%}"
            rows.append(("cases in which only some raters saw something", share))
        for rater, empty in raters.share_of_empty_masks_by_rater.items():
            if len(raters.share_of_empty_masks_by_rater) > 1:
                rows.append((f"{rater} marks nothing", f"{empty:.0%}"))
    return rows


def _labels(fingerprint: Fingerprint) -> list[LabelRow]:
    names: list[str] = [*(fingerprint.labels or {}), *(fingerprint.image_labels or {})]
    rows = []
    for name in list(dict.fromkeys(names))[:_MOST_LABELS]:
        label = (fingerprint.labels or {}).get(name)
        tag = (fingerprint.image_labels or {}).get(name)
        objects = label.objects if label else None
        differ = label.disagreement if label else None
        agreement = ""
        if differ is not None:
            agreement = f"IoU {number(differ.iou.mean, 2)}"
            if differ.iou_where_both_marked is not None:
                both = number(differ.iou_where_both_marked.mean, 2)
                agreement += f" ({both} where both marked something)"
            agreement += f"; {differ.share_of_equal_pairs:.0%} of the pairs agree entirely"
        rows.append(
            LabelRow(
                name=name,
                volume="" if objects is None else _size(objects, fingerprint),
                empty="" if label is None else f"{label.share_of_empty_masks:.0%}",
                agreement=agreement,
                prevalence="" if tag is None else f"{tag.prevalence:.0%} of {tag.num_images}",
            )
        )
    return rows


def _size(objects: ObjectFingerprint, fingerprint: Fingerprint) -> str:
    is_flat = fingerprint.dimensions == 2
    volume, width = number(objects.volume_mm.median), number(objects.diameter_mm.median)
    if not fingerprint.geometry.has_spacing:
        unit = "pixels" if is_flat else "voxels"
        return f"{volume} {unit} ({width} wide)"
    return f"{volume} {'mm²' if is_flat else 'mm³'} ({width} mm wide)"


def _trivial(fingerprint: Fingerprint) -> list[tuple[str, str]]:
    answers = fingerprint.trivial_answers
    if answers is None:
        return []
    rows = [
        ("always empty", number(answers.always_empty)),
        ("a blob at the centre", number(answers.centre_blob)),
        ("the raters' majority", number(answers.oracle_majority)),
        (f"{answers.num_samples} masks drawn as raters draw", number(answers.oracle_redraw)),
    ]
    has_several = fingerprint.raters is not None and fingerprint.raters.per_case.maximum > 1
    return rows if has_several else rows[:2]


def _verdict(fingerprint: Fingerprint, plans: Plans) -> list[str]:
    kind = "volume" if fingerprint.dimensions == 3 else "image"
    labels = [*(fingerprint.labels or {}), *(fingerprint.image_labels or {})]
    named = ", ".join(dict.fromkeys(labels))
    raters = fingerprint.raters
    several = raters is not None and raters.per_case.maximum > 1
    who = f", {_span(raters.per_case)} raters each" if raters is not None and several else ""
    sentences = [
        f"{counted(fingerprint.num_cases, kind)} of "
        f"{counted(fingerprint.num_patients, 'patient')}{who}"
        f"{f'; labels: {named}' if named else ''}."
    ]
    for name, label in list((fingerprint.labels or {}).items())[:1]:
        if label.disagreement is not None:
            sentences.append(
                f"Two raters of '{name}' have a mean IoU of "
                f"{number(label.disagreement.iou.mean, 2)}: that is what the model learns to draw."
            )
    plan = plans.configuration(plans.recommended_configuration)
    patch = " × ".join(map(str, plan.patch_size))
    sentences.append(
        f"Planned: method '{plans.method}', configuration '{plans.recommended_configuration}', "
        f"patches of {patch}, input scale b = {plan.diffusion.input_scale:g}, "
        f"{plan.sampling.num_samples} samples of {plan.sampling.num_steps} steps, "
        f"{plan.training.num_iterations} iterations of {plan.training.batch_size} patches."
        if plan.weak is None
        else f"Planned: method '{plans.method}', configuration "
        f"'{plans.recommended_configuration}', images of {patch}."
    )
    count = len(fingerprint.warnings)
    if count:
        sentences.append(f"Read the {count} warning{'s' if count > 1 else ''} before you train.")
    else:
        sentences.append("Nothing was found that speaks against training.")
    return sentences


def _per_axis(summaries: Sequence[Summary]) -> str:
    return " × ".join(_span(each) for each in summaries)


def _span(summary: Summary) -> str:
    """Return the median, and the range where there is one."""
    if summary.minimum == summary.maximum:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.minimum)} to {number(summary.maximum)})"
