"""Axis order and voxel size of volumes in training: nnU-Net's rules (Isensee et al. 2021)."""

import math
from collections.abc import Sequence

from diffunet.fingerprint.masks import coarse_axis
from diffunet.planning.choice import Choice

ANISOTROPY = 3.0
"""Above this ratio of spacings, the coarse axis is treated separately."""


def choose_target_spacing(
    *,
    median_mm: Sequence[float],
    percentile_10_mm: Sequence[float],
    median_shape: Sequence[float],
    overwrite_mm: Sequence[float] | None = None,
) -> Choice[tuple[float, ...]]:
    """Choose the spacing to resample to, in file axis order.

    The median of each axis; an axis that is both coarse (more than three times the next spacing)
    and short (less than a third of the next length) takes its 10th percentile, but is never finer
    than the others: interpolating slices that were never recorded costs more than it helps.

    Args:
        median_mm, percentile_10_mm: spacing per axis over the training cases.
        median_shape: voxels per axis after the crop.
        overwrite_mm: the user's own choice.

    Raises:
        ValueError: `overwrite_mm` has another number of axes, or a spacing that is not positive.
    """
    median = tuple(float(value) for value in median_mm)
    if overwrite_mm is not None:
        if len(overwrite_mm) != len(median) or min(overwrite_mm) <= 0:
            raise ValueError(
                f"the target spacing should be {len(median)} positive numbers in mm, got "
                f"{list(overwrite_mm)}"
            )
        return Choice(tuple(float(value) for value in overwrite_mm), "Set by the user.")
    worst = median.index(max(median))
    other_spacings = [value for axis, value in enumerate(median) if axis != worst]
    other_sizes = [size for axis, size in enumerate(median_shape) if axis != worst]
    is_coarse = median[worst] > ANISOTROPY * max(other_spacings)
    is_short = median_shape[worst] * ANISOTROPY < min(other_sizes)
    if not (is_coarse and is_short):
        return Choice(median, "Median of the training cases, per axis.")
    finest = max(percentile_10_mm[worst], max(other_spacings))
    target = tuple(finest if axis == worst else value for axis, value in enumerate(median))
    return Choice(
        target,
        f"Median of the training cases, but the 10th percentile ({finest:.4g} mm) along axis "
        f"{worst}: its median spacing of {median[worst]:.4g} mm is more than {ANISOTROPY:g} times "
        "that of the others, and it has few slices.",
    )


def choose_axis_order(
    spacing_mm: Sequence[float], *, median_shape: Sequence[float], has_image_labels: bool
) -> Choice[tuple[int, ...]]:
    """Choose which file axis comes first in training: the coarsest, whose slices 2d trains on.

    Args:
        spacing_mm: the target spacing in file axis order.
        median_shape: voxels per file axis; an axis of a single voxel comes first, whatever its
            spacing.
        has_image_labels: slices are numbered along the first file axis, which then stays.
    """
    axes = tuple(range(len(spacing_mm)))
    if len(axes) == 2:
        return Choice(axes, "Images: rows, columns.")
    if has_image_labels:
        return Choice(axes, "As in the files: image-level labels number slices of the first axis.")
    single = [axis for axis in axes if median_shape[axis] <= 1]
    first = single[0] if single else coarse_axis(spacing_mm)
    order = (first, *(axis for axis in axes if axis != first))
    if single:
        reason = f"File axis {first} has one slice only and comes first."
    elif max(spacing_mm) == min(spacing_mm):
        reason = "As in the files: the voxels are cubes."
    else:
        reason = (
            f"File axis {first} has the largest spacing ({spacing_mm[first]:.4g} mm) and comes "
            "first: the slices of 2d lie across it."
        )
    return Choice(order, reason)


def resampled_shape(extent_mm: Sequence[float], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the number of voxels per axis of an image of that extent at that spacing."""
    return tuple(
        max(1, round(extent / spacing))
        for extent, spacing in zip(extent_mm, spacing_mm, strict=True)
    )


def voxel_edge(spacing_mm: Sequence[float]) -> float:
    """Return the edge of the cube (or square) of a voxel's volume, in mm."""
    return math.prod(spacing_mm) ** (1 / len(spacing_mm))
