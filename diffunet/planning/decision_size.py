"""How many voxels are decided together while a mask is denoised."""

import math
from collections.abc import Mapping

from diffunet.fingerprint.fingerprint import WHOLE, LabelFingerprint, ObjectFingerprint
from diffunet.fingerprint.summary import Summary
from diffunet.planning.choice import Choice

_DISC = math.pi / 4
_BALL = math.pi / 6
_MOST_TOLD = 5  # labels whose own size is in the reason


def choose_decision_size(
    labels: Mapping[str, LabelFingerprint] | None,
    *,
    dimensions: int,
    is_slicewise: bool,
    voxel_edge_mm: float,
    patch_edge: float,
    spacing_ratio: float,
) -> Choice[float | None]:
    """Return N, the size in voxels of the region whose fate is decided as one.

    Formula A, for cases with one rater, asks whether there is an object at all: N is the size of a
    disc or ball of the objects' mean diameter. Formula B, for two or more raters, asks which rater
    is followed: N is the mean size of the largest connected piece in which two raters differ within
    a training patch. Several labels: the geometric mean.

    Args:
        labels: None where masks may not be opened.
        dimensions: of a training patch.
        is_slicewise: patches are slices of volumes.
        voxel_edge_mm: edge of a voxel in training, were it a cube (square).
        patch_edge: edge of a patch, were it a cube (square), in voxels of the files.
        spacing_ratio: edge of a voxel in training over that in the files.

    Returns:
        None if nothing is known about the objects.
    """
    parts: list[tuple[float, str]] = []
    for name, label in (labels or {}).items():
        found = _by_disagreement(
            label,
            dimensions=dimensions,
            is_slicewise=is_slicewise,
            patch_edge=patch_edge,
            spacing_ratio=spacing_ratio,
        ) or _by_objects(
            label.objects_of_slice if is_slicewise else label.objects,
            dimensions=dimensions,
            voxel_edge_mm=voxel_edge_mm,
        )
        if found is not None:
            parts.append((found[0], f"'{name}': {found[1]}"))
    if not parts:
        return Choice(None, "nothing is known about the size of objects")
    size = math.exp(sum(math.log(value) for value, _ in parts) / len(parts))
    reason = "; ".join(text for _, text in parts[:_MOST_TOLD])
    if len(parts) > _MOST_TOLD:
        sizes = [each for each, _ in parts]
        reason += f"; and {len(parts) - _MOST_TOLD} more: N from {min(sizes):.4g} to "
        reason += f"{max(sizes):.4g} in all"
    if len(parts) > 1:
        reason += f"; geometric mean N = {size:.4g}"
    return Choice(size, reason)


def _by_disagreement(
    label: LabelFingerprint,
    *,
    dimensions: int,
    is_slicewise: bool,
    patch_edge: float,
    spacing_ratio: float,
) -> tuple[float, str] | None:
    if label.disagreement is None:
        return None
    windows = label.disagreement.largest_piece
    if is_slicewise:
        windows = label.disagreement.largest_piece_of_slice or {}
    if not windows:
        return None
    piece, window = _nearest(windows, patch_edge)
    size = max(1.0, piece.mean / spacing_ratio**dimensions)
    return size, (
        f"two raters differ by a connected piece of N = {size:.4g} voxels on average (formula B; "
        f"the largest piece in {window})"
    )


def _nearest(windows: Mapping[str, Summary], patch_edge: float) -> tuple[Summary, str]:
    """Return the summary of the window whose edge is nearest in ratio to that of a patch."""
    edges = {int(name): name for name in windows if name != WHOLE}
    if WHOLE in windows and (not edges or patch_edge > math.sqrt(2) * max(edges)):
        return windows[WHOLE], "the whole image"
    nearest = min(edges, key=lambda edge: abs(math.log(edge / patch_edge)))
    return windows[edges[nearest]], f"windows of {nearest} voxels, near the patch's size"


def _by_objects(
    objects: ObjectFingerprint | None, *, dimensions: int, voxel_edge_mm: float
) -> tuple[float, str] | None:
    if objects is None:
        return None
    diameter = objects.diameter_mm.mean / voxel_edge_mm
    shape, factor = ("disc", _DISC) if dimensions == 2 else ("ball", _BALL)
    size = max(1.0, factor * diameter**dimensions)
    return size, (
        f"objects have a mean diameter of {diameter:.3g} voxels, a {shape} of N = {size:.4g} "
        "voxels (formula A: whether an object is there)"
    )
