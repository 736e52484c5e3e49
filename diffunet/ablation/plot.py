"""The results of a sweep as a picture: the main score over the values of the axes."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffunet.ablation.outcome import is_real
from diffunet.ablation.table import word_of
from diffunet.ablation.variants import CHOSEN
from diffunet.figures.files import save

Outcome = Mapping[str, Any]
Row = Mapping[str, Any]

_WIDTH, _HEIGHT, _ROW_HEIGHT = 7.5, 5.0, 0.35  # inches
_LONG_LABEL = 22  # characters, of which three do not fit beside each other
_DECADE = 10.0
_MOST_EMPTY = 1.0
"""An answer that needs no learning is drawn where it lies within this many heights of the data."""

_SEED_MARKER = {"marker": "o", "markersize": 4, "markerfacecolor": "white", "zorder": 4}
_OWN_MARKER = {"marker": "*", "markersize": 15, "zorder": 5}


def plot_outcome(outcome: Outcome, png: Path) -> None:
    """Draw the main score of each variant with its interval, and each seed as a point.

    Numbers are on an axis, logarithmic where they span more than a decade; words are rows. A second
    axis makes a line for each of its values; one that varies fields one at a time, a panel for
    each.
    """
    from matplotlib.figure import Figure

    axes = outcome["axes"]
    panels = _panels(outcome)
    is_number = [_is_line(axis) for axis, _, _ in panels]
    heights = [
        _HEIGHT if is_line else 2.0 + _ROW_HEIGHT * len(rows)
        for is_line, (_, _, rows) in zip(is_number, panels, strict=True)
    ]
    figure = Figure(figsize=(_WIDTH * len(panels), max(heights)), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (axis, line_axes, rows), is_line in zip(grid, panels, is_number, strict=True):
        draw = _draw_lines if is_line else _draw_rows
        draw(place, axis, line_axes, rows, outcome)
    varied = ", ".join(axis["name"] for axis in axes)
    kind = outcome["cases"]
    figure.suptitle(
        f"{outcome['dataset']}, -m {outcome['method']}: {varied}\n{kind['num_cases']} "
        f"{kind['kind']} cases of {kind['num_patients']} patients, "
        f"{len(outcome['seeds'])} seed(s); 95 % intervals",
        fontsize=11,
    )
    _add_legend(figure, grid)
    save(figure, png)


def _panels(outcome: Outcome) -> list[tuple[Outcome, list[Outcome], list[Row]]]:
    """Return for each panel its axis, the axes that make its lines, and its variants."""
    rows = [row for row in outcome["variants"] if row["score"]["mean"] is not None]
    axes = list(outcome["axes"])
    if not outcome["one_at_a_time"] or len(axes) == 1:
        first = next((axis for axis in axes if _is_line(axis)), axes[0])
        return [(first, [axis for axis in axes if axis is not first], rows)]
    own = next((row["values"] for row in outcome["variants"] if row["is_own"]), {})
    return [
        (
            axis,
            [],
            [
                row
                for row in rows
                if all(
                    row["values"][other["path"]] == own.get(other["path"])
                    for other in axes
                    if other is not axis
                )
            ],
        )
        for axis in axes
    ]


def _is_line(axis: Outcome) -> bool:
    values = [value for value in axis["values"] if value != CHOSEN]
    return all(map(is_real, values)) and len(values) > 1


def _draw_lines(
    place: Any, axis: Outcome, line_axes: Sequence[Outcome], rows: Sequence[Row], outcome: Outcome
) -> None:
    path = axis["path"]
    chosen = [row for row in rows if row["values"][path] == CHOSEN]
    rows = [row for row in rows if row["values"][path] != CHOSEN]
    values = [value for value in axis["values"] if value != CHOSEN]
    is_wide = min(values) > 0 and max(values) / min(values) >= _DECADE
    if is_wide:
        place.set_xscale("log")
    groups = _groups(rows, line_axes)
    num_groups = len(groups)
    span = math.log(max(values) / min(values)) if is_wide else max(values) - min(values)
    for number, (label, members) in enumerate(groups.items()):
        members = sorted(members, key=lambda row: row["values"][path])
        shift = (number - (num_groups - 1) / 2) * 0.012 * span
        x = [row["values"][path] for row in members]
        x = [value * math.exp(shift) if is_wide else value + shift for value in x]
        colour = f"C{number % 10}"
        means = [row["score"]["mean"] for row in members]
        place.plot(x, means, color=colour, linewidth=1.5, label=label or None)
        for at, row in zip(x, members, strict=True):
            _draw_point(place, row, colour, lambda score, at=at: (at, score))
    if len(values) <= 12:
        place.set_xticks(values, [f"{value:g}" for value in values])
        place.minorticks_off()
    for row in chosen:
        place.axhline(row["score"]["mean"], color="black", linestyle="-.", label=CHOSEN)
    place.set_xlabel(path)
    place.set_ylabel(_score_label(outcome))
    _draw_answers(place, rows, outcome, is_upright=True)


def _draw_rows(
    place: Any, axis: Outcome, line_axes: Sequence[Outcome], rows: Sequence[Row], outcome: Outcome
) -> None:
    """Draw words: a row per variant, or per value, with a colour per value of a second axis."""
    has_colours = len(line_axes) == 1
    names = [word_of(value) for value in axis["values"]] if has_colours or not line_axes else []
    groups = _groups(rows, line_axes if has_colours else ())
    labels = names or [row["name"] for row in rows]
    for number, (label, members) in enumerate(groups.items()):
        colour = f"C{number % 10}"
        shift = (number - (len(groups) - 1) / 2) * min(0.16, 0.7 / len(groups))
        for row in members:
            name = word_of(row["values"][axis["path"]]) if names else row["name"]
            at = labels.index(name) + shift
            _draw_point(place, row, colour, lambda score, at=at: (score, at))
        if label:
            place.plot([], [], color=colour, marker="o", label=label)
    place.set_yticks(range(len(labels)), labels)
    place.set_ylim(len(labels) - 0.5, -0.5)
    place.set_ylabel(axis["path"] if names else "")
    place.set_xlabel(_score_label(outcome))
    _draw_answers(place, rows, outcome, is_upright=False)


def _draw_point(
    place: Any,
    row: Row,
    colour: str,
    at: Callable[[float], tuple[float, float]],
) -> None:
    """Draw a variant: its mean, its interval, and each of its seeds."""
    score = row["score"]
    style = _OWN_MARKER if row["is_own"] else {"marker": "o", "markersize": 6}
    place.plot(*zip(at(score["mean"]), strict=True), color=colour, linestyle="", **style)
    if score["lower"] is not None:
        ends = [at(score["lower"]), at(score["upper"])]
        place.plot(*zip(*ends, strict=True), color=colour, linewidth=2, alpha=0.6)
    if len(row["runs"]) > 1:
        seeds = [at(run["score"]) for run in row["runs"] if run["score"] is not None]
        place.plot(*zip(*seeds, strict=True), color=colour, linestyle="", **_SEED_MARKER)


def _draw_answers(place: Any, rows: Sequence[Row], outcome: Outcome, *, is_upright: bool) -> None:
    """Draw a perfect model and the answers that need no learning, as far as they are near."""
    draw = place.axhline if is_upright else place.axvline
    low, high = place.get_ylim() if is_upright else place.get_xlim()
    size = high - low
    lines = {name.replace("_", " "): value for name, value in outcome["trivial_answers"].items()}
    if lines:
        lines = {"a perfect model": 0.0, **lines}
    styles = {"a perfect model": "-", "always empty": ":", "oracle majority": "--"}
    far = []
    for name, value in lines.items():
        if value is None:
            continue
        if low - _MOST_EMPTY * size <= value <= high + _MOST_EMPTY * size:
            draw(value, color="grey", linestyle=styles[name], linewidth=1.2, label=name)
        else:
            far.append(f"{name}: {value:.3g}")
    if any(len(row["runs"]) > 1 for row in rows):
        place.plot([], [], color="grey", linestyle="", label="a single seed", **_SEED_MARKER)
    if any(row["is_own"] for row in rows):
        place.plot([], [], color="grey", linestyle="", label="as planned", **_OWN_MARKER)
    if far:
        title = f"beyond the picture: {', '.join(far)}"
        place.set_title(title, fontsize=8, loc="right", color="grey")
    place.grid(alpha=0.3)


def _add_legend(figure: Any, places: Sequence[Any]) -> None:
    """Explain what stands in any of the panels, below all of them."""
    shown: dict[str, Any] = {}
    for place in places:
        handles, labels = place.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    if shown:
        columns = 3 if max(map(len, shown)) < _LONG_LABEL else 2
        figure.legend(
            list(shown.values()),
            list(shown),
            loc="outside lower left",
            ncols=columns * len(places),
            fontsize=8,
            frameon=False,
        )


def _groups(rows: Sequence[Row], axes: Sequence[Outcome]) -> dict[str, list[Row]]:
    """Return the rows by the values of some axes, in words."""
    groups: dict[str, list[Row]] = {}
    order = {
        axis["path"]: {word_of(value): number for number, value in enumerate(axis["values"])}
        for axis in axes
    }
    in_order = sorted(
        rows, key=lambda row: [order[path][word_of(row["values"][path])] for path in order]
    )
    for row in in_order:
        words = [f"{axis['name']} {word_of(row['values'][axis['path']])}" for axis in axes]
        groups.setdefault(", ".join(words), []).append(row)
    return groups


def _score_label(outcome: Outcome) -> str:
    better = "lower" if outcome["is_lower_better"] else "higher"
    return f"{outcome['title']} ({better} is better)"
