"""Noise schedules: how much of the clean label map is left at time t.

A schedule gives log SNR = ln(alpha_t^2 / sigma_t^2) as a function of t in [0, 1], 0 clean and 1
noise. The process is variance preserving, alpha_t^2 + sigma_t^2 = 1, so log SNR says everything
(Kingma et al. 2021, arXiv:2107.00630, Sec. 3). gamma below is alpha_t^2.

Most are infinite at both ends; `process.ScaledSchedule` limits them all alike. Formulas work on
each element of a float64 tensor, and import no torch (see `tensor`).
"""

import math
from collections.abc import Callable
from typing import Protocol, final, runtime_checkable

from diffunet.diffusion.tensor import Tensor

_LINEAR_OFFSET = 1e-4  # of the "linear" schedule, Kingma et al. 2021
_LINEAR_SCALE = 10.0
_COSINE_OFFSET = 0.008  # s of Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17
_LARGEST_BETA = 0.999  # the same paper, Sec. 3.2


@runtime_checkable
class Schedule(Protocol):
    """log SNR as a strictly falling function of time."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Return ln(alpha_t^2 / sigma_t^2)."""
        ...

    def slope(self, t: Tensor) -> Tensor:
        """Return d log_snr / dt, negative."""
        ...


@final
class CosineSchedule:
    """gamma = cos^2(pi t / 2); log SNR is infinite at both ends (P1's default)."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Return -2 ln tan(pi t / 2)."""
        return -2 * (math.pi / 2 * t).tan().log()

    def slope(self, t: Tensor) -> Tensor:
        """Return -2 pi / sin(pi t)."""
        return -2 * math.pi / (math.pi * t).sin()


@final
class LinearSchedule:
    """gamma = exp(-(1e-4 + 10 t^2)): DDPM's linear betas in continuous time (Kingma et al.)."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Return -ln(exp(1e-4 + 10 t^2) - 1)."""
        return -(_LINEAR_OFFSET + _LINEAR_SCALE * t.square()).expm1().log()

    def slope(self, t: Tensor) -> Tensor:
        """Return -20 t / (1 - exp(-(1e-4 + 10 t^2))); 0 at t = 0."""
        exponent = _LINEAR_OFFSET + _LINEAR_SCALE * t.square()
        return 2 * _LINEAR_SCALE * t / (-exponent).expm1()


@final
class LinearGammaSchedule:
    """gamma = 1 - t (P1's "linear_simple"); log SNR is infinite at both ends."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Return ln((1 - t) / t)."""
        return (-t).log1p() - t.log()

    def slope(self, t: Tensor) -> Tensor:
        """Return -1 / (t (1 - t))."""
        return -1 / (t * (1 - t))


@final
class ParabolaSchedule:
    """gamma = (1 - t^2)^2; log SNR is infinite at both ends."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Return ln((1 - t^2)^2 / (t^2 (2 - t^2)))."""
        remaining = (-t).log1p() + t.log1p()
        return 2 * remaining - 2 * t.log() - (2 - t.square()).log()

    def slope(self, t: Tensor) -> Tensor:
        """Return -4 / (t (1 - t^2) (2 - t^2))."""
        return -4 / (t * (1 - t) * (1 + t) * (2 - t.square()))


@final
class FlowMatchingSchedule:
    """alpha_t : sigma_t = (1 - t) : t; log SNR is infinite at both ends.

    The straight path x_t = (1 - t) x_0 + t noise of flow matching (Lipman et al. 2023,
    arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003), divided by sqrt((1 - t)^2 + t^2) to
    preserve variance. A DDIM step along it is the Euler step of its flow dx/dt = noise - x_0.
    """

    def log_snr(self, t: Tensor) -> Tensor:
        """Return 2 ln((1 - t) / t)."""
        return 2 * ((-t).log1p() - t.log())

    def slope(self, t: Tensor) -> Tensor:
        """Return -2 / (t (1 - t))."""
        return -2 / (t * (1 - t))


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "cosine": CosineSchedule,
    "linear": LinearSchedule,
    "linear_gamma": LinearGammaSchedule,
    "parabola": ParabolaSchedule,
    "flow_matching": FlowMatchingSchedule,
}


def linear_betas(num_timesteps: int) -> Tensor:
    """Return betas from 1e-4 to 0.02, both times 1000 / num_timesteps.

    Ho et al. 2020, arXiv:2006.11239, Sec. 4; the factor is guided_diffusion's.
    """
    import torch

    scale = 1000 / num_timesteps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=torch.float64)


def cosine_betas(num_timesteps: int) -> Tensor:
    """Return the betas of Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17."""
    import torch

    t = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    gamma = torch.cos((t + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2).square()
    return (1 - gamma[1:] / gamma[:-1]).clamp(max=_LARGEST_BETA)


DDPM_GRIDS: dict[str, Callable[[int], Tensor]] = {
    "ddpm_linear": linear_betas,
    "ddpm_cosine": cosine_betas,
}
"""DDPM's betas at each timestep, by their number; for the diffusion of images only."""


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha_t = sqrt(sigmoid(log_snr)) and sigma_t = sqrt(sigmoid(-log_snr)).

    Kingma et al. 2021, arXiv:2107.00630, Sec. 3. The only place that derives the two.
    """
    return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
