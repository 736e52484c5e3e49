"""Drawn masks of a case in little memory, until all of them are there to be scored."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, UInt8

from diffunet.evaluation.label_masks import MaskBlock, References

VOXELS_PER_BLOCK = 2**20
"""Of each mask: a block of twenty masks then takes 20 MiB."""


def stacked(
    samples: dict[int, Bool[np.ndarray, "label *spatial"]],
) -> Bool[np.ndarray, "sample label *spatial"]:
    """Return samples in one array, by their numbers, and leave none: never is all there twice."""
    num_samples = len(samples)
    first = samples.pop(0)
    made = np.empty((num_samples, *first.shape), bool)
    made[0] = first
    for number in range(1, num_samples):
        made[number] = samples.pop(number)
    return made


@final
class KeptMasks:
    """Masks as bits, an eighth of the memory of boolean arrays, in the order of their numbers."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._bits: dict[int, np.ndarray] = {}  # (label, *bits), uint8
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._bits)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of each sample: (label, *spatial)."""
        return self._shape

    def keep(self, number: int, masks: Bool[np.ndarray, "label *spatial"]) -> None:
        """Take the masks of sample `number`, from 0 on, in any order.

        Raises:
            ValueError: they have another shape than those before.
        """
        if self._bits and masks.shape != self._shape:
            raise ValueError(f"expected masks of the shape {self._shape}, got {masks.shape}")
        self._shape = masks.shape
        self._bits[number] = np.packbits(masks, axis=-1)

    def block(self, label: int, rows: slice) -> Bool[np.ndarray, "sample *block"]:
        """Return the masks of one label in a part of the first spatial axis."""
        parts = [self._bits[number][label] for number in range(len(self))]
        if len(self._shape) == 2:  # of one spatial axis, which is that of the bits
            return self._unpacked(np.stack(parts))[..., rows]
        return self._unpacked(np.stack([part[rows] for part in parts]))

    def _unpacked(self, bits: UInt8[np.ndarray, "sample *bits"]) -> Bool[np.ndarray, "sample *b"]:
        return np.unpackbits(bits, axis=-1, count=self._shape[-1]) > 0


@dataclass(frozen=True, kw_only=True)
class KeptLabel(References):
    """One label of samples that are kept as bits."""

    samples: KeptMasks
    label: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.samples.shape[1:]

    @property
    def num_samples(self) -> int:
        return len(self.samples)

    def blocks(self) -> Iterator[MaskBlock]:
        length = max(1, VOXELS_PER_BLOCK // max(1, math.prod(self.shape[1:])))
        for start in range(0, self.shape[0], length):
            rows = slice(start, min(start + length, self.shape[0]))
            yield self.beside(self.samples.block(self.label, rows), rows)
