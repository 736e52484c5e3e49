"""Which pixels a closed outline surrounds."""

from math import gcd

import numpy as np


def fill(points: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what lies within the polygon through `points`, and what lies on its line.

    A pixel belongs to one of them, or to none. Where the line crosses or repeats itself, all that
    it runs around is within. What lies outside of the image is cut off.

    Args:
        points: (number, 2), integers, x before y; the last is joined to the first.
        shape: of the image, (y, x).

    Returns:
        Two masks (y, x).
    """
    height, width = shape
    turns = np.zeros((height, width + 1), np.int64)
    line = np.zeros(shape, bool)
    for (x_0, y_0), (x_1, y_1) in zip(
        points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True
    ):
        _mark(line, (x_0, y_0), (x_1, y_1))
        low, high = max(min(y_0, y_1), 0), min(max(y_0, y_1), height)
        if low >= high:
            continue
        rows = np.arange(low, high)
        crossed = (x_0 * (y_1 - y_0) + (rows - y_0) * (x_1 - x_0)) // (y_1 - y_0)
        right_of = np.clip(crossed + 1, 0, width)
        turns[rows, right_of] += 1 if y_1 > y_0 else -1
    return (turns.cumsum(axis=1)[:, :width] != 0) & ~line, line


def _mark(line: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Mark the pixels whose centres lie on the line between two points."""
    steps = gcd(end[0] - start[0], end[1] - start[1]) or 1
    part = np.arange(steps + 1)
    x = start[0] + part * ((end[0] - start[0]) // steps)
    y = start[1] + part * ((end[1] - start[1]) // steps)
    height, width = line.shape
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    line[y[is_inside], x[is_inside]] = True
