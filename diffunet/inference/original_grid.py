"""What was drawn on the stored grid, as masks on the grid of the image's files."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from diffunet.data.store.case import CaseProperties
from diffunet.diffusion.encoding import Encoding
from diffunet.preprocessing.case import restore_channel, restore_x_0

_SLAB_VOXELS = 2**22
"""Voxels that are decoded at once."""


def decode_on_original_grid(
    x_0: np.ndarray, properties: CaseProperties, *, encoding: Encoding
) -> np.ndarray:
    """Return the boolean masks (label, *original_shape) that x_0 (channel, *shape) stands for.

    x_0 is brought to the original grid first, so that masks there have borders as fine as it. Bits
    of class numbers are not: between two classes their bits may spell a third one. Of them, masks
    are brought there.
    """
    if properties.is_on_original_grid:
        return _decoded(x_0, encoding)
    if not encoding.can_be_interpolated:
        return _restored_masks(_decoded(x_0, encoding), properties)
    nothing = torch.zeros(1, encoding.num_labels, 1, 1, dtype=torch.bool)
    background = encoding.encode(nothing, None).flatten().tolist()
    return _decoded(restore_x_0(x_0, properties, background=background), encoding)


def _decoded(x_0: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Return the masks (label, *shape) of x_0 (channel, *shape), a slab at a time."""
    masks = np.empty((encoding.num_labels, *x_0.shape[1:]), bool)
    for slab in _slabs(x_0.shape[1:]):
        masks[slab] = encoding.decode(torch.from_numpy(x_0[slab])[None])[0].numpy()
    return masks


def _restored_masks(masks: np.ndarray, properties: CaseProperties) -> np.ndarray:
    """Return exclusive masks (label, *shape) on the original grid, where the largest share wins.

    Among equal shares background wins, then the first label. Labels that nothing marks cost
    nothing.
    """
    shape = properties.original_shape
    best, share = np.empty(shape, np.float32), np.empty(shape, np.float32)
    nothing = np.logical_not(np.any(masks, axis=0, keepdims=True))
    restore_channel(nothing[0], properties, background=1, out=best)
    numbers = np.zeros(shape, np.min_scalar_type(len(masks)))
    for number, mask in enumerate(masks, start=1):
        if mask.any():
            restore_channel(mask, properties, background=0, out=share)
            numbers[share > best] = number
            np.maximum(best, share, out=best)
    restored = np.empty((len(masks), *shape), bool)
    for number, mask in enumerate(restored, start=1):
        np.equal(numbers, number, out=mask)
    return restored


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield slices of (channel, *shape) along the first spatial axis."""
    thickness = max(1, _SLAB_VOXELS // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], thickness):
        yield slice(None), slice(start, start + thickness)
