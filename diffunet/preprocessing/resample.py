"""Resampling to another grid, one axis after the other, each a product with a small matrix.

Grids share their borders (voxel i is centred at i + 1/2), beyond which the outermost value goes on:
`scipy.ndimage.zoom(..., grid_mode=True, mode="nearest")`, which is also what nnU-Net computes.
Splines are linear in their data and separable, so a volume needs three matrix products.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from diffunet.geometry import Box

# A cubic spline depends on all voxels of a line, ever less with distance: weights below this change
# no value by more than its own float32 rounding.
_NEGLIGIBLE_WEIGHT = 1e-8
_ROWS_PER_BAND = 48
_PADDING = 12  # voxels; as many as scipy repeats at each end before it fits a cubic spline
_TIE = 1e-6


def resampled_shape(
    shape: Sequence[int], *, spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> tuple[int, ...]:
    """Return the number of voxels per axis that fill the same extent with another spacing."""
    return tuple(
        max(1, round(size * old / new))
        for size, old, new in zip(shape, spacing_mm, new_spacing_mm, strict=True)
    )


def separate_axis(
    spacing_mm: Sequence[float], new_spacing_mm: Sequence[float], *, anisotropy: float
) -> int | None:
    """Return the one coarse axis that is resampled apart from the others, None where there is none.

    nnU-Net's rule: the axis of the largest spacing, if that is more than `anisotropy` times the
    smallest, of the old grid or else of the new one; but none if two axes are equally coarse.
    """
    if len(spacing_mm) < 3:
        return None
    for spacing in (spacing_mm, new_spacing_mm):
        if max(spacing) > anisotropy * min(spacing):
            coarse = [axis for axis, size in enumerate(spacing) if size == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def resample_image(
    image: np.ndarray, shape: Sequence[int], *, order: int, nearest_axis: int | None
) -> np.ndarray:
    """Return `image` (*spatial, float32) on a grid of `shape`, float32.

    Args:
        order: of the spline: 3 cubic (may overshoot), 1 linear, 0 nearest neighbour.
        nearest_axis: is resampled by nearest neighbour, whatever the order.
    """
    # The axis that shrinks most goes first: the others then have less to do.
    for axis in sorted(range(image.ndim), key=lambda axis: shape[axis] / image.shape[axis]):
        size, new_size = image.shape[axis], shape[axis]
        if size == new_size:
            continue
        if order == 0 or axis == nearest_axis:
            image = np.take(image, _nearest_indices(size, new_size), axis=axis)
        else:
            image = _along_axis(image, axis, new_size, _cached_bands(size, new_size, order))
    return image


def resample_label_map(
    label_map: np.ndarray, shape: Sequence[int], *, nearest_axis: int | None
) -> np.ndarray:
    """Return the label map (*spatial) of the labels that cover most of each new voxel.

    Each label's mask is interpolated linearly and the largest wins; ties go to background, then
    to the smaller label. Only the box around the labels is worked on.
    """
    resampled = np.zeros(tuple(shape), label_map.dtype)
    if label_map.shape == resampled.shape:
        resampled[...] = label_map
        return resampled
    box = Box.of_mask(label_map != 0)
    if box is None:
        return resampled
    inner = label_map[box.slices]
    operators = [
        _box_operator(
            label_map.shape[axis],
            resampled.shape[axis],
            (box.start[axis], box.stop[axis]),
            is_nearest=axis == nearest_axis,
        )
        for axis in range(label_map.ndim)
    ]
    region = tuple(slice(*operator.rows) for operator in operators)
    winners = resampled[region]
    if not winners.size:  # all labels lie between the centres of new voxels
        return resampled
    best = total = np.zeros(winners.shape, np.float32)
    for value in np.flatnonzero(np.bincount(inner.ravel())):
        if value == 0:
            continue
        weight = (inner == value).astype(np.float32)
        for axis, operator in enumerate(operators):
            weight = _along_axis(weight, axis, winners.shape[axis], operator.bands)
        is_better = weight > best + np.float32(_TIE)
        winners[is_better] = value
        total = total + weight
        best = np.maximum(best, weight)
    winners[best <= 1 - total + np.float32(_TIE)] = 0
    return resampled


@dataclass(frozen=True)
class _Band:
    """Consecutive rows of a matrix, without the columns that are zero in all of them."""

    rows: slice
    columns: slice
    weights: np.ndarray


@dataclass(frozen=True)
class _BoxOperator:
    """The part of a matrix that reads from a range of columns, and the rows that it reaches."""

    rows: tuple[int, int]
    bands: tuple[_Band, ...]


def _along_axis(array: np.ndarray, axis: int, new_size: int, bands: Sequence[_Band]) -> np.ndarray:
    """Return the product of a banded matrix with every line of `array` along `axis`."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    result = np.empty((*before, new_size, *after), np.float32)
    if not after:
        lines, target = array.reshape(-1, array.shape[axis]), result.reshape(-1, new_size)
        for band in bands:
            target[:, band.rows] = lines[:, band.columns] @ band.weights.T
        return result
    num_after = int(np.prod(after))
    lines = array.reshape(-1, array.shape[axis], num_after)
    target = result.reshape(-1, new_size, num_after)
    for band in bands:
        np.matmul(band.weights, lines[:, band.columns], out=target[:, band.rows])
    return result


@functools.lru_cache(maxsize=64)
def _cached_bands(size: int, new_size: int, order: int) -> tuple[_Band, ...]:
    return _bands(_weights(size, new_size, order))


def _bands(weights: np.ndarray) -> tuple[_Band, ...]:
    bands = []
    for start in range(0, len(weights), _ROWS_PER_BAND):
        rows = slice(start, min(start + _ROWS_PER_BAND, len(weights)))
        used = np.flatnonzero((np.abs(weights[rows]) > _NEGLIGIBLE_WEIGHT).any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
        block = np.ascontiguousarray(weights[rows, columns], np.float32)
        bands.append(_Band(rows, columns, block))
    return tuple(bands)


def _box_operator(
    size: int, new_size: int, columns: tuple[int, int], *, is_nearest: bool
) -> _BoxOperator:
    weights = _weights(size, new_size, 0 if is_nearest else 1)[:, slice(*columns)]
    reached = np.flatnonzero(weights.any(axis=1))
    rows = (int(reached[0]), int(reached[-1]) + 1) if reached.size else (0, 0)
    return _BoxOperator(rows, _bands(weights[slice(*rows)]))


def _weights(size: int, new_size: int, order: int) -> np.ndarray:
    """Return the matrix (new_size, size) that resamples a line of voxels, float64."""
    if order == 0:
        return np.eye(size)[_nearest_indices(size, new_size)]
    centres = _centres(size, new_size)
    if order == 1:
        inside = np.clip(centres, 0, size - 1)
        first = np.floor(inside).astype(int)
        second = np.minimum(first + 1, size - 1)
        weights = np.zeros((new_size, size))
        rows = np.arange(new_size)
        np.add.at(weights, (rows, first), 1 - (inside - first))
        np.add.at(weights, (rows, second), inside - first)
        return weights
    unit_lines = np.pad(np.eye(size), ((_PADDING, _PADDING), (0, 0)), mode="edge")
    coefficients = ndimage.spline_filter1d(unit_lines, order=3, axis=0, mode="nearest")
    first = np.floor(centres).astype(int)
    weights = np.zeros((new_size, size))
    for tap, values in enumerate(_cubic_basis(centres - first)):
        weights += values[:, None] * coefficients[first - 1 + tap + _PADDING]
    return weights


def _cubic_basis(offset: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the weights of four neighbouring B-spline coefficients, `offset` after the second."""
    rest = 1 - offset
    return (
        rest**3 / 6,
        2 / 3 - offset**2 * (2 - offset) / 2,
        2 / 3 - rest**2 * (2 - rest) / 2,
        offset**3 / 6,
    )


def _centres(size: int, new_size: int) -> np.ndarray:
    """Return the centre of each new voxel in units of the old ones, whose first is centred at 0."""
    return (np.arange(new_size) + 0.5) * (size / new_size) - 0.5


def _nearest_indices(size: int, new_size: int) -> np.ndarray:
    indices = np.floor(_centres(size, new_size) + 0.5).astype(int)
    return np.clip(indices, 0, size - 1)
