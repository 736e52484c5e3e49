"""What a network's output means: x_0, v or noise.

x_t = alpha_t x_0 + sigma_t noise and v = alpha_t noise - sigma_t x_0 (Salimans & Ho 2022,
arXiv:2202.00512, Sec. 4). Everything here broadcasts one log SNR per sample over
channels and voxels; coefficients are float64 and cast where they meet the image. No formula
imports torch (see `tensor`).
"""

from typing import Protocol, final, runtime_checkable

from diffunet.diffusion.schedules import alpha_sigma
from diffunet.diffusion.tensor import Tensor


def coefficients(log_snr: Tensor, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha_t and sigma_t shaped (batch, 1, ...), with dtype and device of `like`."""
    alpha, sigma = alpha_sigma(log_snr)
    shape = (-1, *(1 for _ in like.shape[1:]))
    return alpha.reshape(shape).to(like), sigma.reshape(shape).to(like)


@runtime_checkable
class Prediction(Protocol):
    """What a network puts out at noise levels `log_snr` (batch,); images are (batch, channel, ...).

    Attributes:
        is_bounded: the output lies in [-1, 1], so that a final tanh suits the network.
    """

    @property
    def is_bounded(self) -> bool: ...

    def target(self, x_0: Tensor, noise: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return what the network should put out."""
        ...

    def x_0(self, output: Tensor, x_t: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return x_0_hat of an output in the dtype of x_t; not clipped."""
        ...

    def x_0_error_factor(self, log_snr: Tensor) -> Tensor:
        """Return c with ||x_0_hat - x_0||^2 = c ||output - target||^2."""
        ...


@final
class X0Prediction:
    """The clean image itself."""

    is_bounded = True

    def target(self, x_0: Tensor, noise: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return x_0."""
        return x_0

    def x_0(self, output: Tensor, x_t: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return the output."""
        return output

    def x_0_error_factor(self, log_snr: Tensor) -> Tensor:
        """Return 1."""
        return log_snr.new_ones(log_snr.shape)


@final
class VPrediction:
    """v = alpha_t noise - sigma_t x_0; no error is magnified at any log SNR."""

    is_bounded = False

    def target(self, x_0: Tensor, noise: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return v."""
        alpha, sigma = coefficients(log_snr, like=x_0)
        return alpha * noise - sigma * x_0

    def x_0(self, output: Tensor, x_t: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return alpha_t x_t - sigma_t v."""
        alpha, sigma = coefficients(log_snr, like=x_t)
        return alpha * x_t - sigma * output

    def x_0_error_factor(self, log_snr: Tensor) -> Tensor:
        """Return sigma_t^2."""
        return (-log_snr).sigmoid()


@final
class NoisePrediction:
    """The noise in x_t; errors of x_0_hat are exp(-log_snr / 2) times as large."""

    is_bounded = False

    def target(self, x_0: Tensor, noise: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return the noise."""
        return noise

    def x_0(self, output: Tensor, x_t: Tensor, *, log_snr: Tensor) -> Tensor:
        """Return (x_t - sigma_t noise) / alpha_t."""
        alpha, sigma = coefficients(log_snr, like=x_t)
        return (x_t - sigma * output) / alpha

    def x_0_error_factor(self, log_snr: Tensor) -> Tensor:
        """Return sigma_t^2 / alpha_t^2."""
        return (-log_snr).exp()


PREDICTIONS: dict[str, Prediction] = {
    "x_0": X0Prediction(),
    "v": VPrediction(),
    "noise": NoisePrediction(),
}
