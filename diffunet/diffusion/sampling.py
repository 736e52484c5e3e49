"""From noise to a segmentation: the one loop that takes the steps of every sampler.

Memory: a draw works on whole volumes on any device. Beyond what `predict_x_0` itself needs it
holds x_t, which is changed in place, each earlier x_0_hat that the next step uses, and one volume
more: the new x_0_hat, and after the step fresh noise. Where predictions are not given away, they
are clipped into a further volume.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.diffusion.process import time_of_log_snr
from diffunet.diffusion.samplers import Level, Sampler, Step, Variance, ddim
from diffunet.diffusion.schedules import Schedule, alpha_sigma

Spacing = Literal["t", "log_snr"]
PredictX0 = Callable[[Tensor, float], Tensor]
NoiseSource = Callable[[int], Tensor]


def sampling_times(num_steps: int, spacing: Spacing, schedule: Schedule) -> tuple[float, ...]:
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


def sampling_steps(
    sampler: Sampler, times: Sequence[float], *, schedule: Schedule, variance: Variance
) -> list[Step]:
    """Return the steps between all times but the last, at which nothing is evaluated.

    Args:
        times: falling, in [0, 1]; see `sampling_times`.
        variance: see `Sampler`.

    Raises:
        ValueError: the times do not fall, or log SNR is infinite at one of them.
    """
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
    levels = [level_of(value) for value in log_snr]
    return [sampler(levels[:end], variance=variance) for end in range(2, len(levels) + 1)]


def num_volumes(steps: Sequence[Step]) -> int:
    """Return how many volumes of x_t's size `draw` holds at most; see above."""
    return 1 + max((len(step.of_x_0) for step in steps), default=1)


def level_of(log_snr: float) -> Level:
    """Return the noise level of a log SNR."""
    alpha, sigma = alpha_sigma(torch.tensor(log_snr, dtype=torch.float64))
    return Level(log_snr, float(alpha), float(sigma))


def draw(
    predict_x_0: PredictX0,
    x_T: Float[Tensor, "*shape"],
    *,
    times: Sequence[float],
    steps: Sequence[Step],
    noise_source: NoiseSource,
    takes_predictions: bool = False,
) -> Float[Tensor, "*shape"]:
    """Return x_0_hat of the last time but one, clipped to [-1, 1].

    Args:
        predict_x_0: (x_t, t) to x_0_hat; t is a float. x_t is only valid during the call: it is
            updated in place afterwards. Called without gradients.
        x_T: standard normal, of any shape; given away: it becomes x_t.
        times: as for `steps`.
        steps: of `sampling_steps`.
        noise_source: standard normal noise, shaped as x_T, of the step from times[i] to
            times[i + 1]. Called once for each step but the last, in order, by ancestral samplers,
            and never by deterministic ones.
        takes_predictions: x_0_hats are given away, and clipped in place.
    """
    clip = torch.clamp_ if takes_predictions else torch.clamp
    with torch.no_grad():
        x_t = x_T
        x_0_hats: list[Tensor] = []  # the latest first
        for index, step in enumerate(steps):
            x_0_hats.insert(0, clip(predict_x_0(x_t, times[index]), -1, 1))
            take_step(step, x_t, x_0_hats, out=x_t)
            num_kept = len(steps[index + 1].of_x_0) - 1 if index + 1 < len(steps) else 0
            del x_0_hats[num_kept:]  # before the noise needs the memory
            if step.of_noise:
                x_t.add_(noise_source(index), alpha=step.of_noise)
        return clip(predict_x_0(x_t, times[-2]), -1, 1)


def take_step(
    step: Step,
    x_t: Float[Tensor, "*shape"],
    x_0_hats: Sequence[Float[Tensor, "*shape"]],
    *,
    out: Tensor | None = None,
) -> Float[Tensor, "*shape"]:
    """Return x_s without its fresh noise.

    Args:
        x_0_hats: as many as `step` uses, that at t first.
        out: where to write; may be x_t.
    """
    x_s = torch.mul(x_t, step.of_x_t, out=out)
    for x_0_hat, share in zip(x_0_hats, step.of_x_0, strict=True):
        x_s.add_(x_0_hat, alpha=share)
    return x_s


def ddim_step(
    x_t: Float[Tensor, "*shape"],
    x_0: Float[Tensor, "*shape"],
    *,
    log_snr_t: float,
    log_snr_s: float,
    out: Tensor | None = None,
) -> Float[Tensor, "*shape"]:
    """Return x_s of one step of `ddim` between two log SNRs, in either direction.

    Args:
        out: where to write; may be x_t.
    """
    return take_step(ddim([level_of(log_snr_t), level_of(log_snr_s)]), x_t, [x_0], out=out)
