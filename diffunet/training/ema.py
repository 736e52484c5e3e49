"""Exponential moving average of the weights: what validation and prediction use."""

import copy

import torch
from torch import nn


class ExponentialMovingAverage:
    """A copy of a model whose weights follow those of the model slowly.

    Buffers are copied once: the networks here have none that training changes.

    Attributes:
        model: the averaged copy, in evaluation mode and without gradients.
    """

    def __init__(self, model: nn.Module, *, decay: float):
        """Start from the present weights of `model`.

        Args:
            decay: largest share of the old average that survives one update, in [0, 1].
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._averaged = list(self.model.parameters())
        self._followed = list(model.parameters())

    def decay_at(self, iteration: int) -> float:
        """Return min(decay, (1 + i) / (10 + i)), so that early averages forget the random start."""
        return min(self._decay, (1 + iteration) / (10 + iteration))

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take in the weights after optimiser step number `iteration`, counted from 0."""
        weight = 1 - self.decay_at(iteration)
        torch._foreach_lerp_(self._averaged, self._followed, weight)  # pyright: ignore  # unlisted
