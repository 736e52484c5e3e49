"""Masks as the continuous x_0 that diffusion works on, and back.

Masks are boolean, (batch, label, *spatial), labels without background. x_0 is float32 in [-1, 1];
voxels that nobody annotated are 0 in every channel and take no part in the loss.
"""

from collections.abc import Callable
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class Encoding(Protocol):
    """A way to write masks as x_0."""

    @property
    def num_labels(self) -> int:
        """Labels without background."""
        ...

    @property
    def num_channels(self) -> int:
        """Channels of x_0."""
        ...

    @property
    def can_be_interpolated(self) -> bool:
        """Whether x_0 between two voxels stands for nothing that neither of them is."""
        ...

    def encode(
        self,
        masks: Bool[Tensor, "batch label *spatial"],
        ignored: Bool[Tensor, "batch 1 *spatial"] | None,
    ) -> Float[Tensor, "batch channel *spatial"]:
        """Return x_0 in {-1, 0, 1}; 0 exactly where `ignored`."""
        ...

    def decode(
        self, x_0: Float[Tensor, "batch channel *spatial"]
    ) -> Bool[Tensor, "batch label *spatial"]:
        """Return the masks that x_0 is nearest to; ties go to background."""
        ...


@final
class RegionEncoding:
    """Labels that may overlap: one signed channel each, decoded by x_0 > 0."""

    def __init__(self, num_labels: int):
        self.num_labels = _checked(num_labels)
        self.num_channels = num_labels
        self.can_be_interpolated = True

    def encode(
        self,
        masks: Bool[Tensor, "batch label *spatial"],
        ignored: Bool[Tensor, "batch 1 *spatial"] | None,
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return +1 inside and -1 outside of each label."""
        return _without_ignored(_signed(masks), ignored)

    def decode(
        self, x_0: Float[Tensor, "batch label *spatial"]
    ) -> Bool[Tensor, "batch label *spatial"]:
        """Return x_0 > 0."""
        return x_0 > 0


@final
class SignedEncoding:
    """Exclusive labels: one signed channel per class, background first, decoded by the largest.

    A single label needs no background channel: one channel, decoded by x_0 > 0, as in P1.
    """

    def __init__(self, num_labels: int):
        self.num_labels = _checked(num_labels)
        self.num_channels = 1 if num_labels == 1 else num_labels + 1
        self.can_be_interpolated = True

    def encode(
        self,
        masks: Bool[Tensor, "batch label *spatial"],
        ignored: Bool[Tensor, "batch 1 *spatial"] | None,
    ) -> Float[Tensor, "batch channel *spatial"]:
        """Return +1 in the channel of a voxel's class and -1 in the others."""
        if self.num_channels == 1:
            return _without_ignored(_signed(masks), ignored)
        background = ~masks.any(dim=1, keepdim=True)
        return _without_ignored(_signed(torch.cat([background, masks], dim=1)), ignored)

    def decode(
        self, x_0: Float[Tensor, "batch channel *spatial"]
    ) -> Bool[Tensor, "batch label *spatial"]:
        """Return for each label where its channel is the largest."""
        if self.num_channels == 1:
            return x_0 > 0
        return _masks_of_largest(lambda number: x_0[:, number], self.num_labels)


@final
class AnalogBitsEncoding:
    """Exclusive labels: the bits of the class number, 0 as -1 and 1 as +1, lowest bit first.

    Chen et al. 2023, arXiv:2208.04202. Decoded to the class whose bits are nearest, so the
    result is always a class.
    """

    def __init__(self, num_labels: int):
        self.num_labels = _checked(num_labels)
        self.num_channels = num_labels.bit_length()
        self.can_be_interpolated = self.num_channels == 1

    def encode(
        self,
        masks: Bool[Tensor, "batch label *spatial"],
        ignored: Bool[Tensor, "batch 1 *spatial"] | None,
    ) -> Float[Tensor, "batch bit *spatial"]:
        """Return the signed bits of each voxel's class."""
        channels = [
            masks[:, self._labels_with_bit(bit)].any(dim=1) for bit in range(self.num_channels)
        ]
        return _without_ignored(_signed(torch.stack(channels, dim=1)), ignored)

    def decode(
        self, x_0: Float[Tensor, "batch bit *spatial"]
    ) -> Bool[Tensor, "batch label *spatial"]:
        """Return for each label where its bits agree best with x_0; among equals the lowest."""
        numbers = self._numbers_by_sign(x_0)
        is_none = numbers > self.num_labels
        numbers[is_none] = self._nearest(x_0.movedim(1, 0)[:, is_none])
        masks = torch.empty(
            (numbers.shape[0], self.num_labels, *numbers.shape[1:]),
            dtype=torch.bool,
            device=x_0.device,
        )
        for label in range(self.num_labels):
            torch.eq(numbers, label + 1, out=masks[:, label])
        return masks

    def _numbers_by_sign(self, x_0: Tensor) -> Tensor:
        """Return the number that the signs spell, (batch, *spatial): the nearest one of all."""
        numbers = torch.zeros_like(x_0[:, 0], dtype=torch.int32)
        for bit in range(self.num_channels):
            numbers |= (x_0[:, bit] > 0).to(torch.int32) << bit
        return numbers

    def _nearest(self, x_0: Float[Tensor, "bit voxel"]) -> Tensor:
        """Return the class whose bits agree best, (voxel,); for signs that spell none."""
        best = torch.full_like(x_0[0], -torch.inf)
        nearest = torch.zeros_like(x_0[0], dtype=torch.int32)
        for number in range(self.num_labels + 1):
            signs = [1 if number >> bit & 1 else -1 for bit in range(self.num_channels)]
            agreement = (x_0 * x_0.new_tensor(signs)[:, None]).sum(dim=0)
            nearest[agreement > best] = number
            best = torch.maximum(best, agreement)
        return nearest

    def _labels_with_bit(self, bit: int) -> list[int]:
        return [label for label in range(self.num_labels) if (label + 1) >> bit & 1]


ENCODINGS: dict[str, type[RegionEncoding] | type[SignedEncoding] | type[AnalogBitsEncoding]] = {
    "regions": RegionEncoding,
    "signed": SignedEncoding,
    "analog_bits": AnalogBitsEncoding,
}


def _checked(num_labels: int) -> int:
    if num_labels < 1:
        raise ValueError(f"num_labels should be at least 1, got {num_labels}")
    return num_labels


def _signed(masks: Tensor) -> Tensor:
    return masks.float().mul_(2).sub_(1)


def _without_ignored(x_0: Tensor, ignored: Tensor | None) -> Tensor:
    return x_0 if ignored is None else x_0.masked_fill_(ignored, 0)


def _masks_of_largest(score: Callable[[int], Tensor], num_labels: int) -> Tensor:
    """Return masks of classes 1 ... num_labels where theirs is the largest score.

    Among equals the lowest class wins, background (0) first. One class at a time: argmax would
    need an int64 map of the whole volume, and does not say which of equals it returns.
    """
    best = score(0).clone()
    for number in range(1, num_labels + 1):
        torch.maximum(best, score(number), out=best)
    is_taken = score(0) == best
    masks = torch.empty(
        (best.shape[0], num_labels, *best.shape[1:]), dtype=torch.bool, device=best.device
    )
    for label in range(num_labels):
        masks[:, label] = (score(label + 1) == best).logical_and_(~is_taken)
        is_taken.logical_or_(masks[:, label])
    return masks
