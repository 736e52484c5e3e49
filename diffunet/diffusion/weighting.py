"""Weights of the denoising loss: how much ||x_0_hat - x_0||^2 counts at each log SNR.

All are in terms of the x_0 error, whatever the network predicts (P1). "snr" is the plain noise
loss, "snr_plus_one" the plain v loss (Salimans & Ho 2022, arXiv:2202.00512, Sec. 4). Formulas work
on each element of a tensor, and import no torch (see `tensor`).
"""

from collections.abc import Callable
from typing import Protocol

from diffunet.diffusion.tensor import Tensor

Weighting = Callable[[Tensor], Tensor]
"""A weight as a function of log SNR."""


class BiasedWeighting(Protocol):
    """The one signature of all weightings."""

    def __call__(self, log_snr: Tensor, *, bias: float) -> Tensor:
        """Return the weight; `bias` is the log SNR at which it bends, if it does."""
        ...


def snr(log_snr: Tensor, *, bias: float) -> Tensor:
    """Return SNR."""
    return log_snr.exp()


def snr_plus_one(log_snr: Tensor, *, bias: float) -> Tensor:
    """Return SNR + 1."""
    return log_snr.exp() + 1


def snr_truncated(log_snr: Tensor, *, bias: float) -> Tensor:
    """Return max(SNR, 1)."""
    return log_snr.exp().clamp(min=1)


def uniform(log_snr: Tensor, *, bias: float) -> Tensor:
    """Return 1 at every log SNR."""
    return log_snr.new_ones(log_snr.shape)


def sigmoid(log_snr: Tensor, *, bias: float) -> Tensor:
    """Return 1 where little noise is left, falling as SNR below `bias`.

    It is sigmoid(log_snr - bias). exp(bias) times this is SNR times sigmoid(bias - log_snr), the
    sigmoid weighting of the noise loss (Hoogeboom et al. 2024, arXiv:2410.19324, Sec. 3).
    """
    return (log_snr - bias).sigmoid()


def min_snr(log_snr: Tensor, *, bias: float) -> Tensor:
    """Return min(SNR, exp(bias)): min-SNR-gamma with gamma = exp(bias).

    Hang et al. 2023, arXiv:2303.09556; their gamma of 5 is a bias of 1.61. "sigmoid" times
    gamma is the same without a corner.
    """
    return log_snr.clamp(max=bias).exp()


WEIGHTINGS: dict[str, BiasedWeighting] = {
    "snr": snr,
    "snr_plus_one": snr_plus_one,
    "snr_truncated": snr_truncated,
    "uniform": uniform,
    "sigmoid": sigmoid,
    "min_snr": min_snr,
}
