"""All masks of one label on one image, reduced to what their scores depend on.

Every score but the surface ones depends on the masks only through pairwise intersections and
through how many voxels are marked by k samples and by which raters. Voxels that no mask marks enter
by their number alone, so that the work is proportional to what is marked, not to the image.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from diffunet.evaluation.overlap import (
    Confusion,
    pairwise_dice,
    pairwise_intersections,
    pairwise_iou,
)


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How many voxels k of n samples mark, and what the m raters say there.

    Attributes:
        num_voxels: (n + 1,): voxels that exactly k samples mark.
        rater_marks: (n + 1, m): how many of those rater j marks.
        joint: (n + 1, m + 1): voxels that exactly k samples and exactly l raters mark.
    """

    num_voxels: Float[np.ndarray, " level"]
    rater_marks: Float[np.ndarray, "level rater"]
    joint: Float[np.ndarray, "level rater_level"]

    @property
    def num_samples(self) -> int:
        return self.joint.shape[0] - 1

    @property
    def num_raters(self) -> int:
        return self.joint.shape[1] - 1


@dataclass(frozen=True, kw_only=True)
class MaskPool:
    """Masks by number, without the voxels that none of them marks; the last one is empty.

    Attributes:
        masks: (mask, active voxel); the last row is an empty mask.
        num_voxels: of the image, ignored voxels not counted.
    """

    masks: Bool[np.ndarray, "mask voxel"]
    num_voxels: int

    @classmethod
    def of(
        cls,
        masks: Sequence[Bool[np.ndarray, "*spatial"]],
        *,
        ignored: Bool[np.ndarray, "*spatial"] | None = None,
    ) -> "MaskPool":
        """Pool `masks`, all of one shape, in their order; voxels of `ignored` are left out."""
        rows = [mask.reshape(-1) for mask in masks]
        is_active = rows[0].copy()
        for row in rows[1:]:
            np.logical_or(is_active, row, out=is_active)
        num_voxels = is_active.size
        if ignored is not None:
            is_active &= ~ignored.reshape(-1)
            num_voxels -= int(np.count_nonzero(ignored))
        active = np.flatnonzero(is_active)
        pooled = np.zeros((len(rows) + 1, active.size), bool)
        for index, row in enumerate(rows):
            np.take(row, active, out=pooled[index], mode="clip")
        return cls(masks=pooled, num_voxels=num_voxels)

    @property
    def empty(self) -> int:
        """The number of the empty mask."""
        return len(self.masks) - 1

    @cached_property
    def intersections(self) -> Float[np.ndarray, "mask mask"]:
        return pairwise_intersections(self.masks)

    @cached_property
    def volumes(self) -> Float[np.ndarray, " mask"]:
        """In voxels."""
        return np.diagonal(self.intersections)

    @cached_property
    def iou(self) -> Float[np.ndarray, "mask mask"]:
        return pairwise_iou(self.intersections)

    @cached_property
    def dice(self) -> Float[np.ndarray, "mask mask"]:
        return pairwise_dice(self.intersections)

    def confusion(self, prediction: int, reference: int) -> Confusion:
        """Return the counts of mask number `prediction` against mask number `reference`."""
        shared = int(self.intersections[prediction, reference])
        predicted, marked = int(self.volumes[prediction]), int(self.volumes[reference])
        return Confusion(
            true_positive=shared,
            false_positive=predicted - shared,
            false_negative=marked - shared,
            true_negative=self.num_voxels - predicted - marked + shared,
        )

    def levels(
        self, samples: Int[np.ndarray, " sample"], raters: Int[np.ndarray, " rater"]
    ) -> Levels:
        """Count voxels by how many samples and which raters mark them.

        Args:
            samples: numbers of masks; a mask may stand in for several samples.
            raters: numbers of masks.
        """
        sample_counts = _count_marks(self.masks, samples)
        rater_counts = _count_marks(self.masks, raters)
        shape = (len(samples) + 1, len(raters) + 1)
        joint = np.bincount(
            sample_counts * shape[1] + rater_counts, minlength=shape[0] * shape[1]
        ).reshape(shape)
        joint[0, 0] += self.num_voxels - self.masks.shape[1]
        rater_marks = [
            np.bincount(sample_counts[self.masks[rater]], minlength=shape[0]) for rater in raters
        ]
        return Levels(
            num_voxels=joint.sum(axis=1).astype(np.float64),
            rater_marks=np.stack(rater_marks, axis=1).astype(np.float64),
            joint=joint.astype(np.float64),
        )


def _count_marks(
    masks: Bool[np.ndarray, "mask voxel"], numbers: Int[np.ndarray, " chosen"]
) -> Int[np.ndarray, " voxel"]:
    """Return how many of the chosen masks mark each voxel, repeated masks counted repeatedly."""
    distinct, repeats = np.unique(numbers, return_counts=True)
    counts = np.zeros(masks.shape[1], np.int64)
    for number, repeat in zip(distinct, repeats, strict=True):
        counts += masks[number] * np.int64(repeat)
    return counts
