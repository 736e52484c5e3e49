"""Noise schedules: how much of the clean label map is left at time t.

A schedule gives log SNR = ln(alpha_t^2 / sigma_t^2) as a function of t in [0, 1], 0 clean and 1
noise. The process is variance preserving, alpha_t^2 + sigma_t^2 = 1, so log SNR says everything
(Kingma et al. 2021, arXiv:2107.00630, Sec. 3). gamma below is alpha_t^2.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int
from torch import Tensor

# t is kept this far from 0 and 1 where a slope is a product of a zero and an infinity.
_END_MARGIN = 1e-12
_LINEAR_OFFSET = 1e-4  # of the "linear" schedule, Kingma et al. 2021
_LINEAR_SCALE = 10.0
_COSINE_OFFSET = 0.008  # s of Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17
_LARGEST_BETA = 0.999  # the same paper, Sec. 3.2
_NUM_BISECTIONS = 64  # halvings of [0, 1]: below the resolution of float64


@runtime_checkable
class Schedule(Protocol):
    """log SNR as a strictly falling function of time."""

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return ln(alpha_t^2 / sigma_t^2)."""
        ...

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return d log_snr / dt, negative."""
        ...


@dataclass(frozen=True)
class CosineSchedule:
    """gamma = cos^2(pi t / 2); log SNR is infinite at both ends (P1's default)."""

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return -2 ln tan(pi t / 2)."""
        return -2 * torch.log(torch.tan(math.pi / 2 * t))

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return -2 pi / sin(pi t)."""
        return -2 * math.pi / torch.sin(math.pi * t)


@dataclass(frozen=True)
class LinearSchedule:
    """gamma = exp(-(1e-4 + 10 t^2)): DDPM's linear betas in continuous time (Kingma et al.)."""

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return -ln(exp(1e-4 + 10 t^2) - 1)."""
        return -torch.log(torch.expm1(_LINEAR_OFFSET + _LINEAR_SCALE * t.square()))

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return -20 t / (1 - exp(-(1e-4 + 10 t^2))); 0 at t = 0."""
        exponent = _LINEAR_OFFSET + _LINEAR_SCALE * t.square()
        return 2 * _LINEAR_SCALE * t / torch.expm1(-exponent)


@dataclass(frozen=True)
class LinearGammaSchedule:
    """gamma = 1 - t (P1's "linear_simple"); log SNR is infinite at both ends."""

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return ln((1 - t) / t)."""
        return torch.log1p(-t) - torch.log(t)

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return -1 / (t (1 - t))."""
        return -1 / (t * (1 - t))


@dataclass(frozen=True)
class ParabolaSchedule:
    """gamma = (1 - t^2)^2; log SNR is infinite at both ends."""

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return ln((1 - t^2)^2 / (t^2 (2 - t^2)))."""
        remaining = torch.log1p(-t) + torch.log1p(t)
        return 2 * remaining - 2 * torch.log(t) - torch.log(2 - t.square())

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return -4 / (t (1 - t^2) (2 - t^2))."""
        return -4 / (t * (1 - t) * (1 + t) * (2 - t.square()))


SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": CosineSchedule,
    "linear": LinearSchedule,
    "linear_gamma": LinearGammaSchedule,
    "parabola": ParabolaSchedule,
}


@dataclass(frozen=True)
class ScaledSchedule:
    """A harder (or easier) version of `base` whose log SNR ends at +-`log_snr_limit`.

    First the input scale b: SNR_b = b^2 SNR, that is log SNR + 2 ln b (Chen 2023,
    arXiv:2301.10972; P1 uses 0.1). Then P1's limit: gamma_b is mapped affinely so that it ends at
    sigmoid(+-log_snr_limit). In the middle the second step changes next to nothing.

    Attributes:
        base: unlimited schedule; its log SNR may be infinite at the ends.
        input_scale: b > 0; 1 leaves the base alone.
        log_snr_limit: positive; P1's is 20.
    """

    base: Schedule
    input_scale: float
    log_snr_limit: float

    def __post_init__(self) -> None:
        if not self.input_scale > 0:
            raise ValueError(f"input_scale should be positive, got {self.input_scale}")
        if not self.log_snr_limit > 0:
            raise ValueError(f"log_snr_limit should be positive, got {self.log_snr_limit}")

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return log SNR after input scale and limit."""
        gamma, complement = self._limited_gamma(self._shifted(t))
        return torch.log(gamma) - torch.log(complement)

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return d log_snr / dt = (d gamma / dt) / (gamma (1 - gamma))."""
        t = t.clamp(_END_MARGIN, 1 - _END_MARGIN)
        shifted = self._shifted(t)
        gamma, complement = self._limited_gamma(shifted)
        gamma_slope = torch.sigmoid(shifted) * torch.sigmoid(-shifted) * self.base.slope(t)
        return self._stretch() * gamma_slope / (gamma * complement)

    def _shifted(self, t: Tensor) -> Tensor:
        return self.base.log_snr(t) + 2 * math.log(self.input_scale)

    def _ends(self) -> tuple[Tensor, Tensor]:
        start, end = self._shifted(torch.tensor([0.0, 1.0], dtype=torch.float64))
        return start, end

    def _stretch(self) -> float:
        start, end = self._ends()
        wanted = math.tanh(self.log_snr_limit / 2)  # sigmoid(limit) - sigmoid(-limit)
        return wanted / float(torch.sigmoid(start) - torch.sigmoid(end))

    def _limited_gamma(self, shifted: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma and 1 - gamma, each as a sum of small positive terms: nothing cancels."""
        start, end = self._ends()
        stretch = self._stretch()
        floor = float(torch.sigmoid(torch.tensor(-self.log_snr_limit, dtype=torch.float64)))
        gamma = floor + stretch * (torch.sigmoid(shifted) - float(torch.sigmoid(end)))
        complement = floor + stretch * (torch.sigmoid(-shifted) - float(torch.sigmoid(-start)))
        return gamma, complement


class DiscreteSchedule:
    """DDPM's grid of `num_timesteps` noise levels, and log SNR interpolated between them.

    Timestep i is t = i / (num_timesteps - 1): the least noise of the grid is at t = 0, and the last
    sampling step, which returns x_0_hat, leaves the grid. Between timesteps log SNR is linear in t.

    Args:
        betas: "linear": from 1e-4 to 0.02, both times 1000 / num_timesteps (Ho et al. 2020,
            arXiv:2006.11239, Sec. 4; the factor is guided_diffusion's); "cosine": Nichol & Dhariwal
            2021, arXiv:2102.09672, eq. 17.
        num_timesteps: at least 2; more than 20 for "linear", whose betas would exceed 1.

    Attributes:
        alphas_cumprod: alpha_t^2 at every timestep, float64, falling.
    """

    def __init__(self, betas: str, num_timesteps: int):
        if betas not in DISCRETE_BETAS:
            raise ValueError(f"betas should be one of {sorted(DISCRETE_BETAS)}, got '{betas}'")
        if num_timesteps < 2:
            raise ValueError(f"num_timesteps should be at least 2, got {num_timesteps}")
        self.betas = DISCRETE_BETAS[betas](num_timesteps)
        if not bool((self.betas < 1).all()):
            raise ValueError(
                f"num_timesteps should be more than 20 for betas '{betas}', got {num_timesteps}"
            )
        self.num_timesteps = num_timesteps
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        self._log_snr = torch.log(self.alphas_cumprod) - torch.log1p(-self.alphas_cumprod)

    def time(self, timestep: int) -> float:
        """Return t of a timestep in 0 ... num_timesteps - 1.

        Raises:
            ValueError: there is no such timestep.
        """
        if not 0 <= timestep < self.num_timesteps:
            raise ValueError(
                f"timestep should be in 0 ... {self.num_timesteps - 1}, got {timestep}"
            )
        return timestep / (self.num_timesteps - 1)

    def log_snr_at(self, timestep: Int[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return log SNR of timesteps in 0 ... num_timesteps - 1."""
        return self._log_snr.to(timestep.device)[timestep]

    def log_snr(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return log SNR, linear between timesteps."""
        left, share = self._segment(t)
        return torch.lerp(self.log_snr_at(left), self.log_snr_at(left + 1), share)

    def slope(self, t: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return d log_snr / dt of the segment that begins at or before t."""
        left, _ = self._segment(t)
        return (self.log_snr_at(left + 1) - self.log_snr_at(left)) * (self.num_timesteps - 1)

    def _segment(self, t: Tensor) -> tuple[Tensor, Tensor]:
        position = t * (self.num_timesteps - 1)
        left = position.floor().clamp(0, self.num_timesteps - 2)
        return left.long(), position - left


def _linear_betas(num_timesteps: int) -> Tensor:
    scale = 1000 / num_timesteps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_timesteps, dtype=torch.float64)


def _cosine_betas(num_timesteps: int) -> Tensor:
    t = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    gamma = torch.cos((t + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2).square()
    return (1 - gamma[1:] / gamma[:-1]).clamp(max=_LARGEST_BETA)


DISCRETE_BETAS = {"linear": _linear_betas, "cosine": _cosine_betas}


def alpha_sigma(
    log_snr: Float64[Tensor, "*shape"],
) -> tuple[Float64[Tensor, "*shape"], Float64[Tensor, "*shape"]]:
    """Return alpha_t = sqrt(sigmoid(log_snr)) and sigma_t = sqrt(sigmoid(-log_snr)).

    Kingma et al. 2021, arXiv:2107.00630, Sec. 3. The only place that derives the two.
    """
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def time_of_log_snr(
    schedule: Schedule, log_snr: Float64[Tensor, "*shape"]
) -> Float64[Tensor, "*shape"]:
    """Return t in [0, 1] at which `schedule` has `log_snr`, to the resolution of float64.

    A log SNR outside the schedule's range gives the nearer end.
    """
    low = torch.zeros_like(log_snr)
    high = torch.ones_like(log_snr)
    for _ in range(_NUM_BISECTIONS):
        middle = (low + high) / 2
        is_cleaner = schedule.log_snr(middle) > log_snr
        low = torch.where(is_cleaner, middle, low)
        high = torch.where(is_cleaner, high, middle)
    return (low + high) / 2
