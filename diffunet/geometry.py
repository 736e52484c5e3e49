"""Boxes, spacings and tiles; everything in array order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """A half-open range of voxels per axis: `start[i] <= index < stop[i]`."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> "Box | None":
        """Return the smallest box around the true voxels of `mask`, None where there are none."""
        start, stop = [], []
        for axis in range(mask.ndim):
            others = tuple(other for other in range(mask.ndim) if other != axis)
            found = np.flatnonzero(mask.any(axis=others))
            if found.size == 0:
                return None
            start.append(int(found[0]))
            stop.append(int(found[-1]) + 1)
        return cls(tuple(start), tuple(stop))


def tile_starts(
    shape: Sequence[int], tile: Sequence[int], step_size: float
) -> list[tuple[int, ...]]:
    """Return where tiles start that cover `shape`, in lexicographic order.

    Tiles are spread evenly, neighbours at most `step_size * tile` apart (as nnU-Net does).

    Args:
        shape: at least `tile` along every axis.
        tile: voxels per axis.
        step_size: in (0, 1]; 1 means that tiles do not overlap more than they must.

    Raises:
        ValueError: `shape` is smaller than `tile`, or `step_size` is outside (0, 1].
    """
    if not 0 < step_size <= 1:
        raise ValueError(f"step_size should be in (0, 1], got {step_size}")
    if any(size < edge for size, edge in zip(shape, tile, strict=True)):
        raise ValueError(f"a tile of {tuple(tile)} does not fit into {tuple(shape)}")
    per_axis = []
    for size, edge in zip(shape, tile, strict=True):
        count = math.ceil((size - edge) / max(1, math.floor(edge * step_size))) + 1
        last = size - edge
        per_axis.append([round(last * index / max(1, count - 1)) for index in range(count)])
    grids = np.meshgrid(*per_axis, indexing="ij")
    return [tuple(int(v) for v in start) for start in zip(*(g.ravel() for g in grids), strict=True)]


def equivalent_diameter(num_voxels: float, dimensions: int) -> float:
    """Return the diameter, in voxels, of the disc (2) or ball (3) of `num_voxels` voxels."""
    if dimensions == 2:
        return 2 * math.sqrt(num_voxels / math.pi)
    return (6 * num_voxels / math.pi) ** (1 / 3)
