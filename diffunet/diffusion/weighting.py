"""Weights of the denoising loss: how much ||x_0_hat - x_0||^2 counts at each log SNR.

All are in terms of the x_0 error, whatever the network predicts (P1). "snr" is the plain noise
loss, "snr_plus_one" the plain v loss (Salimans & Ho 2022, arXiv:2202.00512, Sec. 4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from diffunet.diffusion.predictions import Prediction, x_0_error_factor
from diffunet.diffusion.schedules import Schedule

Weighting = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SnrWeighting:
    """exp(log_snr)."""

    def __call__(self, log_snr: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return torch.exp(log_snr)


@dataclass(frozen=True)
class SnrPlusOneWeighting:
    """exp(log_snr) + 1."""

    def __call__(self, log_snr: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return torch.exp(log_snr) + 1


@dataclass(frozen=True)
class SnrTruncatedWeighting:
    """max(exp(log_snr), 1)."""

    def __call__(self, log_snr: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return torch.exp(log_snr).clamp(min=1)


@dataclass(frozen=True)
class UniformWeighting:
    """1 at every log SNR."""

    def __call__(self, log_snr: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return torch.ones_like(log_snr)


@dataclass(frozen=True)
class SigmoidWeighting:
    """sigmoid(log_snr - bias): 1 where little noise is left, falling as SNR below `bias`.

    exp(bias) times this is SNR times sigmoid(bias - log_snr), the sigmoid weighting of the noise
    loss (Hoogeboom et al. 2024, arXiv:2410.19324, Sec. 3).
    """

    bias: float

    def __call__(self, log_snr: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        return torch.sigmoid(log_snr - self.bias)


# "sigmoid" takes `bias`, the others take nothing.
WEIGHTINGS: dict[str, Callable[..., Weighting]] = {
    "snr": SnrWeighting,
    "snr_plus_one": SnrPlusOneWeighting,
    "snr_truncated": SnrTruncatedWeighting,
    "uniform": UniformWeighting,
    "sigmoid": SigmoidWeighting,
}


def output_weight(
    t: Float64[Tensor, " batch"],
    schedule: Schedule,
    *,
    prediction: Prediction,
    weighting: Weighting,
    is_decoupled: bool,
) -> Float64[Tensor, " batch"]:
    """Return the weight of ||output - target||^2 that equals the weighted x_0 error.

    In the output's own space nothing is divided by a small alpha_t: at log SNR -20 an x_0_hat made
    from predicted noise carries that noise's error 2e4 times over.

    Args:
        weighting: weight of the x_0 error as a function of log SNR.
        is_decoupled: also multiply by -d log_snr / dt, so that the weighted loss is an integral
            over log SNR that does not depend on the schedule (Kingma & Gao 2023,
            arXiv:2303.00848).
    """
    log_snr = schedule.log_snr(t)
    weight = weighting(log_snr) * x_0_error_factor(log_snr, prediction=prediction)
    return -schedule.slope(t) * weight if is_decoupled else weight
