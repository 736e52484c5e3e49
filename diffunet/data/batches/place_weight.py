"""The weight of a patch whose place was drawn by looking at the raters' marks.

Such draws show unmarked places more rarely than they occur, and a model would learn to mark similar
places too often. So each sample is weighted by uniform over actual density of its place (importance
sampling with the balance heuristic, Veach and Guibas 1995). The expected loss, and its gradient,
are those of patches drawn anywhere with equal chance.
"""

from collections.abc import Sequence

import numpy as np

MAX_WEIGHT = 10.0
"""Weights stay below 1 / (1 - foreground_share); only shares above 0.9 reach this limit."""


def start_limits(marked: np.ndarray, *, size: int, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last start of patches that hold `marked`, along one axis.

    Args:
        marked: voxels, any number of them.
        size, edge: of the image and of the patch; an image no larger than the patch has one start,
            which counts as 0.
    """
    return np.maximum(0, marked - edge + 1), np.minimum(max(size - edge, 0), marked)


def place_weight(
    locations: np.ndarray,
    *,
    shape: Sequence[int],
    patch_size: Sequence[int],
    slice_index: int | None,
    start: Sequence[int],
    foreground_share: float,
) -> float:
    """Return uniform over actual density of a place: 1 / (1 - share + share * f / u).

    A sample's place is drawn with the density f (of `marked_voxel`, then `patch_start`) in
    `foreground_share` of the draws, else with u: any slice, any start. Rotation and scale are drawn
    apart from the place, so that they leave the fraction as it is. The mean over draws is 1.

    Args:
        locations: (n, 1 + axes) rows of label index and voxel; all that `marked_voxel` draws from.
        shape: voxels of the case, all axes.
        patch_size: voxels per axis; one axis less than `shape` where patches are slices.
        slice_index, start: the place.

    Returns:
        At most 1 / (1 - foreground_share), and `MAX_WEIGHT`; 1 where nobody marked anything.
    """
    if not len(locations):
        return 1.0
    relative = _foreground_over_uniform(
        locations, shape=shape, patch_size=patch_size, slice_index=slice_index, start=start
    )
    actual = 1 - foreground_share + foreground_share * relative
    return min(1 / actual, MAX_WEIGHT) if actual else MAX_WEIGHT


def _foreground_over_uniform(
    locations: np.ndarray,
    *,
    shape: Sequence[int],
    patch_size: Sequence[int],
    slice_index: int | None,
    start: Sequence[int],
) -> float:
    """Return f / u of a place: the mean over labels, then over their voxels, of each voxel's part.

    A marked voxel leads to the place if its slice is that slice and the patch there holds it, then
    with one in as many chances as there are starts of patches that hold it.
    """
    parts = [
        _parts_along_axis(size, edge, first)
        for size, edge, first in zip(shape[-len(patch_size) :], patch_size, start, strict=True)
    ]
    if slice_index is not None:
        parts.insert(0, np.where(np.arange(shape[0]) == slice_index, shape[0], 0))
    product = np.ones(len(locations))
    for axis, part in enumerate(parts, 1):
        product *= part[locations[:, axis]]
    counts = np.bincount(locations[:, 0])
    sums = np.bincount(locations[:, 0], product)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def _parts_along_axis(size: int, edge: int, first: int) -> np.ndarray:
    """Return for each voxel of an axis how much likelier than any start it makes `first`, (size,).

    It is 0 where the patch that starts there does not hold the voxel.
    """
    voxels = np.arange(size)
    low, high = start_limits(voxels, size=size, edge=edge)
    is_held = (voxels >= first) & (voxels < first + edge)
    return is_held * (max(size - edge, 0) + 1) / (high - low + 1)
