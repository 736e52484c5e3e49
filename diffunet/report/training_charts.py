"""Curves of trainings: the loss, and the scores of the sampled validations."""

from collections.abc import Sequence

import numpy as np

from diffunet.figures.progress import LEVELS, NOT_VALUES, VALUE_LABELS, smoothed
from diffunet.report.charts import Chart, Series, level
from diffunet.report.fold_facts import FoldFacts
from diffunet.report.json_facts import number_at


def training_charts(folds: Sequence[FoldFacts]) -> list[Chart]:
    """Return a chart of the loss, and one per score; all folds are in each."""
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


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
