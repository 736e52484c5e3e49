"""The noise levels that deterministic trajectories pass, checked against the model's schedule."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from diffunet.diffusion.process import DiscreteSchedule, time_of_log_snr
from diffunet.diffusion.schedules import DDPM_GRIDS, Schedule
from diffunet.errors import PlansError


@dataclass(frozen=True)
class NoiseLevel:
    """One noise level, as the networks are told it and as the steps use it.

    Attributes:
        t: in [0, 1].
        log_snr: of the schedule at t.
    """

    t: float
    log_snr: float


def levels_at_log_snr(
    schedule: Schedule, log_snr: Float64[Tensor, " level"]
) -> tuple[NoiseLevel, ...]:
    """Return the levels at which `schedule` has the values of `log_snr`.

    Raises:
        PlansError: one of them is outside of the schedule's range.
    """
    cleanest, noisiest = log_snr_range(schedule)
    lowest, highest = float(log_snr.min()), float(log_snr.max())
    if lowest < noisiest or highest > cleanest:
        raise PlansError(
            f"log_snr: the noise levels go from log SNR {lowest:g} to {highest:g}, but the model's "
            f"noise schedule has {noisiest:g} to {cleanest:g}; choose log_snr and the steps within "
            "that range"
        )
    times = time_of_log_snr(schedule, log_snr)
    return tuple(map(NoiseLevel, times.tolist(), log_snr.tolist()))


def levels_at_timesteps(schedule: Schedule, timesteps: Sequence[int]) -> tuple[NoiseLevel, ...]:
    """Return the levels of timesteps on the grid of a `DiscreteSchedule`.

    Raises:
        PlansError: the schedule has no timesteps, or not as many.
    """
    if not isinstance(schedule, DiscreteSchedule):
        raise PlansError(
            f"timestep: {timesteps[0]} was given, but the model's noise schedule is continuous; "
            "give the noise level as log_snr, or train with the schedule "
            f"{' or '.join(map(repr, DDPM_GRIDS))}"
        )
    if not all(0 <= timestep < schedule.num_timesteps for timestep in timesteps):
        raise PlansError(
            f"timestep: the trajectory goes from {timesteps[0]} to {timesteps[-1]}, but the "
            f"model's noise schedule has the timesteps 0 to {schedule.num_timesteps - 1}"
        )
    log_snr = schedule.log_snr_at(torch.tensor(list(timesteps)))
    return tuple(map(NoiseLevel, map(schedule.time, timesteps), log_snr.tolist()))


def log_snr_range(schedule: Schedule) -> tuple[float, float]:
    """Return log SNR at t = 0 and at t = 1, the largest and the smallest."""
    cleanest, noisiest = schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return cleanest, noisiest
