"""Charts as numbers on paper: from series in their own units to what the template draws.

Colours are names of CSS classes, so that a chart is readable on light and on dark paper.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 10, 36
_NUM_TICKS = 5
_MOST_POINTS = 400

Point = tuple[float, float | None]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind; None in the place of y interrupts the line.

    Attributes:
        look: "line", "faint" (a thin one), "dots" (a line with its points), "points" (no line) or
            "dashed".
        colour: number of a colour of the page.
    """

    name: str
    points: tuple[Point, ...]
    look: str = "line"
    colour: int = 0


@dataclass(frozen=True, kw_only=True)
class Band:
    """A shaded range along "x" or "y"."""

    name: str
    axis: str
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn, in its own units.

    Attributes:
        levels: horizontal lines: series of one value.
        is_log: whether y is on a logarithmic scale; values that are not positive are left out.
        x_limits, y_limits: None for those of the series.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    levels: tuple[Series, ...] = ()
    bands: tuple[Band, ...] = ()
    is_log: bool = False
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class DrawnLine:
    """A line on paper: `path` as SVG has it, and its points where they are shown."""

    name: str
    look: str
    colour: int
    path: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class DrawnBox:
    """A shaded rectangle on paper."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class DrawnChart:
    """A chart on paper of `WIDTH` times `HEIGHT`; ticks are (place, text)."""

    chart: Chart
    lines: tuple[DrawnLine, ...]
    boxes: tuple[DrawnBox, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw(chart: Chart) -> DrawnChart | None:
    """Return where everything is drawn; None if no value is."""
    every = [*chart.series, *chart.levels]
    points = [(x, y) for series in every for x, y in series.points if _is_drawn(chart, y)]
    if not points:
        return None
    xs = chart.x_limits or _limits([x for x, _ in points])
    ys = chart.y_limits or _y_limits(chart, [float(y) for _, y in points if y is not None])
    scale_y = math.log10 if chart.is_log else float
    low, high = scale_y(ys[0]), scale_y(ys[1])

    def place_x(x: float) -> float:
        inside = WIDTH - _LEFT - _RIGHT
        return round(_LEFT + inside * (min(max(x, xs[0]), xs[1]) - xs[0]) / (xs[1] - xs[0]), 1)

    def place_y(y: float) -> float:
        share = (scale_y(min(max(y, ys[0]), ys[1])) - low) / (high - low)
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share, 1)

    def line(series: Series) -> DrawnLine:
        parts, places, is_new = [], [], True
        for x, y in _thinned(series.points):
            if y is None or not _is_drawn(chart, y):
                is_new = True
                continue
            at = (place_x(x), place_y(y))
            parts.append(f"{'M' if is_new else 'L'}{at[0]:g} {at[1]:g}")
            places.append(at)
            is_new = False
        shown = tuple(places) if series.look in ("dots", "points") else ()
        path = "" if series.look == "points" else "".join(parts)
        return DrawnLine(
            name=series.name, look=series.look, colour=series.colour, path=path, points=shown
        )

    def box(band: Band) -> DrawnBox:
        if band.axis == "x":
            left, right = place_x(band.lower), place_x(band.upper)
            return DrawnBox(
                name=band.name, x=left, y=_TOP, width=right - left, height=HEIGHT - _TOP - _BOTTOM
            )
        upper, lower = place_y(band.upper), place_y(band.lower)
        return DrawnBox(
            name=band.name, x=_LEFT, y=upper, width=WIDTH - _LEFT - _RIGHT, height=lower - upper
        )

    return DrawnChart(
        chart=chart,
        lines=tuple(map(line, every)),
        boxes=tuple(map(box, chart.bands)),
        x_ticks=tuple((place_x(x), number(x)) for x in _ticks(*xs)),
        y_ticks=tuple(
            (place_y(y), number(y)) for y in (_log_ticks if chart.is_log else _ticks)(*ys)
        ),
    )


def level(name: str, value: float, *, limits: tuple[float, float], colour: int = 0) -> Series:
    """Return a dashed horizontal line at `value`."""
    points = ((limits[0], value), (limits[1], value))
    return Series(name=name, points=points, look="dashed", colour=colour)


_ROUNDING = 1e-12
"""What a difference of equal scores may leave."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people: three digits, seldom an exponent; "–" of None."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < _ROUNDING:
        return "0"
    if abs(value) >= 1e7 or abs(value) < 1e-4:
        return f"{value:.2g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 6)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", "\u202f").replace("-", "−")


def counted(num_things: int, what: str) -> str:
    """Return how many there are: "1 case", "2 cases"."""
    return f"{num_things} {what}{'' if num_things == 1 else 's'}"


def _is_drawn(chart: Chart, y: float | None) -> bool:
    return y is not None and math.isfinite(y) and not (chart.is_log and y <= 0)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _y_limits(chart: Chart, values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if chart.is_log:
        return (low / 1.1, high * 1.1) if high > low else (low / 2, high * 2)
    low = min(low, 0.0)
    return (low, high + 0.05 * (high - low)) if high > low else (low, low + 1)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between the limits."""
    rough = (high - low) / _NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the limits: powers of ten where there are enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in every if low <= tick <= high]
    if len(inside) < 2:
        return _ticks(low, high)
    if len(inside) > _NUM_TICKS + 2:
        inside = [10.0**power for power in powers if low <= 10.0**power <= high]
    return inside[:: 1 + len(inside) // (_NUM_TICKS + 3)]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return at most `_MOST_POINTS` of the points, the last one among them."""
    step = -(-len(points) // _MOST_POINTS) if points else 1
    return [*points[:-1:step], *points[-1:]]
