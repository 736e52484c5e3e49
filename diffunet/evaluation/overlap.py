"""Overlap and volume of two masks, from counts of voxels.

Conventions for empty masks: both empty, Dice = IoU = 1; one empty, both are 0.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many voxels a mask and its reference share, in voxels."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where both masks are empty."""
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); 1 where both masks are empty."""
        total = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / total if total else 1.0

    @property
    def predicted_voxels(self) -> int:
        return self.true_positive + self.false_positive

    @property
    def reference_voxels(self) -> int:
        return self.true_positive + self.false_negative


def count_confusion(
    prediction: Bool[np.ndarray, "*spatial"],
    reference: Bool[np.ndarray, "*spatial"],
    *,
    ignored: Bool[np.ndarray, "*spatial"] | None = None,
) -> Confusion:
    """Count how two masks overlap; voxels of `ignored` are not counted at all."""
    num_voxels = prediction.size
    if ignored is not None:
        prediction, reference = prediction & ~ignored, reference & ~ignored
        num_voxels -= int(np.count_nonzero(ignored))
    shared = int(np.count_nonzero(prediction & reference))
    predicted = int(np.count_nonzero(prediction))
    marked = int(np.count_nonzero(reference))
    return Confusion(
        true_positive=shared,
        false_positive=predicted - shared,
        false_negative=marked - shared,
        true_negative=num_voxels - predicted - marked + shared,
    )


def volume_error(confusion: Confusion, *, voxel_volume: float) -> float:
    """Return V - V_reference in mm^3 (mm^2 in 2D); `voxel_volume` is in the same unit."""
    return (confusion.predicted_voxels - confusion.reference_voxels) * voxel_volume


def relative_volume_error(confusion: Confusion) -> float:
    """Return (V - V_reference) / V_reference; both empty 0, only the reference empty NaN."""
    difference = confusion.predicted_voxels - confusion.reference_voxels
    if confusion.reference_voxels:
        return difference / confusion.reference_voxels
    return 0.0 if difference == 0 else float("nan")


def pairwise_intersections(masks: Bool[np.ndarray, "mask voxel"]) -> Float[np.ndarray, "mask mask"]:
    """Return how many voxels each pair of masks shares; the diagonal holds the masks' volumes.

    One Gram matrix instead of a loop over pairs, in blocks of voxels: the products are in float32,
    which counts exactly up to 2^24, and are added up in float64.
    """
    counts = np.zeros((len(masks), len(masks)))
    for start in range(0, masks.shape[1], _VOXELS_PER_BLOCK):
        block = masks[:, start : start + _VOXELS_PER_BLOCK].astype(np.float32)
        counts += block @ block.T
    return counts


def pairwise_iou(intersections: Float[np.ndarray, "mask mask"]) -> Float[np.ndarray, "mask mask"]:
    """Return the IoU of each pair from `pairwise_intersections`; two empty masks have 1."""
    volumes = np.diagonal(intersections)
    union = volumes[:, None] + volumes[None, :] - intersections
    return np.divide(intersections, union, out=np.ones_like(union), where=union > 0)


def pairwise_dice(intersections: Float[np.ndarray, "mask mask"]) -> Float[np.ndarray, "mask mask"]:
    """Return the Dice of each pair from `pairwise_intersections`; two empty masks have 1."""
    volumes = np.diagonal(intersections)
    total = volumes[:, None] + volumes[None, :]
    return np.divide(2 * intersections, total, out=np.ones_like(total), where=total > 0)


# A block of 16 masks in float32 is then 16 MiB, and a count stays far below float32's exact 2^24.
_VOXELS_PER_BLOCK = 2**18
