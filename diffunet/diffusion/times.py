"""Times at which training looks at the diffusion process."""

import torch
from jaxtyping import Float64
from torch import Tensor


def stratified_times(batch_size: int, seed: int) -> Float64[Tensor, " batch"]:
    """Return one time in each of `batch_size` equal parts of [0, 1), in random order.

    t = (permutation + uniform) / batch_size: every t is uniform on its own, and the batch covers
    the whole process (P1's "uniform_low_d"; compare the low-discrepancy times of Kingma et al.
    2021, arXiv:2107.00630). Drawn for the global batch; a rank takes its part of it.

    Args:
        seed: in [0, 2^63); the times are a function of it and of `batch_size` alone.

    Raises:
        ValueError: `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size should be at least 1, got {batch_size}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(batch_size, generator=generator)
    offsets = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    return (order + offsets) / batch_size
