import pytest
import torch

from diffunet.diffusion.process import DiscreteSchedule, ScaledSchedule
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.errors import PlansError
from diffunet.plans import TrajectoryPlan
from diffunet.wsss.saliency.noise_levels import levels_at_log_snr
from diffunet.wsss.saliency.trajectories import trajectory_levels
from tests.wsss.closed_form import ALL_SCHEDULES

LIMITED = ScaledSchedule(CosineSchedule(), 0.3, 15.0)
GRID = DiscreteSchedule("ddpm_linear", 1000)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES.keys())
def test_levels_are_where_the_schedule_has_their_log_snr(schedule):
    wanted = torch.tensor([-3.0, 0.2, 5.0], dtype=torch.float64)
    levels = levels_at_log_snr(schedule, wanted)
    assert [level.log_snr for level in levels] == wanted.tolist()
    times = torch.tensor([level.t for level in levels], dtype=torch.float64)
    torch.testing.assert_close(schedule.log_snr(times), wanted, rtol=0, atol=1e-9)


def test_the_ends_of_a_schedule_are_levels_too():
    ends = LIMITED.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert [round(level.t, 9) for level in levels_at_log_snr(LIMITED, ends)] == [1, 0]


@pytest.mark.parametrize(
    "plan, message",
    [
        (
            {"log_snr": -15.1},
            "log SNR -15.1 to -14.6, but the model's noise schedule has -15 to 15",
        ),
        ({"log_snr": 14.6}, "log SNR 14.6 to 15.1, but the model's noise schedule has -15 to 15"),
        (
            {"timestep": 400},
            "timestep: 400 was given, but the model's noise schedule is continuous",
        ),
    ],
)
def test_levels_off_a_continuous_schedule_are_refused(plan, message):
    with pytest.raises(PlansError, match=message):
        trajectory_levels(TrajectoryPlan(**plan), schedule=LIMITED)


@pytest.mark.parametrize(
    "plan, message",
    [
        ({"timestep": 1000}, "from 1000 to 990, but the model's noise schedule has .* 0 to 999"),
        (
            {"log_snr": 9.0},
            "log SNR 9 to 9.5, but the model's noise schedule has -10.1177 to 9.21024",
        ),
    ],
)
def test_levels_off_a_grid_are_refused(plan, message):
    with pytest.raises(PlansError, match=message):
        trajectory_levels(TrajectoryPlan(**plan), schedule=GRID)
