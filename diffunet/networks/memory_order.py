"""The order of memory in which convolutions are fastest, on CPU and GPU: channels last."""

import torch
from torch import nn

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
"""By number of spatial dimensions."""


def channels_last(model: nn.Module, *, dimensions: int) -> nn.Module:
    """Give the weights of convolutions this order, in place."""
    return model.to(memory_format=CHANNELS_LAST[dimensions])  # pyright: ignore  # unlisted
