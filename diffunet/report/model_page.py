"""Facts about a model: how its folds trained, and what their final validations say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.errors import DiffunetError
from diffunet.figures.progress import LEVELS, NOT_VALUES, VALUE_LABELS, read_metrics, smoothed
from diffunet.jsonio import read_json
from diffunet.report import verdicts
from diffunet.report.charts import Chart, Series, level, number
from diffunet.report.evaluation import Evaluation, read_evaluation
from diffunet.report.folders import fold_folders
from diffunet.report.json_facts import at, mapping_at, number_at
from diffunet.report.plan_facts import Choice, chosen_values
from diffunet.report.score_charts import reliability_charts
from diffunet.workspace import METRICS_FILE, RESOLVED_PLANS_FILE, VALIDATION_SUMMARY

_MAIN_SCORES = ("ged_fully_unbiased", "dice", "classification_auc")
"""Of a training's validations: what folds are compared by, the first that there is."""

_PICTURE = "samples.png"
_LARGEST_PICTURE = 4 * 2**20
_STILL_IMPROVING = 0.9
_FEWEST_VALIDATIONS = 3


@dataclass(frozen=True, kw_only=True)
class FoldFacts:
    """One fold.

    Attributes:
        evaluation: of the final validation; None where there is none, or it scored no masks.
        image_scores: of a model of image-level labels: by label and score.
        validation: the main score of the sampled validations, first to last.
        picture: `samples.png` as bytes, where there is one.
    """

    name: str
    folder: Path
    iteration: int
    num_iterations: int | None
    best_iteration: int | None
    seconds: float | None
    samples_per_second: float | None
    loss: float | None
    evaluation: Evaluation | None
    image_scores: Mapping[str, Mapping[str, float]]
    validation: tuple[tuple[float, float | None], ...]
    validation_name: str
    picture: bytes | None
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """All that a page about a model shows; `side_by_side` has scores of several folds."""

    title: str
    folder: Path
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    folds: tuple[FoldFacts, ...]
    charts: tuple[Chart, ...]
    calibration: tuple[Chart, ...]
    settings: tuple[tuple[str, str], ...]
    side_by_side: tuple[tuple[str, tuple[str, ...]], ...]
    choices: tuple[Choice, ...]


def read_model_page(folder: Path) -> ModelPage:
    """Read a model folder, or one of its folds.

    Raises:
        DiffunetError: a file in it is damaged.
    """
    places = fold_folders(folder)
    plans = _plans_of(places)
    folds = tuple(map(_read_fold, places))
    model = folder.parent if places == (folder,) else folder
    shown = f"{model.resolve().parent.name}: {model.resolve().name}"
    return ModelPage(
        title=f"{shown}, {folder.resolve().name}" if places == (folder,) else shown,
        folder=folder,
        verdict=tuple(_verdict(folds)),
        warnings=tuple(_warnings(folds)),
        folds=folds,
        charts=tuple(_charts(folds)),
        calibration=tuple(
            reliability_charts(
                {fold.name: fold.evaluation for fold in folds if fold.evaluation is not None}
            )
        ),
        settings=tuple(_settings(plans)),
        side_by_side=_side_by_side(folds),
        choices=chosen_values(
            mapping_at(plans, "configuration"), mapping_at(plans, "reasons"), only_reasoned=True
        ),
    )


def _plans_of(folds: Sequence[Path]) -> Any:
    path = next((each / RESOLVED_PLANS_FILE for each in folds), None)
    return read_json(path) if path is not None and path.is_file() else {}


def _read_fold(folder: Path) -> FoldFacts:
    records = _read_records(folder / METRICS_FILE)
    losses = [record for record in records if record.get("kind") == "training"]
    scores = [record for record in records if record.get("kind") == "validation"]
    plans = folder / RESOLVED_PLANS_FILE
    content = read_json(plans) if plans.is_file() else {}
    summary_file = folder / VALIDATION_SUMMARY
    summary = read_json(summary_file) if summary_file.is_file() else {}
    name = next((name for name in _MAIN_SCORES if scores and name in scores[0]), "")
    best = [record for record in scores if record.get("is_best")]
    last = losses[-1] if losses else {}
    speeds = [value for record in losses if (value := number_at(record, "samples_per_second"))]
    picture = folder / _PICTURE
    has_picture = picture.is_file() and picture.stat().st_size <= _LARGEST_PICTURE
    return FoldFacts(
        name=folder.resolve().name,
        folder=folder,
        iteration=int(number_at(records[-1] if records else {}, "iteration") or 0),
        num_iterations=_whole(number_at(content, "configuration", "training", "num_iterations")),
        best_iteration=_whole(number_at(best[-1] if best else {}, "iteration")),
        seconds=number_at(last, "seconds"),
        samples_per_second=float(np.median(speeds)) if speeds else None,
        loss=number_at(last, "loss"),
        evaluation=read_evaluation(summary),
        image_scores=_image_scores(summary),
        validation=tuple(
            (number_at(record, "iteration") or 0.0, number_at(record, name)) for record in scores
        )
        if name
        else (),
        validation_name=name,
        picture=picture.read_bytes() if has_picture else None,
        records=tuple(records),
    )


def _read_records(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        records = read_metrics(path)
    except ValueError as cause:
        raise DiffunetError(f"'{path}' is damaged: {cause}; restore it from a copy") from None
    return [record for record in records if isinstance(record, dict)]


def _image_scores(summary: Any) -> dict[str, dict[str, float]]:
    """Return the scores of image-level labels, of summaries that have them."""
    if at(summary, "num_images") is None:
        return {}
    names = ("auc", "cross_entropy", "sensitivity", "specificity", "presence_threshold")
    return {
        label: {name: value for name in names if (value := number_at(content, name)) is not None}
        for label, content in mapping_at(summary, "labels").items()
    }


def _verdict(folds: Sequence[FoldFacts]) -> list[str]:
    scored = [fold for fold in folds if fold.evaluation is not None]
    sentences: list[str] = []
    if not scored:
        sentences += _without_scores(folds)
    elif len(folds) == 1:
        sentences += verdicts.of_scores(_evaluation(scored[0]))
        sentences += verdicts.of_calibration(_evaluation(scored[0]))
    else:
        sentences += _of_several(scored, num_folds=len(folds))
    if len(scored) == 1 and (worst := verdicts.of_worst(_evaluation(scored[0]))):
        sentences.append(worst)
    return [*sentences, *_progress(folds)]


def _evaluation(fold: FoldFacts) -> Evaluation:
    assert fold.evaluation is not None  # noqa: S101 - callers chose such folds
    return fold.evaluation


def _without_scores(folds: Sequence[FoldFacts]) -> list[str]:
    sentences = []
    for fold in folds:
        for label, scores in fold.image_scores.items():
            if "auc" in scores:
                sentences.append(
                    f"{fold.name}: the classifier tells images with '{label}' from others with an "
                    f"AUC of {number(scores['auc'])} (1 is perfect, 0.5 is guessing)."
                )
    if sentences:
        return [*sentences, "No mask was opened; diffunet_evaluate scores masks."]
    values = [fold.validation[-1][1] for fold in folds if fold.validation]
    known = [value for value in values if value is not None]
    if not known:
        return ["There are no validation scores yet."]
    name = folds[0].validation_name
    return [
        f"The last validation of the training: {number(float(np.mean(known)))}, "
        f"{VALUE_LABELS.get(name, name)}. There is no final validation yet."
    ]


def _of_several(scored: Sequence[FoldFacts], *, num_folds: int) -> list[str]:
    leading = [_evaluation(fold).leading for fold in scored]
    means = [each.mean for each in leading if each.mean is not None]
    first = leading[0]
    beside = [each for each in (first.perfect, *first.answers[:2]) if each is not None]
    sentences = [
        f"{first.title[:1].upper()}{first.title[1:]} {number(float(np.mean(means)))} "
        f"(mean of {len(scored)} of {num_folds} folds; {number(min(means))} to "
        f"{number(max(means))})."
    ]
    if beside:
        listed = ", ".join(f"{each.name} {number(each.mean)}" for each in beside)
        sentences.append(f"For comparison, on the cases of {scored[0].name}: {listed}.")
    worst = max if first.better == "lower" else min
    fold = worst(scored, key=lambda each: _evaluation(each).leading.mean or 0)
    sentences.append(f"The worst fold is {fold.name}: {verdicts.of_scores(_evaluation(fold))[-1]}")
    return [*sentences, *verdicts.of_calibration(_evaluation(fold))]


def _side_by_side(folds: Sequence[FoldFacts]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return a row per score with a value per fold; none of a single fold."""
    evaluations = [fold.evaluation for fold in folds if fold.evaluation is not None]
    if len(evaluations) < 2:
        return ()
    rows = []
    for score in evaluations[0].scores:
        found = [
            next((each for each in other.scores if each.name == score.name), None)
            for other in evaluations
        ]
        values = tuple("" if each is None else verdicts.with_interval(each) for each in found)
        rows.append((score.title, values))
    return tuple(rows)


def _progress(folds: Sequence[FoldFacts]) -> list[str]:
    """Return whether the trainings are finished, and whether they were still improving."""
    names = [
        fold.name
        for fold in folds
        if fold.best_iteration is not None
        and fold.iteration
        and len(fold.validation) >= _FEWEST_VALIDATIONS
        and fold.best_iteration >= _STILL_IMPROVING * fold.iteration
    ]
    unfinished = [fold for fold in folds if fold.num_iterations and not _is_finished(fold)]
    sentences = []
    if names and not unfinished:
        one = "The best validation was among the last ones"
        sentences.append(
            f"{one}{'' if len(folds) == 1 else ' in ' + ', '.join(names)}: the score was still "
            "improving, and a longer training may be better."
        )
    elif (
        folds
        and not unfinished
        and any(len(fold.validation) >= _FEWEST_VALIDATIONS for fold in folds)
    ):
        sentences.append(
            "The best validation came before the end: a longer training promises little."
        )
    return sentences


def _is_finished(fold: FoldFacts) -> bool:
    return not fold.num_iterations or fold.iteration >= fold.num_iterations


def _warnings(folds: Sequence[FoldFacts]) -> list[str]:
    found = [
        f"{fold.name} is not finished: {fold.iteration} of {fold.num_iterations} iterations."
        for fold in folds
        if fold.records and not _is_finished(fold)
    ]
    for fold in folds:
        values = [number_at(record, "loss") for record in fold.records if "loss" in record]
        if any(value is None for value in values):
            found.append(f"{fold.name}: the loss was no number in some iterations.")
    return found


def _charts(folds: Sequence[FoldFacts]) -> list[Chart]:
    charts = []
    losses = tuple(
        series for index, fold in enumerate(folds) for series in _loss(fold, index, folds=folds)
    )
    if losses:
        charts.append(
            Chart(
                title="Training loss",
                x_label="iteration",
                y_label="loss",
                series=losses,
                is_log=all((y or 1) > 0 for series in losses for _, y in series.points),
                note="Of the method's own terms: it says whether training runs, and little about "
                "masks.",
            )
        )
    names = [name for name in _score_names(folds[0]) if name not in LEVELS]
    return [*charts, *(chart for name in names if (chart := _score_chart(name, folds)))]


def _loss(fold: FoldFacts, index: int, *, folds: Sequence[FoldFacts]) -> list[Series]:
    records = [record for record in fold.records if record.get("kind") == "training"]
    if not records:
        return []
    values = np.array([number_at(record, "loss") for record in records], float)
    iterations = [number_at(record, "iteration") or 0.0 for record in records]
    raw = Series(
        name="",
        points=tuple(zip(iterations, map(_plain, values), strict=True)),
        look="faint",
        colour=index,
    )
    smooth = Series(
        name=f"{fold.name}, smoothed" if len(folds) > 1 else "loss, smoothed",
        points=tuple(zip(iterations, map(_plain, smoothed(values)), strict=True)),
        colour=index,
    )
    return [raw, smooth] if len(folds) == 1 else [smooth]


def _score_names(fold: FoldFacts) -> list[str]:
    first = next((record for record in fold.records if record.get("kind") == "validation"), {})
    return [name for name in first if name not in NOT_VALUES]


def _score_chart(name: str, folds: Sequence[FoldFacts]) -> Chart | None:
    series = []
    for index, fold in enumerate(folds):
        scores = [record for record in fold.records if record.get("kind") == "validation"]
        points = tuple(
            (number_at(record, "iteration") or 0.0, number_at(record, name)) for record in scores
        )
        if points:
            label = fold.name if len(folds) > 1 else "this model"
            series.append(Series(name=label, points=points, look="dots", colour=index))
    if not series:
        return None
    ends = [x for each in series for x, _ in each.points]
    limits = (0.0, max(ends))
    first = next(record for record in folds[0].records if record.get("kind") == "validation")
    levels = [
        level(_short(text), value, limits=limits, colour=7 - number_of)
        for number_of, (key, (of, _, text)) in enumerate(LEVELS.items())
        if of == name and (value := number_at(first, key)) is not None
    ]
    if name == "ged_fully_unbiased":
        levels.append(level("a perfect model", 0.0, limits=limits, colour=4))
    title, _, rest = VALUE_LABELS.get(name, name).partition(" (")
    return Chart(
        title=f"Validation: {title}",
        x_label="iteration",
        y_label=title.partition(" of ")[0],
        series=tuple(series),
        levels=tuple(levels),
        x_limits=limits if limits[1] > 0 else None,
        note=f"{rest[:1].upper()}{rest[1:].rstrip(')')}." if rest else "",
    )


def _short(text: str) -> str:
    """Return what a level is, without the name of the score that its chart has already."""
    return text.split(", ", 1)[-1].removeprefix("GED of ")


def _settings(plans: Any) -> list[tuple[str, str]]:
    """Return what was trained, in a few rows."""
    configuration = mapping_at(plans, "configuration")
    rows = [
        ("method", at(plans, "method")),
        ("configuration", at(plans, "configuration_name")),
        ("patch", _times(at(configuration, "patch_size"))),
        ("batch", at(configuration, "training", "batch_size")),
        ("iterations", at(configuration, "training", "num_iterations")),
        ("input scale b", at(configuration, "diffusion", "input_scale")),
        ("samples and steps", _samples(configuration)),
        ("set by the user", ", ".join(map(str, at(plans, "set_by_user") or ())) or None),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _samples(configuration: Mapping[str, Any]) -> str | None:
    sampling = mapping_at(configuration, "sampling")
    if not sampling:
        return None
    return (
        f"{at(sampling, 'num_samples')} samples of {at(sampling, 'num_steps')} steps "
        f"({at(sampling, 'sampler')})"
    )


def _times(sizes: Any) -> str | None:
    return " × ".join(map(str, sizes)) if isinstance(sizes, list) else None


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
