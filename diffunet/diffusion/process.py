"""The noise process: a schedule within its limits, and the images that it makes noisy.

Coefficients are float64 and are cast where they meet the image.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from diffunet.diffusion.predictions import coefficients
from diffunet.diffusion.schedules import DDPM_GRIDS, Schedule

# t is kept this far from 0 and 1 where a slope is a product of a zero and an infinity.
_END_MARGIN = 1e-12
_NUM_BISECTIONS = 64  # halvings of [0, 1]: below the resolution of float64


def add_noise(
    x_0: Float[Tensor, "batch channel *spatial"],
    noise: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return x_t = alpha_t x_0 + sigma_t noise."""
    alpha, sigma = coefficients(log_snr, like=x_0)
    return alpha * x_0 + sigma * noise


@dataclass(frozen=True)
class ScaledSchedule:
    """A harder (or easier) version of `base` whose log SNR ends at +-`log_snr_limit`.

    First the input scale b: SNR_b = b^2 SNR, that is log SNR + 2 ln b (Chen 2023,
    arXiv:2301.10972; P1 uses 0.1). Then P1's limit: gamma_b is mapped affinely so that it ends at
    sigmoid(+-log_snr_limit). Far from the ends, the second step changes almost nothing.

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

    Timestep i is t = i / (num_timesteps - 1). The least noise of the grid is at t = 0. The last
    sampling step leaves the grid: it returns x_0_hat. Between timesteps log SNR is linear in t.

    Args:
        grid: a name of `DDPM_GRIDS`.
        num_timesteps: at least 2; more than 20 for "ddpm_linear", whose betas would exceed 1.

    Attributes:
        alphas_cumprod: alpha_t^2 at every timestep, float64, falling.
    """

    def __init__(self, grid: str, num_timesteps: int):
        if grid not in DDPM_GRIDS:
            raise ValueError(f"grid should be one of {sorted(DDPM_GRIDS)}, got '{grid}'")
        if num_timesteps < 2:
            raise ValueError(f"num_timesteps should be at least 2, got {num_timesteps}")
        self.betas = DDPM_GRIDS[grid](num_timesteps)
        if not bool((self.betas < 1).all()):
            raise ValueError(
                f"num_timesteps should be more than 20 for '{grid}', got {num_timesteps}"
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
