"""The grids of each configuration: axis order, voxel size and shapes of the training cases."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from diffunet.fingerprint.fingerprint import GeometryFingerprint
from diffunet.planning.choice import Choice
from diffunet.planning.spacing import (
    ANISOTROPY,
    choose_axis_order,
    choose_target_spacing,
    resampled_shape,
    voxel_edge,
)

FEWEST_SLICES = 8
"""Of a median volume, below which 3D patches are not recommended."""


@dataclass(frozen=True, kw_only=True)
class DatasetGrid:
    """All axes of the files, in training order.

    Attributes:
        axis_order, spacing_mm: with the reasons.
        median_shape, largest_shape: at that spacing, after the crop; the largest per axis.
        file_spacing_mm: median of the files.
    """

    axis_order: Choice[tuple[int, ...]]
    spacing_mm: Choice[tuple[float, ...]]
    median_shape: tuple[int, ...]
    largest_shape: tuple[int, ...]
    file_spacing_mm: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """The axes that a configuration's patches have.

    Attributes:
        dimensions: 2 or 3.
        is_slicewise: patches are slices of volumes.
        num_slices: of a median volume if so, else 1.
        voxel_edge_mm: edge of a voxel in training, were it a square or cube.
        spacing_ratio: the same over that of the files.
    """

    dimensions: int
    is_slicewise: bool
    spacing_mm: tuple[float, ...]
    median_shape: tuple[int, ...]
    largest_shape: tuple[int, ...]
    num_slices: int
    voxel_edge_mm: float
    spacing_ratio: float


def plan_grid(
    geometry: GeometryFingerprint,
    *,
    has_image_labels: bool,
    overwrite_spacing_mm: Sequence[float] | None,
) -> DatasetGrid:
    """Choose axis order and spacing, and say what the cases become.

    Args:
        overwrite_spacing_mm: the user's spacing, in file axis order.

    Raises:
        ValueError: `overwrite_spacing_mm` does not fit.
    """
    spacing = choose_target_spacing(
        median_mm=[axis.median for axis in geometry.spacing_mm],
        percentile_10_mm=[axis.percentile_10 for axis in geometry.spacing_mm],
        median_shape=[axis.median for axis in geometry.shape_after_crop],
        overwrite_mm=overwrite_spacing_mm,
    )
    order = choose_axis_order(
        spacing.value,
        median_shape=[axis.median for axis in geometry.shape_after_crop],
        has_image_labels=has_image_labels,
    )
    median = resampled_shape([axis.median for axis in geometry.extent_after_crop_mm], spacing.value)
    largest = resampled_shape(
        [axis.maximum for axis in geometry.extent_after_crop_mm], spacing.value
    )
    return DatasetGrid(
        axis_order=order,
        spacing_mm=Choice(
            tuple(spacing.value[axis] for axis in order.value), spacing.reason, spacing.warning
        ),
        median_shape=tuple(median[axis] for axis in order.value),
        largest_shape=tuple(largest[axis] for axis in order.value),
        file_spacing_mm=tuple(geometry.spacing_mm[axis].median for axis in order.value),
    )


def patch_grid(grid: DatasetGrid, *, dimensions: int) -> PatchGrid:
    """Return the axes of patches of 2 or 3 dimensions: all, or those within a slice."""
    dropped = len(grid.median_shape) - dimensions
    spacing = grid.spacing_mm.value[dropped:]
    return PatchGrid(
        dimensions=dimensions,
        is_slicewise=dropped > 0,
        spacing_mm=spacing,
        median_shape=grid.median_shape[dropped:],
        largest_shape=grid.largest_shape[dropped:],
        num_slices=grid.median_shape[0] if dropped else 1,
        voxel_edge_mm=voxel_edge(spacing),
        spacing_ratio=voxel_edge(spacing) / voxel_edge(grid.file_spacing_mm[dropped:]),
    )


def coarser_grid(axes: PatchGrid, geometry: GeometryFingerprint, *, factor: float) -> PatchGrid:
    """Return the axes of patches whose voxels are `factor` times as long.

    Args:
        axes: in the files' order.
        geometry: of the files.
    """
    spacing = tuple(float(f"{factor * size:.6g}") for size in axes.spacing_mm)
    extents = geometry.extent_after_crop_mm[-axes.dimensions :]
    return dataclasses.replace(
        axes,
        spacing_mm=spacing,
        median_shape=resampled_shape([extent.median for extent in extents], spacing),
        largest_shape=resampled_shape([extent.maximum for extent in extents], spacing),
        voxel_edge_mm=voxel_edge(spacing),
        spacing_ratio=axes.spacing_ratio * voxel_edge(spacing) / axes.voxel_edge_mm,
    )


def choose_recommended_configuration(grid: DatasetGrid, *, has_image_labels: bool) -> Choice[str]:
    """Choose 2d for images, thick or few slices and labelled slices, else 3d_fullres."""
    if len(grid.median_shape) == 2:
        return Choice("2d", "Images have two dimensions.")
    if has_image_labels:
        return Choice("2d", "Image-level labels belong to slices.")
    depth, spacing = grid.median_shape[0], grid.spacing_mm.value
    if depth < FEWEST_SLICES:
        return Choice("2d", f"Volumes have {depth} slices at the median: too few for 3D patches.")
    ratio = max(spacing) / min(spacing)
    if ratio > ANISOTROPY:
        return Choice(
            "2d",
            f"Slices are {ratio:.3g} times as thick as their pixels are wide, so neighbours say "
            "little about each other; 3d_fullres is worth a comparison.",
        )
    return Choice(
        "3d_fullres",
        f"Voxels are close to cubes (ratio {ratio:.3g}) and volumes {depth} slices deep: objects "
        "are connected across slices; 2d trains faster.",
    )
