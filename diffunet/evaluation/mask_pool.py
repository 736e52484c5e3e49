"""All masks of one label on one image, reduced to what their scores depend on.

Except for surface scores, a score needs only the pairwise intersections of masks, and how many
voxels k samples and which raters mark. Voxels that no mask marks count only by their number, so the
work grows with what is marked, not with the image.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

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
    """Masks by number, without the voxels that no mask marks; the last mask is empty.

    Attributes:
        parts: of the active voxels, eight masks in each byte: (byte, active voxel) each.
        num_masks: the empty one counted.
        num_voxels: of the image, ignored voxels not counted.
    """

    parts: tuple[UInt8[np.ndarray, "byte voxel"], ...]
    num_masks: int
    num_voxels: int

    @classmethod
    def of(
        cls,
        masks: Sequence[Bool[np.ndarray, "*spatial"]],
        *,
        ignored: Bool[np.ndarray, "*spatial"] | None = None,
    ) -> "MaskPool":
        """Pool `masks`, all of one shape, in their order; voxels of `ignored` are left out."""
        return cls.of_blocks([(masks, ignored)])

    @classmethod
    def of_blocks(
        cls,
        blocks: Iterable[
            tuple[Sequence[Bool[np.ndarray, "*block"]], Bool[np.ndarray, "*block"] | None]
        ],
    ) -> "MaskPool":
        """Pool masks that come block by block: the same masks in each, and what is ignored."""
        parts: list[UInt8[np.ndarray, "byte voxel"]] = []
        num_masks, num_voxels = 0, 0
        for masks, ignored in blocks:
            rows = [mask.reshape(-1) for mask in masks]
            is_ignored = None if ignored is None else ignored.reshape(-1)
            num_masks = len(rows)
            num_voxels += rows[0].size
            if is_ignored is not None:
                num_voxels -= int(np.count_nonzero(is_ignored))
            for start in range(0, rows[0].size, _VOXELS_PACKED_AT_ONCE):
                chosen = slice(start, start + _VOXELS_PACKED_AT_ONCE)
                left_out = None if is_ignored is None else is_ignored[chosen]
                parts.append(_pack([row[chosen] for row in rows], left_out))
        return cls(parts=tuple(parts), num_masks=num_masks + 1, num_voxels=num_voxels)

    @property
    def num_active(self) -> int:
        """Voxels that some mask marks."""
        return sum(part.shape[1] for part in self.parts)

    def blocks(self) -> Iterator[Bool[np.ndarray, "mask voxel"]]:
        """Yield all masks at some of the active voxels at a time."""
        for part in self.parts:
            for start in range(0, part.shape[1], _VOXELS_UNPACKED_AT_ONCE):
                chosen = part[:, start : start + _VOXELS_UNPACKED_AT_ONCE]
                yield np.unpackbits(chosen, axis=0, count=self.num_masks).view(bool)

    @property
    def empty(self) -> int:
        """The number of the empty mask."""
        return self.num_masks - 1

    @cached_property
    def intersections(self) -> Float[np.ndarray, "mask mask"]:
        counts = np.zeros((self.num_masks, self.num_masks))
        for masks in self.blocks():
            counts += pairwise_intersections(masks)
        return counts

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
        shape = (len(samples) + 1, len(raters) + 1)
        joint = np.zeros(shape, np.int64)
        rater_marks = np.zeros((shape[0], len(raters)), np.int64)
        for masks in self.blocks():
            sample_counts = _count_marks(masks, samples)
            rater_counts = _count_marks(masks, raters)
            joint += np.bincount(
                sample_counts * shape[1] + rater_counts, minlength=shape[0] * shape[1]
            ).reshape(shape)
            for column, rater in enumerate(raters):
                marked = sample_counts[masks[rater]]
                rater_marks[:, column] += np.bincount(marked, minlength=shape[0])
        joint[0, 0] += self.num_voxels - self.num_active
        return Levels(
            num_voxels=joint.sum(axis=1).astype(np.float64),
            rater_marks=rater_marks.astype(np.float64),
            joint=joint.astype(np.float64),
        )


def _pack(
    rows: Sequence[Bool[np.ndarray, " voxel"]], ignored: Bool[np.ndarray, " voxel"] | None
) -> UInt8[np.ndarray, "byte active"]:
    """Return the masks at the voxels that some of them marks, an empty one after the last."""
    is_active = rows[0].copy()
    for row in rows[1:]:
        np.logical_or(is_active, row, out=is_active)
    if ignored is not None:
        is_active &= ~ignored
    active = np.flatnonzero(is_active)
    masks = np.zeros((len(rows) + 1, active.size), bool)
    for index, row in enumerate(rows):
        np.take(row, active, out=masks[index], mode="clip")
    return np.packbits(masks, axis=0)


def _count_marks(
    masks: Bool[np.ndarray, "mask voxel"], numbers: Int[np.ndarray, " chosen"]
) -> Int[np.ndarray, " voxel"]:
    """Return how many of the chosen masks mark each voxel, repeated masks counted repeatedly."""
    distinct, repeats = np.unique(numbers, return_counts=True)
    counts = np.zeros(masks.shape[1], np.int64)
    for number, repeat in zip(distinct, repeats, strict=True):
        counts += masks[number] * np.int64(repeat)
    return counts


# Voxels unpacked to bytes at a time: some tens of masks then take some MiB.
_VOXELS_PACKED_AT_ONCE = 2**20
_VOXELS_UNPACKED_AT_ONCE = 2**18
