"""The noise of a drawn segmentation: one field over the whole image, whatever the tiles."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.randomness import derive_seed

SLAB_THICKNESS = 32
"""Voxels along the first spatial axis that share a generator; part of what a seed means."""


def draw_noise(
    shape: Sequence[int], *, seed: int, case: str, samples: Sequence[int], step: int
) -> Float[Tensor, "sample channel *spatial"]:
    """Return standard normal noise that depends on the named numbers only.

    It is drawn on the CPU, slab by slab, each slab from a generator of its own: neither tiles nor
    groups of samples nor the device change it.

    Args:
        shape: (channel, *spatial) of the whole, padded image.
        case: identifier of the case, so that a case's samples do not depend on its neighbours.
        samples: k of each sample wanted, among all samples of the case.
        step: 0 for x_T, 1 for the noise that the first sampling step adds, and so on.

    Returns:
        float32, on the CPU.
    """
    noise = np.empty((len(samples), *shape), np.float32)
    for field, sample in zip(noise, samples, strict=True):
        for start in range(0, shape[1], SLAB_THICKNESS):
            slab = field[:, start : start + SLAB_THICKNESS]
            bits = np.random.SFC64(derive_seed("noise", seed, case, sample, step, start))
            slab[...] = np.random.Generator(bits).standard_normal(slab.shape, dtype=np.float32)
    return torch.from_numpy(noise)


def draw_numbers(
    num_channels: int, *, seed: int, case: str, sample: int, step: int
) -> Float[Tensor, " channel"]:
    """Return standard normal numbers of a sample, independent of its field of noise; float32."""
    bits = np.random.SFC64(derive_seed("numbers", seed, case, sample, step))
    numbers = np.random.Generator(bits).standard_normal(num_channels, dtype=np.float32)
    return torch.from_numpy(numbers)
