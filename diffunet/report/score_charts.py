"""Pictures of whether predicted shares, presence and volumes match the references."""

from collections.abc import Mapping, Sequence

import numpy as np

from diffunet.report.charts import Chart, Series, counted
from diffunet.report.evaluation import Evaluation, Reliability

_COLOUR_OF_DIAGONAL = 4
_NUM_BINS = 5
_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
_DIAGONAL = Series(
    name="perfectly calibrated",
    points=((0.0, 0.0), (1.0, 1.0)),
    look="dashed",
    colour=_COLOUR_OF_DIAGONAL,
)
_UNIT = (0.0, 1.0)


def reliability_charts(evaluations: Mapping[str, Evaluation]) -> list[Chart]:
    """Return a chart per label: how often raters mark voxels that a share of samples marks.

    Args:
        evaluations: by the name of what was evaluated, such as a fold.
    """
    drawn = {
        name: {each.label: each for each in evaluation.reliability}
        for name, evaluation in evaluations.items()
        if (evaluation.num_samples or 1) > 1
    }
    labels = dict.fromkeys(label for diagrams in drawn.values() for label in diagrams)
    return [
        Chart(
            title=f"voxels of {label}",
            x_label="share of samples that mark a voxel",
            y_label="share of raters who do",
            series=(
                _DIAGONAL,
                *(
                    Series(
                        name=name,
                        points=_points(diagrams[label]),
                        look="dots",
                        colour=number if number < _COLOUR_OF_DIAGONAL else number + 1,
                    )
                    for number, (name, diagrams) in enumerate(drawn.items())
                    if label in diagrams
                ),
            ),
            x_limits=_UNIT,
            y_limits=_UNIT,
            note="Points below the line: samples mark too much; above: too little.",
        )
        for label in labels
    ]


def _points(diagram: Reliability) -> tuple[tuple[float, float | None], ...]:
    pairs = zip(diagram.predicted, diagram.observed, strict=True)
    return tuple((x, y) for x, y in pairs if x is not None)


def presence_chart(label: str, shares: Sequence[tuple[float, float]]) -> Chart | None:
    """Return how often raters mark anything in cases where a share of samples does.

    Args:
        shares: per case, of samples and of raters that mark anything.
    """
    pairs = np.array(shares, float)
    if not len(pairs) or (pairs == 1).all():
        return None  # everything is there in every case: nothing was to be decided
    bins = np.minimum((pairs[:, 0] * _NUM_BINS).astype(int), _NUM_BINS - 1)
    points = [
        (float(pairs[bins == index, 0].mean()), float(pairs[bins == index, 1].mean()))
        for index in range(_NUM_BINS)
        if (bins == index).any()
    ]
    return Chart(
        title=f"presence of {label}",
        x_label="share of samples that mark anything",
        y_label="share of raters who do",
        series=(_DIAGONAL, Series(name="this model", points=tuple(points), look="dots")),
        x_limits=_UNIT,
        y_limits=_UNIT,
        note=f"{counted(len(pairs), 'case')} in up to {_NUM_BINS} groups.",
    )


def coverage_chart(
    label: str, volumes: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> Chart | None:
    """Return how many of the raters' volumes lie in the samples' central intervals.

    Args:
        volumes: per case, of the samples and of the raters.
    """
    usable = [(drawn, seen) for drawn, seen in volumes if len(drawn) > 1 and len(seen)]
    if not usable:
        return None
    num_samples = min(len(drawn) for drawn, _ in usable)
    found, expected = [], []
    for level in _LEVELS:
        inside = []
        for drawn, seen in usable:
            lower, upper = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="weibull")
            inside.append(np.mean((np.asarray(seen) >= lower) & (np.asarray(seen) <= upper)))
        most = (num_samples - 1) / (num_samples + 1)
        expected.append((level, min(level, most)))
        found.append((level, float(np.mean(inside))))
    return Chart(
        title=f"volumes of {label}",
        x_label="central interval of the samples' volumes",
        y_label="raters' volumes inside",
        series=(
            Series(
                name="to be expected",
                points=tuple(expected),
                look="dashed",
                colour=_COLOUR_OF_DIAGONAL,
            ),
            Series(name="this model", points=tuple(found), look="dots"),
        ),
        x_limits=_UNIT,
        y_limits=_UNIT,
        note="Below the line: intervals are too narrow (overconfident). Equal volumes, such as "
        "empty masks, count as inside, which lifts the points.",
    )
