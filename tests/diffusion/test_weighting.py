import math
from functools import partial

import pytest
import torch

from diffunet.diffusion.denoiser import output_weight
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.diffusion.weighting import WEIGHTINGS

SCHEDULE = ScaledSchedule(CosineSchedule(), 0.1, 20.0)
TIMES = torch.tensor([0.0, 0.1, 0.4, 0.8, 1.0], dtype=torch.float64)
BIAS = -4.0
GAMMA = math.exp(BIAS)
FORMULAS = {
    "snr": lambda snr: snr,
    "snr_plus_one": lambda snr: snr + 1,
    "snr_truncated": lambda snr: max(snr, 1),
    "uniform": lambda snr: 1,
    "sigmoid": lambda snr: snr / (snr + GAMMA),
    "min_snr": lambda snr: min(snr, GAMMA),
}


def make(name, bias=BIAS):
    return partial(WEIGHTINGS[name], bias=bias)


@pytest.mark.parametrize("name", FORMULAS)
def test_weights_are_these_functions_of_snr(name):
    snrs = [4.0, 0.25, GAMMA, 1e-3]
    found = make(name)(torch.tensor(snrs, dtype=torch.float64).log()).tolist()
    assert found == pytest.approx([FORMULAS[name](snr) for snr in snrs])


def output_weights(prediction, name, is_decoupled=False, bias=BIAS):
    return output_weight(
        TIMES,
        SCHEDULE,
        prediction=PREDICTIONS[prediction],
        weighting=make(name, bias),
        is_decoupled=is_decoupled,
    )


def test_snr_weighting_is_the_plain_noise_loss():
    torch.testing.assert_close(output_weights("noise", "snr"), torch.ones_like(TIMES))


def test_snr_plus_one_weighting_is_the_plain_v_loss():
    torch.testing.assert_close(output_weights("v", "snr_plus_one"), torch.ones_like(TIMES))


def test_uniform_weighting_is_the_plain_x_0_loss():
    torch.testing.assert_close(output_weights("x_0", "uniform"), torch.ones_like(TIMES))


@pytest.mark.parametrize(
    "prediction, divisor", [("x_0", lambda snr: 1), ("v", lambda snr: snr + 1), ("noise", float)]
)
def test_min_snr_weighs_each_output_as_its_paper_does(prediction, divisor):
    # Hang et al. 2023: min(SNR, 5), over SNR + 1 for v, over SNR for the noise
    snrs = SCHEDULE.log_snr(TIMES).exp().tolist()
    found = output_weights(prediction, "min_snr", bias=math.log(5))
    assert found.tolist() == pytest.approx([min(snr, 5) / divisor(snr) for snr in snrs])


@pytest.mark.parametrize("bias", [-4.0, 1.6])
def test_min_snr_is_the_sigmoid_weighting_with_a_corner(bias):
    far = torch.tensor([bias - 20, bias + 20], dtype=torch.float64)
    ratio = make("min_snr", bias)(far) / make("sigmoid", bias)(far)
    torch.testing.assert_close(ratio, torch.full_like(ratio, math.exp(bias)))


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
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
        *(t, schedule),
        prediction=PREDICTIONS["x_0"],
        weighting=make("uniform"),
        is_decoupled=True,
    )
    assert float(weight.mean()) == pytest.approx(10, rel=1e-4)
