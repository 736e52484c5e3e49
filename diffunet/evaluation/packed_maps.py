"""Many label maps of one shape in little memory: compressed, undone block by block.

A case may have dozens of samples, each as large as the image. Scores are sums over voxels, so one
block of all maps, or one whole mask, is enough at a time.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Integer

from diffunet.data.store.compression import compress, decompress

VOXELS_PER_BLOCK = 2**20
"""Of each map: a block of twenty maps then takes 20 MiB."""


@final
class PackedMaps:
    """Label maps in the order in which they were added.

    Attributes:
        shape: (*spatial) of each.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype):
        self.shape = tuple(shape)
        self._dtype = dtype
        self._maps: list[list[bytes]] = []

    def __len__(self) -> int:
        return len(self._maps)

    def add(self, label_map: Integer[np.ndarray, "*spatial"]) -> None:
        """Take in one more map.

        Raises:
            ValueError: it has another shape.
        """
        if label_map.shape != self.shape:
            raise ValueError(f"expected the shape {self.shape}, got {label_map.shape}")
        self._maps.append(
            [
                compress(label_map[rows].astype(self._dtype, copy=False), is_bitwise=True)
                for rows in self.blocks()
            ]
        )

    def chosen(self, numbers: Sequence[int]) -> "PackedMaps":
        """Return the maps with these numbers, in this order."""
        made = PackedMaps(self.shape, self._dtype)
        made._maps = [self._maps[number] for number in numbers]
        return made

    def blocks(self) -> list[slice]:
        """Return the ranges of the first axis that cut a map into blocks."""
        length = max(1, VOXELS_PER_BLOCK // max(1, math.prod(self.shape[1:])))
        return [
            slice(start, min(start + length, self.shape[0]))
            for start in range(0, self.shape[0], length)
        ]

    def block(self, numbers: Sequence[int], index: int) -> Integer[np.ndarray, "map *block"]:
        """Return block number `index` of the maps with these numbers."""
        rows = self.blocks()[index]
        shape = (rows.stop - rows.start, *self.shape[1:])
        found = np.empty((len(numbers), *shape), self._dtype)
        for place, number in enumerate(numbers):
            found[place] = decompress(self._maps[number][index], dtype=self._dtype, shape=shape)
        return found
