import math

import pytest
import torch

from diffunet.diffusion.schedules import CosineSchedule, ScaledSchedule
from diffunet.diffusion.weighting import WEIGHTINGS, UniformWeighting, output_weight

SCHEDULE = ScaledSchedule(CosineSchedule(), 0.1, 20.0)
TIMES = torch.tensor([0.0, 0.1, 0.4, 0.8, 1.0], dtype=torch.float64)


def make(name):
    return WEIGHTINGS[name](bias=-4.0) if name == "sigmoid" else WEIGHTINGS[name]()


def test_weights_at_snr_four_and_a_quarter():
    log_snr = torch.tensor([4.0, 0.25], dtype=torch.float64).log()
    bias = math.exp(-4)
    expected = {
        "snr": [4.0, 0.25],
        "snr_plus_one": [5.0, 1.25],
        "snr_truncated": [4.0, 1.0],
        "uniform": [1.0, 1.0],
        "sigmoid": [4 / (4 + bias), 0.25 / (0.25 + bias)],
    }
    for name in WEIGHTINGS:
        assert make(name)(log_snr).tolist() == pytest.approx(expected[name])


def output_weights(prediction, name, is_decoupled=False):
    return output_weight(
        TIMES, SCHEDULE, prediction=prediction, weighting=make(name), is_decoupled=is_decoupled
    )


def test_snr_weighting_is_the_plain_noise_loss():
    torch.testing.assert_close(output_weights("noise", "snr"), torch.ones_like(TIMES))


def test_snr_plus_one_weighting_is_the_plain_v_loss():
    torch.testing.assert_close(output_weights("v", "snr_plus_one"), torch.ones_like(TIMES))


def test_uniform_weighting_is_the_plain_x_0_loss():
    torch.testing.assert_close(output_weights("x_0", "uniform"), torch.ones_like(TIMES))


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("prediction", ["x_0", "v", "noise"])
def test_weights_are_finite_and_not_negative_at_the_limits(name, prediction):
    for is_decoupled in (False, True):
        weight = output_weights(prediction, name, is_decoupled)
        assert bool(weight.isfinite().all())
        assert bool((weight >= 0).all())


def test_decoupling_multiplies_by_the_negative_slope():
    ratio = output_weights("v", "sigmoid", True) / output_weights("v", "sigmoid", False)
    torch.testing.assert_close(ratio, -SCHEDULE.slope(TIMES))


def test_decoupled_uniform_weight_integrates_to_the_range_of_log_snr():
    schedule = ScaledSchedule(CosineSchedule(), 0.1, 5.0)
    t = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    weight = output_weight(
        t, schedule, prediction="x_0", weighting=UniformWeighting(), is_decoupled=True
    )
    assert float(weight.mean()) == pytest.approx(10, rel=1e-4)
