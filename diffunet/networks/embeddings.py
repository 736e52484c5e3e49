"""Vectors that tell a network the time of the noise process and the image-level labels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# P1's value for t in [0, 1] (Ho et al. have 10000 for t in [0, 1000]).
MAX_PERIOD = 10.0


def sinusoids(t: Float[Tensor, " batch"], *, dim: int) -> Float[Tensor, "batch dim"]:
    """Return cosines and sines of `t` at `dim` / 2 angular frequencies from 1 to 1 / MAX_PERIOD.

    Args:
        t: time in [0, 1].
        dim: even.
    """
    half = dim // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / half
    angles = t.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimeEmbedding(nn.Module):
    """Sinusoids of time, passed through two linear layers.

    Args:
        dim: length of the result, a multiple of 8; there are `dim` / 4 sinusoids.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.num_sinusoids = dim // 4
        self.first = nn.Linear(self.num_sinusoids, dim)
        self.second = nn.Linear(dim, dim)

    def forward(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """Return the embedding of times in [0, 1]."""
        waves = sinusoids(t, dim=self.num_sinusoids).to(self.first.weight.dtype)
        return self.second(functional.silu(self.first(waves)))


class LabelEmbedding(nn.Module):
    """One vector for each image-level label and state (absent, present), summed over the labels.

    "Absent" has a vector of its own, so that it differs from "not told".

    Args:
        num_classes: image-level labels.
        dim: length of the result.
    """

    def __init__(self, num_classes: int, *, dim: int):
        super().__init__()
        self.absent = nn.Parameter(torch.randn(num_classes, dim))
        self.present = nn.Parameter(torch.randn(num_classes, dim))

    def forward(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the embedding of `tags`, each 0 or 1; values between are mixed linearly."""
        tags = tags.to(self.absent.dtype)
        return tags @ self.present + (1 - tags) @ self.absent


def embedded_labels(
    embedding: LabelEmbedding | None, tags: Float[Tensor, "batch class"]
) -> Float[Tensor, "batch dim"]:
    """Return the condition for image-level labels, each 0 or 1.

    Raises:
        ValueError: the network was built without image-level labels.
    """
    if embedding is None:
        raise ValueError("this network was built without image-level labels (num_classes 0)")
    return embedding(tags)
