"""Tiles that cover an image, cut and blended with Gaussian weights; padding and mirroring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import cast

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from jaxtyping import Float
from torch import Tensor

from diffunet.geometry import tile_starts

GAUSSIAN_SIGMA = 1 / 8
"""Standard deviation of a tile's weights, in tiles (as nnU-Net's)."""


Starts = Sequence[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Tiles over an image, in lexicographic order.

    An image smaller than a patch is padded to it. The weights of all tiles add up to one at every
    voxel; they are products over the axes, as the tiles form a grid, so that no map of their sum is
    ever needed.

    Attributes:
        image_shape: spatial; one axis more than `patch_size` where a volume is cut into slices.
        patch_size: what the network takes.
        step_size: distance of neighbouring tiles, in tiles; in (0, 1].
    """

    image_shape: tuple[int, ...]
    patch_size: tuple[int, ...]
    step_size: float

    @property
    def tile(self) -> tuple[int, ...]:
        """Voxels per axis of the image; (1, *patch_size) cuts a volume into slices."""
        return (1,) * (len(self.image_shape) - len(self.patch_size)) + self.patch_size

    @property
    def is_sliced(self) -> bool:
        """Whether a volume is cut into slices along its first axis."""
        return len(self.image_shape) > len(self.patch_size)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the padded image: `image_shape`, but at least a tile."""
        return tuple(max(sizes) for sizes in zip(self.image_shape, self.tile, strict=True))

    @cached_property
    def starts(self) -> list[tuple[int, ...]]:
        """First voxel of each tile, in lexicographic order."""
        return tile_starts(self.shape, self.tile, self.step_size)

    @cached_property
    def _profiles(self) -> list[dict[int, Tensor]]:
        """Per axis the weights of the tiles that start at a position; float32."""
        starts_per_axis = [sorted(set(starts)) for starts in zip(*self.starts, strict=True)]
        return [
            _partition_of_unity(starts, size, edge)
            for starts, size, edge in zip(starts_per_axis, self.shape, self.tile, strict=True)
        ]

    def slices(self, start: Sequence[int]) -> tuple[slice, ...]:
        """Return the spatial slices of the tile at `start`."""
        return tuple(slice(a, a + edge) for a, edge in zip(start, self.tile, strict=True))

    def weights(self, start: Sequence[int]) -> Float[Tensor, "*tile"]:
        """Return the tile's weight at each of its voxels, in (0, 1]; float32."""
        weights = torch.ones((1,) * len(self.tile))
        for axis, position in enumerate(start):
            shape = [1] * len(self.tile)
            shape[axis] = -1
            weights = weights * self._profiles[axis][position].view(shape)
        return weights

    def chunks(self, sizes: Sequence[int]) -> list[Starts]:
        """Return the starts of all tiles in pieces of these sizes."""
        starts = iter(self.starts)
        return [list(islice(starts, size)) for size in sizes]

    def cut(
        self, image: Float[Tensor, "channel *spatial"], starts: Starts
    ) -> Float[Tensor, "tile channel *patch"]:
        """Return the tiles of `image` at `starts`, as the network takes them."""
        tiles = torch.stack([image[(..., *self.slices(start))] for start in starts])
        return tiles.reshape(len(starts), image.shape[0], *self.patch_size)

    def blend(
        self, chunks: Sequence[Starts], predict: Callable[[Starts], Tensor], out: Tensor
    ) -> None:
        """Add to `out` the weighted answers of all tiles, in lexicographic order.

        Args:
            chunks: starts of the tiles that are predicted together.
            predict: returns (tile, sample, channel, *tile) for a chunk, on any device.
            out: (sample, channel, *spatial), zeros.
        """
        for starts in chunks:
            for start, answer in zip(starts, predict(starts), strict=True):
                weights = self.weights(start).to(answer.device)
                out[(..., *self.slices(start))] += (answer * weights).to(out.device)


def pad_to(
    image: Float[Tensor, "channel *spatial"], shape: Sequence[int]
) -> Float[Tensor, "channel *padded"]:
    """Return `image` centred in zeros of the spatial `shape`; itself where nothing is to add."""
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    return cast(Tensor, pad_nd_image(image, tuple(shape)))


def crop_to(
    padded: Float[Tensor, "channel *padded"], shape: Sequence[int]
) -> Float[Tensor, "channel *spatial"]:
    """Return the view of `padded` that `pad_to` filled with an image of `shape`."""
    before = [(large - small) // 2 for small, large in zip(shape, padded.shape[1:], strict=True)]
    return padded[(..., *(slice(a, a + size) for a, size in zip(before, shape, strict=True)))]


def flip(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Return (batch, channel, *patch) flipped along `axes` of the patch."""
    return tensor.flip([axis + 2 for axis in axes]) if axes else tensor


def _partition_of_unity(starts: Sequence[int], size: int, edge: int) -> dict[int, Tensor]:
    """Return each tile's Gaussian along one axis over the sum of all tiles', by its start."""
    offsets = (np.arange(edge) - (edge - 1) / 2) / (edge * GAUSSIAN_SIGMA)
    gaussian = np.exp(-0.5 * offsets**2)
    total = np.zeros(size)
    for start in starts:
        total[start : start + edge] += gaussian
    return {
        start: torch.from_numpy((gaussian / total[start : start + edge]).astype(np.float32))
        for start in starts
    }


def mirrorings(mirror_axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return every set of axes to flip, none at all first: 2^len(mirror_axes) of them."""
    return [
        tuple(axis for bit, axis in enumerate(mirror_axes) if number >> bit & 1)
        for number in range(2 ** len(mirror_axes))
    ]
