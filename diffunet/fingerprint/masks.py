"""The measurements of one case's masks for the fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import prod

import numpy as np
from jaxtyping import Bool, Float, Integer

from diffunet.evaluation.overlap import pairwise_intersections, pairwise_iou
from diffunet.fingerprint.disagreement import largest_pieces
from diffunet.fingerprint.objects import (
    Objects,
    centre_distances,
    diameters,
    find_objects,
    label_components,
)
from diffunet.fingerprint.trivial import trivial_geds
from diffunet.geometry import Box
from diffunet.labels import LabelScheme
from diffunet.randomness import numpy_generator

_EVEN_SPACING = 1.01  # ratio up to which no axis counts as the coarse one


@dataclass(frozen=True, kw_only=True)
class ObjectMeasurement:
    """Objects of all raters' masks of one label; see `fingerprint.ObjectFingerprint`."""

    per_mask: Sequence[int]
    voxels: Float[np.ndarray, " object"]
    volume_mm: Float[np.ndarray, " object"]
    diameter: Float[np.ndarray, " object"]
    diameter_mm: Float[np.ndarray, " object"]


@dataclass(frozen=True, kw_only=True)
class DisagreementMeasurement:
    """Pairs of raters about one label; see `fingerprint.DisagreementFingerprint`."""

    iou: Sequence[float]
    iou_where_both_marked: Sequence[float]
    num_equal_pairs: int
    piece_voxels: Float[np.ndarray, " piece"]
    largest_piece: Sequence[dict[str, list[float]]]
    largest_piece_of_slice: Sequence[dict[str, list[float]]]


@dataclass(frozen=True, kw_only=True)
class LabelMeasurement:
    """One label of one case; see `fingerprint.LabelFingerprint`.

    Attributes:
        foreground_fraction: one per rater.
        disagreement: None where there is one rater.
        trivial_geds: see `trivial.trivial_geds`.
    """

    foreground_fraction: Float[np.ndarray, " rater"]
    objects: ObjectMeasurement
    objects_of_slice: ObjectMeasurement | None
    centre_distance: Float[np.ndarray, " object"]
    centre_distance_mm: Float[np.ndarray, " object"]
    disagreement: DisagreementMeasurement | None
    trivial_geds: dict[str, Float[np.ndarray, " variant"]]


def coarse_axis(spacing_mm: Sequence[float]) -> int:
    """Return the axis across which volumes are sliced: the one of the largest spacing.

    The first axis where spacings are even (within 1 %).
    """
    largest = max(spacing_mm)
    return 0 if spacing_mm[0] * _EVEN_SPACING >= largest else list(spacing_mm).index(largest)


def measure_masks(
    label_maps: Integer[np.ndarray, "rater *spatial"],
    *,
    labels: LabelScheme,
    spacing_mm: Sequence[float],
    slice_axis: int | None,
    case: str,
) -> tuple[LabelMeasurement, ...]:
    """Measure the masks of every label; voxels that some rater did not annotate are left out.

    Args:
        slice_axis: of volumes, the axis across which they are sliced; None for images.
        case: seeds how differences of raters are cut into windows.
    """
    shape = label_maps.shape[1:]
    ignored = np.any(labels.ignored(label_maps), axis=0) if labels.has_ignore_label else None
    num_annotated = prod(shape) - (0 if ignored is None else int(np.count_nonzero(ignored)))
    # background counts only by its number: work inside the box around all marked voxels
    box = Box.of_mask(np.any(label_maps != 0, axis=0)) or Box((0,) * len(shape), (1,) * len(shape))
    shift = numpy_generator("fingerprint", "windows", case).random(len(shape))
    grid = _Grid(
        box=box,
        shape=shape,
        spacing_mm=tuple(spacing_mm),
        num_annotated=max(num_annotated, 1),
        slice_axis=slice_axis,
        shift=tuple(shift),
    )
    measured = []
    for values in labels.values:
        masks = np.isin(label_maps[(slice(None), *box.slices)], values)
        if ignored is not None:
            masks &= np.logical_not(ignored[box.slices])
        measured.append(_measure_label(masks, grid=grid))
    return tuple(measured)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Where masks lie that were cut out of an image of `shape` by `box`."""

    box: Box
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    num_annotated: int
    slice_axis: int | None
    shift: tuple[float, ...]


def _measure_label(masks: Bool[np.ndarray, "rater *spatial"], *, grid: _Grid) -> LabelMeasurement:
    objects = [find_objects(mask) for mask in masks]
    centres = _centres_of_small(objects, shape=grid.shape) + grid.box.start
    offsets_mm = (centres + 0.5 - np.asarray(grid.shape) / 2) * np.asarray(grid.spacing_mm)
    slices = None
    if grid.slice_axis is not None:
        of_slices = [find_objects(mask, slice_axis=grid.slice_axis) for mask in masks]
        in_plane = [s for axis, s in enumerate(grid.spacing_mm) if axis != grid.slice_axis]
        slices = _measure_objects(of_slices, spacing_mm=in_plane)
    return LabelMeasurement(
        foreground_fraction=masks.reshape(len(masks), -1).sum(axis=1) / grid.num_annotated,
        objects=_measure_objects(objects, spacing_mm=grid.spacing_mm),
        objects_of_slice=slices,
        centre_distance=centre_distances(centres, shape=grid.shape),
        centre_distance_mm=np.linalg.norm(offsets_mm, axis=1),
        disagreement=_measure_disagreement(masks, grid=grid),
        trivial_geds=trivial_geds(
            masks, box=grid.box, shape=grid.shape, spacing_mm=grid.spacing_mm
        ),
    )


def _centres_of_small(
    per_rater: Sequence[Objects], *, shape: Sequence[int]
) -> Float[np.ndarray, "object axis"]:
    """Return the centres of the objects that do not span more than half of the image."""
    centres = np.concatenate([objects.centres for objects in per_rater])
    extents = np.concatenate([objects.extents for objects in per_rater])
    limits = np.where(np.asarray(shape) > 1, np.asarray(shape) / 2, 1)
    return centres[(extents <= limits).all(axis=1)]


def _measure_objects(
    per_rater: Sequence[Objects], *, spacing_mm: Sequence[float]
) -> ObjectMeasurement:
    dimensions, voxel_volume_mm = len(spacing_mm), prod(spacing_mm)
    voxels = np.concatenate([objects.voxels for objects in per_rater])
    edge_mm = voxel_volume_mm ** (1 / dimensions)
    return ObjectMeasurement(
        per_mask=[len(objects.voxels) for objects in per_rater if len(objects.voxels)],
        voxels=voxels,
        volume_mm=voxels * voxel_volume_mm,
        diameter=diameters(voxels, dimensions=dimensions),
        diameter_mm=diameters(voxels, dimensions=dimensions, voxel_size_mm=edge_mm),
    )


def _measure_disagreement(
    masks: Bool[np.ndarray, "rater *spatial"], *, grid: _Grid
) -> DisagreementMeasurement | None:
    if len(masks) < 2:
        return None
    shared = pairwise_intersections(masks.reshape(len(masks), -1))
    iou = pairwise_iou(shared)
    pairs = list(combinations(range(len(masks)), 2))
    pieces: list[np.ndarray] = []
    whole, of_slice = [], []
    for first, second in pairs:
        difference = masks[first] ^ masks[second]
        if not difference.any():
            continue
        components, _ = label_components(difference)
        pieces.append(np.bincount(components[difference])[1:].astype(np.float64))
        measure = partial(
            largest_pieces,
            difference,
            start=grid.box.start,
            shape=grid.shape,
            shift=grid.shift,
        )
        whole.append(measure())
        if grid.slice_axis is not None:
            of_slice.append(measure(slice_axis=grid.slice_axis))
    return DisagreementMeasurement(
        iou=[float(iou[pair]) for pair in pairs],
        iou_where_both_marked=[
            float(iou[a, b]) for a, b in pairs if shared[a, a] > 0 and shared[b, b] > 0
        ],
        num_equal_pairs=len(pairs) - len(pieces),
        piece_voxels=np.concatenate(pieces) if pieces else np.zeros(0),
        largest_piece=whole,
        largest_piece_of_slice=of_slice,
    )
