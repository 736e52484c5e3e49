"""From noise to a segmentation: single steps, and the samplers that loop over them.

Every step goes from time t to a cleaner time s with x_0_hat in hand, and is written in x_t and
x_0_hat alone: the noise that goes with a clipped x_0_hat is thereby the recomputed one.

Memory: a sampler works on whole volumes on any device. Beyond what `predict_x_0` itself needs it
holds x_t, which it updates in place, and x_0_hat with either its unclipped version or one noise
volume: three volumes, and in `dpm_solver_2m_sampler` the x_0_hat of the step before. x_T, which is
never written to, is a further one during the first step; after it no reference to x_T is kept.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.diffusion.schedules import Schedule, alpha_sigma, time_of_log_snr

Variance = Literal["large", "small"]
PredictX0 = Callable[[Tensor, float], Tensor]
NoiseSource = Callable[[int], Tensor]


def ddpm_step(
    x_t: Float[Tensor, "*shape"],
    x_0: Float[Tensor, "*shape"],
    *,
    log_snr_t: float,
    log_snr_s: float,
    noise: Float[Tensor, "*shape"],
    variance: Variance,
    out: Tensor | None = None,
) -> Float[Tensor, "*shape"]:
    """Return x_s drawn from q(x_s | x_t, x_0), Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7.

    With r = SNR_t / SNR_s: mean r alpha_s / alpha_t x_t + (1 - r) alpha_s x_0.

    Args:
        log_snr_s: of the cleaner time, at least `log_snr_t`.
        noise: standard normal.
        variance: "small": (1 - r) sigma_s^2, the posterior's; "large": (1 - r) sigma_t^2, P1's.
        out: where to write; may be x_t.

    Raises:
        ValueError: s is noisier than t.
    """
    if log_snr_s < log_snr_t:
        raise ValueError(
            f"log_snr_s should be at least log_snr_t = {log_snr_t}, got {log_snr_s}; "
            "an ancestral step goes from noise to data"
        )
    alpha_t, sigma_t = _alpha_sigma(log_snr_t)
    alpha_s, sigma_s = _alpha_sigma(log_snr_s)
    ratio = math.exp(log_snr_t - log_snr_s)
    fresh = -math.expm1(log_snr_t - log_snr_s)
    deviation = math.sqrt(fresh) * {"large": sigma_t, "small": sigma_s}[variance]
    x_s = torch.mul(x_t, ratio * alpha_s / alpha_t, out=out)
    return x_s.add_(x_0, alpha=fresh * alpha_s).add_(noise, alpha=deviation)


def ddim_step(
    x_t: Float[Tensor, "*shape"],
    x_0: Float[Tensor, "*shape"],
    *,
    log_snr_t: float,
    log_snr_s: float,
    out: Tensor | None = None,
) -> Float[Tensor, "*shape"]:
    """Return x_s = alpha_s x_0 + sigma_s noise, with the noise that x_t and x_0 imply.

    Song et al. 2021, arXiv:2010.02502, eq. 12 with eta = 0. Goes either way: to a noisier
    time it is DDIM's encoding.

    Args:
        out: where to write; may be x_t.
    """
    alpha_t, sigma_t = _alpha_sigma(log_snr_t)
    alpha_s, sigma_s = _alpha_sigma(log_snr_s)
    x_s = torch.mul(x_t, sigma_s / sigma_t, out=out)
    return x_s.add_(x_0, alpha=alpha_s - alpha_t * sigma_s / sigma_t)


def dpm_solver_2m_step(
    x_t: Float[Tensor, "*shape"],
    x_0: Float[Tensor, "*shape"],
    x_0_before: Float[Tensor, "*shape"],
    *,
    log_snr_before: float,
    log_snr_t: float,
    log_snr_s: float,
    out: Tensor | None = None,
) -> Float[Tensor, "*shape"]:
    """Return x_s of DPM-Solver++ (2M), Lu et al. 2022, arXiv:2211.01095, algorithm 2.

    The multistep method with x_0_hat extrapolated from its last two values. The first step of a
    trajectory, which has no `x_0_before`, is `ddim_step`.

    Args:
        x_0: x_0_hat at t.
        x_0_before: x_0_hat at the noisier time of the step before.
        out: where to write; may be x_t.
    """
    _, sigma_t = _alpha_sigma(log_snr_t)
    alpha_s, sigma_s = _alpha_sigma(log_snr_s)
    width = (log_snr_s - log_snr_t) / 2  # the paper's lambda is half a log SNR
    width_before = (log_snr_t - log_snr_before) / 2
    extrapolation = width / (2 * width_before)
    weight = -alpha_s * math.expm1(-width)
    x_s = torch.mul(x_t, sigma_s / sigma_t, out=out)
    x_s.add_(x_0, alpha=weight * (1 + extrapolation))
    return x_s.add_(x_0_before, alpha=-weight * extrapolation)


def sampling_times(
    num_steps: int, spacing: Literal["t", "log_snr"], schedule: Schedule
) -> tuple[float, ...]:
    """Return `num_steps` + 1 falling times from 1 to 0.

    The network is evaluated at all but the last; the last step returns x_0_hat itself.

    Args:
        spacing: "t": evenly in t. "log_snr": evenly in the log SNR of `schedule`, from t =
            1 - 1 / (2 num_steps) to 1 / (2 num_steps), whose two ends are then moved to 1 and 0: a
            limited schedule passes nearly all of its log SNR, where nothing is decided, in those
            first and last halves of a step.

    Raises:
        ValueError: no step, or an unknown spacing.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps should be at least 1, got {num_steps}")
    times = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    if spacing == "log_snr":
        ends = torch.tensor([0.5, num_steps - 0.5], dtype=torch.float64) / num_steps
        cleanest, noisiest = schedule.log_snr(ends)
        times[1:-1] = time_of_log_snr(schedule, torch.lerp(cleanest, noisiest, times[1:-1]))
    elif spacing != "t":
        raise ValueError(f"spacing should be 't' or 'log_snr', got '{spacing}'")
    return tuple(float(t) for t in times)


class Sampler(Protocol):
    """The one signature of all samplers."""

    def __call__(
        self,
        predict_x_0: PredictX0,
        x_T: Tensor,
        *,
        times: Sequence[float],
        schedule: Schedule,
        noise_source: NoiseSource,
        variance: Variance,
    ) -> Tensor:
        """Return x_0_hat of the last step, clipped to [-1, 1].

        Args:
            predict_x_0: (x_t, t) to x_0_hat; t is a float. x_t is only valid during the call: it is
                updated in place afterwards. Called without gradients.
            x_T: standard normal, of any shape.
            times: falling, in [0, 1]; see `sampling_times`. Nothing is evaluated at the last one.
            noise_source: standard normal noise, shaped as x_T, of the step from times[i] to
                times[i + 1]. Called once for each step but the last, in order, by ancestral
                samplers, and never by deterministic ones.
            variance: of ancestral steps; deterministic samplers have none.
        """
        ...


def ddpm_sampler(
    predict_x_0: PredictX0,
    x_T: Float[Tensor, "*shape"],
    *,
    times: Sequence[float],
    schedule: Schedule,
    noise_source: NoiseSource,
    variance: Variance,
) -> Float[Tensor, "*shape"]:
    """Draw by ancestral sampling; see `Sampler` for the arguments and `ddpm_step`."""
    with torch.no_grad():
        x_t, owned = x_T, None
        del x_T
        for index, (log_snr_t, log_snr_s) in enumerate(_steps(times, schedule)):
            x_0 = predict_x_0(x_t, times[index]).clamp(-1, 1)
            x_t = owned = ddpm_step(
                x_t,
                x_0,
                log_snr_t=log_snr_t,
                log_snr_s=log_snr_s,
                noise=noise_source(index),
                variance=variance,
                out=owned,
            )
            del x_0
        return predict_x_0(x_t, times[-2]).clamp(-1, 1)


def ddim_sampler(
    predict_x_0: PredictX0,
    x_T: Float[Tensor, "*shape"],
    *,
    times: Sequence[float],
    schedule: Schedule,
    noise_source: NoiseSource,
    variance: Variance,
) -> Float[Tensor, "*shape"]:
    """Draw deterministically from x_T; see `Sampler` for the arguments and `ddim_step`."""
    with torch.no_grad():
        x_t, owned = x_T, None
        del x_T
        for index, (log_snr_t, log_snr_s) in enumerate(_steps(times, schedule)):
            x_0 = predict_x_0(x_t, times[index]).clamp(-1, 1)
            x_t = owned = ddim_step(x_t, x_0, log_snr_t=log_snr_t, log_snr_s=log_snr_s, out=owned)
            del x_0
        return predict_x_0(x_t, times[-2]).clamp(-1, 1)


def dpm_solver_2m_sampler(
    predict_x_0: PredictX0,
    x_T: Float[Tensor, "*shape"],
    *,
    times: Sequence[float],
    schedule: Schedule,
    noise_source: NoiseSource,
    variance: Variance,
) -> Float[Tensor, "*shape"]:
    """Draw deterministically by DPM-Solver++ (2M); see `Sampler` and `dpm_solver_2m_step`."""
    with torch.no_grad():
        x_t, owned, x_0_before, log_snr_before = x_T, None, None, math.nan
        del x_T
        for index, (log_snr_t, log_snr_s) in enumerate(_steps(times, schedule)):
            x_0 = predict_x_0(x_t, times[index]).clamp(-1, 1)
            if x_0_before is None:
                x_t = ddim_step(x_t, x_0, log_snr_t=log_snr_t, log_snr_s=log_snr_s, out=owned)
            else:
                x_t = dpm_solver_2m_step(
                    x_t,
                    x_0,
                    x_0_before,
                    log_snr_before=log_snr_before,
                    log_snr_t=log_snr_t,
                    log_snr_s=log_snr_s,
                    out=owned,
                )
            owned, x_0_before, log_snr_before = x_t, x_0, log_snr_t
            del x_0
        del x_0_before
        return predict_x_0(x_t, times[-2]).clamp(-1, 1)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm_sampler,
    "ddim": ddim_sampler,
    "dpm_solver_2m": dpm_solver_2m_sampler,
}


def _steps(times: Sequence[float], schedule: Schedule) -> Iterator[tuple[float, float]]:
    """Return log SNR before and after every step but the last, which has no after."""
    is_falling = all(late > early for late, early in itertools.pairwise(times))
    if len(times) < 2 or not is_falling or times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times should be two or more, falling from at most 1 to 0, got {times}")
    log_snr = [
        float(value) for value in schedule.log_snr(torch.tensor(times[:-1], dtype=torch.float64))
    ]
    if not all(map(math.isfinite, log_snr)):
        raise ValueError(
            f"log SNR should be finite at the times of evaluation, got {log_snr}; "
            "limit the schedule with ScaledSchedule"
        )
    return itertools.pairwise(log_snr)


def _alpha_sigma(log_snr: float) -> tuple[float, float]:
    alpha, sigma = alpha_sigma(torch.tensor(log_snr, dtype=torch.float64))
    return float(alpha), float(sigma)
