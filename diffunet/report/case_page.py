"""Facts about a folder of predictions: a table of cases, their pictures, and calibration."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from diffunet.data.image_io import read_label_map
from diffunet.data.prediction_records import PredictionRecord, read_records
from diffunet.data.raw.dataset_json import file_ending_problems
from diffunet.errors import DatasetError, DiffunetError, UsageError
from diffunet.jsonio import read_json, read_object
from diffunet.labels import LabelScheme
from diffunet.report import verdicts
from diffunet.report.case_inputs import Asked, CaseInputs, find_inputs
from diffunet.report.case_views import CaseFiles, CaseView, Limits, files_of_case, view_case
from diffunet.report.charts import Chart, number
from diffunet.report.evaluation import CaseScore, Evaluation, read_evaluation
from diffunet.report.json_facts import at, list_at, mapping_at, number_at, numbers_at
from diffunet.report.score_charts import coverage_chart, presence_chart, reliability_charts
from diffunet.workspace import DATASET_FILE, SUMMARY_FILE

MOST_PICTURED = 200
_TOTAL_BYTES = 24 * 2**20
_NUM_NAMED = 3
_COLUMNS = ("ged_fully_unbiased", "Dice", "ged", "volume_coverage")


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """What samples and raters measure of a label in one case."""

    label: str
    unit: str
    mean: float | None
    lower: float | None = None
    upper: float | None = None
    samples: tuple[float, ...] = ()
    raters: tuple[float, ...] = ()

    @property
    def spread(self) -> float | None:
        """Width of the 5 to 95 % interval over the mean; 0 where nothing is ever marked."""
        if self.lower is None or self.upper is None or self.mean is None:
            return None
        return (self.upper - self.lower) / self.mean if self.mean > 0 else 0.0

    @property
    def presence(self) -> float | None:
        """Share of the samples that mark anything."""
        return float(np.mean(np.array(self.samples) > 0)) if self.samples else None


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Whether an image shows a label, of models of image-level labels."""

    label: str
    probability: float | None
    num_present: int
    num_images: int


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """A row of the table, and what is shown below it.

    Attributes:
        uncertainty: larger for cases that deserve a look; None where nothing is known.
        links: (text, address relative to the page).
        note: why there are no pictures; empty where there are.
    """

    name: str
    patient: str
    scores: Mapping[str, float | None]
    volumes: tuple[Volumes, ...]
    presences: tuple[Presence, ...]
    uncertainty: float | None
    seconds: float | None
    links: tuple[tuple[str, str], ...]
    view: CaseView | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CasePage:
    """All that a page about predictions shows.

    Attributes:
        score_columns: (name, title) of the scores in the table.
        order: in words, how the cases are sorted.
    """

    title: str
    folder: Path
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    evaluation: Evaluation | None
    score_columns: tuple[tuple[str, str], ...]
    cases: tuple[CaseFacts, ...]
    order: str
    calibration: tuple[Chart, ...]
    labels: tuple[str, ...]


def read_case_page(
    folder: Path,
    *,
    asked: Asked,
    page: Path,
    summary: Any = None,
    max_seconds: float | None = None,
) -> CasePage:
    """Read a folder of predictions.

    Args:
        page: where the page will lie; links are relative to it.
        summary: scores of these predictions; None for those in the folder, if there are any.
        max_seconds: after so long no more cases get pictures.

    Raises:
        DiffunetError: a file is damaged, or nothing says which labels the masks hold.
    """
    if summary is None and (folder / SUMMARY_FILE).is_file():
        summary = read_json(folder / SUMMARY_FILE)
    evaluation = read_evaluation(summary)
    records = read_records(folder)
    names = sorted({*records, *(evaluation.by_case if evaluation else ())})
    if not names:
        raise UsageError(f"'{folder}' holds no predicted case; wait for the prediction to finish")
    content = _dataset_of(folder)
    labels = LabelScheme.from_dataset_json(content)
    inputs, notes = find_inputs(
        names,
        records=records,
        evaluation=evaluation,
        asked=asked,
        file_ending=str(content["file_ending"]),
        num_channels=len(mapping_at(content, "channel_names")) or 1,
        has_raters=bool(at(content, "raters")),
    )
    files = {
        name: files_of_case(
            folder,
            name,
            labels,
            file_ending=str(content["file_ending"]),
            record=records[name].content if name in records else {},
        )
        for name in names
    }
    facts = [
        _facts(name, records.get(name), files[name], inputs[name], evaluation, page=page)
        for name in names
    ]
    facts, order = _sorted(facts, evaluation)
    facts = _with_pictures(facts, files, inputs, labels, max_seconds=max_seconds, notes=notes)
    return CasePage(
        title=_title(folder, records),
        folder=folder,
        verdict=tuple(_verdict(facts, evaluation, num_references=_num_with_references(inputs))),
        notes=tuple(notes),
        settings=tuple(_settings(records)),
        evaluation=evaluation,
        score_columns=_score_columns(evaluation),
        cases=tuple(facts),
        order=order,
        calibration=tuple(_calibration(facts, evaluation, labels)),
        labels=labels.names,
    )


def _dataset_of(folder: Path) -> dict[str, Any]:
    path = folder / DATASET_FILE
    if not path.is_file():
        raise UsageError(
            f"'{folder}' has no {DATASET_FILE}, which says what its masks hold; copy the dataset's "
            "there"
        )
    content = read_object(path, DatasetError)
    ending = content.get("file_ending")
    problems = file_ending_problems(ending) if isinstance(ending, str) else ["no 'file_ending'"]
    if problems:
        raise DatasetError(f"'{path}': {problems[0]}")
    return content


def _facts(
    name: str,
    record: PredictionRecord | None,
    files: CaseFiles,
    inputs: CaseInputs,
    evaluation: Evaluation | None,
    *,
    page: Path,
) -> CaseFacts:
    content = record.content if record is not None else {}
    scored = evaluation.by_case.get(name) if evaluation else None
    volumes = tuple(
        Volumes(
            label=label,
            unit=str(at(about, "unit") or "").replace("^2", "²").replace("^3", "³"),
            mean=number_at(about, "mean")
            if at(about, "mean") is not None
            else number_at(about, "value"),
            lower=number_at(about, "percentile_5"),
            upper=number_at(about, "percentile_95"),
            samples=numbers_at(about, "samples"),
        )
        for label, about in mapping_at(content, "volumes").items()
    )
    presences = tuple(
        Presence(
            label=label,
            probability=number_at(about, "case_probability"),
            num_present=sum(map(bool, list_at(about, "is_present"))),
            num_images=len(list_at(about, "is_present")),
        )
        for label, about in mapping_at(content, "labels").items()
    )
    return CaseFacts(
        name=name,
        patient=scored.patient if scored else "",
        scores=scored.scores if scored else {},
        volumes=volumes,
        presences=presences,
        uncertainty=_uncertainty(volumes, presences),
        seconds=number_at(content, "seconds"),
        links=tuple(_links(files, inputs, page=page)),
    )


def _uncertainty(volumes: Sequence[Volumes], presences: Sequence[Presence]) -> float | None:
    spreads = [each.spread for each in volumes if each.spread is not None]
    if spreads:
        return max(spreads)
    doubts = [1 - abs(2 * p.probability - 1) for p in presences if p.probability is not None]
    return max(doubts) if doubts else None


def _links(files: CaseFiles, inputs: CaseInputs, *, page: Path) -> list[tuple[str, str]]:
    found = [("image", path) for path in inputs.images[:1]]
    found += [("mask", files.mask)] if files.mask else []
    found += [("uncertainty", files.uncertainty)] if files.uncertainty else []
    found += [(path.name, path) for path in (*files.probabilities, *files.saliencies.values())]
    found += [("samples", files.samples[0].path.parent)] if files.samples else []
    found += list(inputs.references.items())
    links = []
    for text, path in found:
        try:
            relative = os.path.relpath(path.resolve(), page.parent.resolve())
        except ValueError:  # another drive
            continue
        links.append((text, quote(relative.replace(os.sep, "/"))))
    return links


def _sorted(facts: list[CaseFacts], evaluation: Evaluation | None) -> tuple[list[CaseFacts], str]:
    """Return the worst cases first; without scores the most uncertain ones."""
    if evaluation is not None:
        order = {case.case: index for index, case in enumerate(evaluation.worst_first())}
        facts = sorted(facts, key=lambda each: order.get(each.name, len(order)))
        return facts, f"worst first, by {evaluation.leading.title}"
    if any(each.uncertainty is not None for each in facts):
        facts = sorted(facts, key=lambda each: (-(each.uncertainty or 0.0), each.name))
        return facts, "most uncertain first"
    return facts, "by name"


def _with_pictures(
    facts: Sequence[CaseFacts],
    files: Mapping[str, CaseFiles],
    inputs: Mapping[str, CaseInputs],
    labels: LabelScheme,
    *,
    max_seconds: float | None,
    notes: list[str],
) -> list[CaseFacts]:
    """Add pictures and raters' volumes, until there are enough or time is up."""
    begun = time.monotonic()
    limits = Limits.for_cases(min(len(facts), MOST_PICTURED), total_bytes=_TOTAL_BYTES)
    done: list[CaseFacts] = []
    num_left, failed = 0, []
    for number_of, each in enumerate(facts):
        is_late = max_seconds is not None and time.monotonic() - begun > max_seconds
        if is_late or number_of >= MOST_PICTURED:
            num_left += 1
            done.append(replace(each, note="No pictures: see the notes above."))
            continue
        try:
            view = view_case(files[each.name], inputs[each.name], labels, limits=limits)
            volumes = _with_raters(each.volumes, inputs[each.name], labels)
            done.append(replace(each, view=view, volumes=volumes))
        except (DiffunetError, ValueError, IndexError, OSError) as cause:
            failed.append(each.name)
            done.append(replace(each, note=f"No pictures: {cause}"))
    if num_left:
        notes.append(
            f"The last {num_left} cases have no pictures, to keep the page small and quick; "
            "diffunet_report makes those of the first "
            f"{MOST_PICTURED} cases."
        )
    if failed:
        notes.append(f"Files of {len(failed)} cases cannot be shown, such as {failed[0]}.")
    if any(each.view for each in done):
        notes.append(
            "Pictures are reduced to 8 bit and to at most "
            f"{limits.edge} pixels, {limits.num_slices} slices and {limits.num_samples} samples a "
            "case; the files hold everything."
        )
    return done


def _with_raters(
    volumes: Sequence[Volumes], inputs: CaseInputs, labels: LabelScheme
) -> tuple[Volumes, ...]:
    if not inputs.references or not volumes:
        return tuple(volumes)
    found: dict[str, list[float]] = {label: [] for label in labels.names}
    for path in inputs.references.values():
        label_map, geometry = read_label_map(path)
        voxel = float(np.prod(geometry.spacing_mm))
        for label, mask in zip(labels.names, labels.masks(label_map), strict=True):
            found[label].append(float(np.count_nonzero(mask)) * voxel)
    return tuple(replace(each, raters=tuple(found.get(each.label, ()))) for each in volumes)


def _title(folder: Path, records: Mapping[str, PredictionRecord]) -> str:
    dataset = next((at(record.settings, "dataset") for record in records.values()), None)
    place = folder.resolve()
    shown = place.name if place.name != "validation" else f"{place.parent.name}, validation"
    return f"Predictions: {shown}" + (f" ({dataset})" if dataset else "")


def _settings(records: Mapping[str, PredictionRecord]) -> list[tuple[str, str]]:
    first = next(iter(records.values()), None)
    settings = first.settings if first is not None else {}
    sampling = mapping_at(settings, "sampling")
    drawn = f"{at(sampling, 'num_samples')} of {at(sampling, 'num_steps')} steps"
    seconds = [
        value for record in records.values() if (value := number_at(record.content, "seconds"))
    ]
    rows = [
        ("method", at(settings, "method")),
        ("configuration", at(settings, "configuration")),
        ("folds", ", ".join(map(str, list_at(settings, "folds"))) or None),
        ("checkpoint", at(settings, "checkpoint")),
        ("samples", f"{drawn} ({at(sampling, 'sampler')})" if sampling else None),
        ("saliency", at(settings, "saliency")),
        ("drawn as", at(settings, "rater")),
        ("seed", at(settings, "seed")),
        ("seconds per case", number(float(np.median(seconds))) if seconds else None),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _score_columns(evaluation: Evaluation | None) -> tuple[tuple[str, str], ...]:
    if evaluation is None:
        return ()
    titles = {score.name: score.title for score in evaluation.scores}
    names = dict.fromkeys([evaluation.leading.name, *_COLUMNS])
    return tuple((name, titles[name]) for name in names if name in titles)


def _num_with_references(inputs: Mapping[str, CaseInputs]) -> int:
    return sum(bool(each.references) for each in inputs.values())


def _verdict(
    facts: Sequence[CaseFacts], evaluation: Evaluation | None, *, num_references: int
) -> list[str]:
    if evaluation is not None:
        return verdicts.of_evaluation(evaluation)
    sentences = [f"{len(facts)} cases were predicted; there are no scores for them."]
    unsure = [each for each in facts if each.uncertainty]
    if unsure:
        listed = ", ".join(map(_uncertain, unsure[:_NUM_NAMED]))
        sentences.append(f"Look first at the most uncertain: {listed}.")
    elif any(each.uncertainty is not None for each in facts):
        sentences.append("All samples of each case agree in volume.")
    draws = any(volumes.samples for case in facts for volumes in case.volumes)
    if draws and not num_references:
        sentences.append(
            "Whether they are calibrated can only be said beside references: -r, or "
            "diffunet_evaluate."
        )
    return sentences


def _uncertain(case: CaseFacts) -> str:
    for each in case.volumes:
        if each.lower is not None and each.spread == case.uncertainty:
            interval = f"{number(each.lower)} to {number(each.upper)} {each.unit}"
            return f"{case.name} ({each.label} of {interval})"
    for each in case.presences:
        if each.probability is not None:
            return f"{case.name} ({each.label}: probability {number(each.probability, 2)})"
    return case.name


def _calibration(
    facts: Sequence[CaseFacts], evaluation: Evaluation | None, labels: LabelScheme
) -> list[Chart]:
    charts = reliability_charts({"this model": evaluation}) if evaluation is not None else []
    for label in labels.names:
        volumes = [each for case in facts for each in case.volumes if each.label == label]
        seen = [each for each in volumes if each.samples and each.raters]
        shares = [
            (each.presence or 0.0, float(np.mean(np.array(each.raters) > 0))) for each in seen
        ]
        measured = [(each.samples, each.raters) for each in seen]
        found = (presence_chart(label, shares), coverage_chart(label, measured))
        charts += [chart for chart in found if chart is not None]
    return charts


__all__ = ["CaseFacts", "CasePage", "CaseScore", "Presence", "Volumes", "read_case_page"]
