"""Boxes of stored arrays that may reach over the edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ReadBox:
    """The part of a box that lies inside of an array, and how much is missing around it."""

    content: np.ndarray
    padding: tuple[tuple[int, int], ...]


def read_box(
    array: Any, prefix: tuple[slice | int, ...], *, start: Sequence[int], shape: Sequence[int]
) -> ReadBox:
    """Read a box from the last axes of `array`, which may begin or end outside of it.

    Args:
        prefix: index of the axes before.
    """
    sizes = array.shape[-len(shape) :]
    inside, padding = [], []
    for first, edge, size in zip(start, shape, sizes, strict=True):
        low, high = min(max(first, 0), size), max(min(first + edge, size), 0)
        high = max(low, high)
        before = min(edge, max(0, -first))
        inside.append(slice(low, high))
        padding.append((before, edge - (high - low) - before))
    return ReadBox(np.asarray(array[(*prefix, *inside)]), tuple(padding))


def pad(array: np.ndarray, padding: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return `array` with zeros around its last axes; `array` itself if nothing is missing."""
    if not any(before or after for before, after in padding):
        return array
    leading = [(0, 0)] * (array.ndim - len(padding))
    return np.pad(array, [*leading, *padding])
