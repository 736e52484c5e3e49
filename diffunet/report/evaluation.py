"""What a `summary.json` says: scores with intervals, beside what trivial answers score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffunet.evaluation.table import SCORE_TITLES, direction_of, says_something
from diffunet.report.json_facts import at, list_at, mapping_at, number_at

_ANSWERS = {
    "always_empty": "always empty",
    "oracle_majority": "the raters' majority",
    "centre_blob": "a blob at the centre",
    "oracle_raters": "the raters' own masks",
}
_ORACLES = ("oracle_majority", "oracle_raters")
"""Perfect by definition where there is one rater, and then no comparison."""

_TITLES = {
    **SCORE_TITLES,
    "Dice": "Dice of the consensus",
    "ace": "calibration error of a case (ACE)",
    "volume_crps": "error of the volumes (CRPS)",
    "volume_coverage": "volumes inside the interval",
    "D_ss": "diversity of samples (D_ss)",
    "D_yy": "diversity of raters (D_yy)",
    "surface_dice": "surface Dice",
    "hm_iou": "matched IoU (HM-IoU)",
    "match_dice": "best matching Dice",
    "relative_volume_error": "relative error of the volume",
}
_OF_DISTRIBUTION = (
    *("ged_fully_unbiased", "energy_score", "ged", "D_ss", "D_yy", "hm_iou", "match_dice", "ace"),
    *("volume_crps", "volume_coverage"),
)
_OF_CONSENSUS = ("Dice", "IoU", "HD95", "surface_dice", "relative_volume_error")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Another answer's score, and ours minus it with its 95 % interval."""

    name: str
    mean: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """A mean with its 95 % interval.

    Attributes:
        name: in `summary.json`.
        better: "lower", "higher", "zero", "neither", or None if unknown.
        perfect: of a model that draws as the raters do.
    """

    name: str
    title: str
    mean: float | None
    lower: float | None = None
    upper: float | None = None
    better: str | None = None
    perfect: Comparison | None = None
    answers: tuple[Comparison, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """The share of samples that mark a voxel against that of raters, in bins of all voxels.

    Attributes:
        ace: mean gap of the bins.
    """

    label: str
    predicted: tuple[float | None, ...]
    observed: tuple[float | None, ...]
    num_voxels: tuple[float, ...]
    ace: float | None = None


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """The scores of a case, by name; of several labels their mean.

    Attributes:
        prediction_digest: of the files that were scored; None where it is not told.
    """

    case: str
    patient: str
    scores: Mapping[str, float | None]
    reference_files: tuple[str, ...] = ()
    prediction_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of masks against references.

    Attributes:
        leading: the score to read first; also the one by which cases are the worst.
        num_raters: most in any case; None if it is not known.
        nominal_coverage: what `volume_coverage` is for samples drawn as raters draw.
    """

    num_cases: int
    num_patients: int | None
    num_samples: int | None
    num_raters: int | None
    leading: Score
    scores: tuple[Score, ...]
    cases: tuple[CaseScore, ...]
    reliability: tuple[Reliability, ...]
    coverage: Score | None
    nominal_coverage: float | None
    interval: str

    @property
    def compared(self) -> Score:
        """The first score that trivial answers have too; the leading one where none has."""
        return next((score for score in self.scores if score.answers), self.leading)

    @property
    def by_case(self) -> dict[str, CaseScore]:
        return {case.case: case for case in self.cases}

    def worst_first(self) -> list[CaseScore]:
        """Return the cases, the worst first; those without the leading score last."""
        return sorted(self.cases, key=lambda case: _badness(case, self.leading))


def read_evaluation(summary: Any) -> Evaluation | None:
    """Return what `summary.json` says about masks; None if it scores none (image-level labels)."""
    cases = tuple(_case(case) for case in list_at(summary, "metric_per_case") if _name_of(case))
    block = mapping_at(summary, "distribution")
    if not cases:
        return None
    num_samples = number_at(block, "num_samples", 1)
    num_raters = number_at(block, "num_raters", 1)
    scores = _scores(
        summary, block, has_samples=(num_samples or 1) > 1, has_raters=(num_raters or 1) > 1
    )
    if not scores:
        return None
    leading = _leading(scores, num_samples=num_samples, num_raters=num_raters)
    return Evaluation(
        num_cases=len(cases),
        num_patients=_whole(number_at(block, "num_patients")),
        num_samples=_whole(num_samples),
        num_raters=_whole(num_raters),
        leading=leading,
        scores=(leading, *(score for score in scores if score.name != leading.name)),
        cases=cases,
        reliability=tuple(
            _reliability(label, content)
            for label, content in mapping_at(block, "calibration").items()
        ),
        coverage=next((score for score in scores if score.name == "volume_coverage"), None),
        nominal_coverage=number_at(block, "nominal_volume_coverage"),
        interval=str(at(block, "interval") or ""),
    )


def _scores(
    summary: Any, block: Mapping[str, Any], *, has_samples: bool, has_raters: bool
) -> list[Score]:
    mean = mapping_at(block, "mean")
    left_out = () if has_raters else _ORACLES
    found = [
        _score(name, mean, "scores", left_out=left_out)
        for name in _OF_DISTRIBUTION
        if says_something(name, has_samples=has_samples, has_raters=has_raters)
    ]
    found += [_score(name, mean, "consensus", left_out=left_out) for name in _OF_CONSENSUS]
    if not mean:
        plain = mapping_at(summary, "foreground_mean")
        found = [
            Score(
                name=name,
                title=_TITLES.get(name, name),
                mean=number_at(plain, name),
                better=direction_of(name),
            )
            for name in _OF_CONSENSUS
        ]
    return [score for score in found if score.mean is not None]


def _score(
    name: str, mean: Mapping[str, Any], group: str, *, left_out: Sequence[str] = ()
) -> Score:
    entry = mapping_at(mean, group, name)
    answers = mapping_at(mean, "trivial_answers")
    return Score(
        name=name,
        title=_TITLES.get(name, name),
        mean=number_at(entry, "mean"),
        lower=number_at(entry, "lower"),
        upper=number_at(entry, "upper"),
        better=direction_of(name),
        perfect=_comparison("a perfect model", mapping_at(mean, "perfect_model", name)),
        answers=tuple(
            found
            for answer, title in _ANSWERS.items()
            if answer not in left_out
            and (found := _comparison(title, mapping_at(answers, answer, name)))
        ),
    )


def _comparison(name: str, entry: Mapping[str, Any]) -> Comparison | None:
    if number_at(entry, "mean") is None:
        return None
    lower, upper = number_at(entry, "lower"), number_at(entry, "upper")
    return Comparison(name=name, mean=number_at(entry, "mean"), lower=lower, upper=upper)


def _leading(scores: list[Score], *, num_samples: float | None, num_raters: float | None) -> Score:
    """Return the unbiased GED; of one rater, or of one mask per case, the Dice."""
    names = ["Dice", "ged", "IoU"]
    if (num_raters or 1) > 1 and (num_samples or 1) > 1:
        names.insert(0, "ged_fully_unbiased")
    by_name = {score.name: score for score in scores}
    return next((by_name[name] for name in names if name in by_name), scores[0])


def _case(content: Any) -> CaseScore:
    scores: dict[str, float | None] = {}
    for group in ("metrics", "distribution"):
        labels = list(mapping_at(content, group).values())
        names = dict.fromkeys(name for label in labels for name in mapping_at(label))
        for name in names:
            values = [value for label in labels if (value := number_at(label, name)) is not None]
            scores[name] = sum(values) / len(values) if values else None
    reference = at(content, "reference_file")
    files = reference if isinstance(reference, list) else [reference] if reference else []
    name = _name_of(content)
    return CaseScore(
        case=name,
        patient=str(at(content, "patient") or name),
        scores=scores,
        reference_files=tuple(map(str, files)),
        prediction_digest=str(at(content, "prediction_digest") or "") or None,
    )


def _name_of(content: Any) -> str:
    """Return the case that an entry of `metric_per_case` is about; nnU-Net has its file alone."""
    name = at(content, "case")
    if isinstance(name, str):
        return name
    file = at(content, "prediction_file")
    return file.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0] if isinstance(file, str) else ""


def _reliability(label: str, content: Any) -> Reliability:
    predicted, observed = list_at(content, "predicted"), list_at(content, "observed")
    size = min(len(predicted), len(observed))
    return Reliability(
        label=label,
        predicted=tuple(number_at(predicted, index) for index in range(size)),
        observed=tuple(number_at(observed, index) for index in range(size)),
        num_voxels=tuple(number_at(content, "num_voxels", index) or 0 for index in range(size)),
        ace=number_at(content, "ace"),
    )


def _badness(case: CaseScore, leading: Score) -> tuple[bool, float, str]:
    value = case.scores.get(leading.name)
    if value is None:
        return True, 0.0, case.case
    return False, value if leading.better == "higher" else -value, case.case


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
