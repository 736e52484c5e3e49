import pytest
import torch
from diffusers import DDIMScheduler

from diffunet.diffusion.predictions import (
    add_noise,
    clip_x_0,
    noise_from_v,
    noise_from_x_0,
    output_target,
    v_from_x_0,
    v_from_x_0_and_noise,
    x_0_error_factor,
    x_0_from_noise,
    x_0_from_output,
    x_0_from_v,
)
from diffunet.diffusion.schedules import DiscreteSchedule

PREDICTIONS = ("x_0", "v", "noise")
LOG_SNR = torch.tensor([-20.0, -4.0, 0.0, 4.0, 20.0], dtype=torch.float64)


@pytest.fixture
def diffused():
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.rand(5, 2, 4, 3, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(5, 2, 4, 3, generator=generator, dtype=torch.float64)
    return x_0, noise, add_noise(x_0, noise, log_snr=LOG_SNR)


def test_x_t_mixes_x_0_and_noise_by_alpha_and_sigma():
    # SNR 9: alpha^2 = 0.9, sigma^2 = 0.1
    log_snr = torch.tensor([9.0], dtype=torch.float64).log()
    x_t = add_noise(torch.tensor([[1.0]]), torch.tensor([[2.0]]), log_snr=log_snr)
    assert x_t.item() == pytest.approx(0.9**0.5 + 2 * 0.1**0.5, rel=1e-6)


def test_v_of_x_0_and_noise_and_back(diffused):
    x_0, noise, x_t = diffused
    v = v_from_x_0_and_noise(x_0, noise, log_snr=LOG_SNR)
    torch.testing.assert_close(x_0_from_v(v, x_t, log_snr=LOG_SNR), x_0, rtol=0, atol=1e-10)
    torch.testing.assert_close(noise_from_v(v, x_t, log_snr=LOG_SNR), noise, rtol=0, atol=1e-10)


def test_x_0_to_noise_and_back(diffused):
    x_0, noise, x_t = diffused
    found = noise_from_x_0(x_0, x_t, log_snr=LOG_SNR)
    torch.testing.assert_close(found, noise, rtol=0, atol=1e-9)
    back = x_0_from_noise(found, x_t, log_snr=LOG_SNR)
    torch.testing.assert_close(back, x_0, rtol=0, atol=1e-9)


def test_x_0_to_v_and_back(diffused):
    x_0, noise, x_t = diffused
    v = v_from_x_0(x_0, x_t, log_snr=LOG_SNR)
    expected = v_from_x_0_and_noise(x_0, noise, log_snr=LOG_SNR)
    torch.testing.assert_close(v, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(x_0_from_v(v, x_t, log_snr=LOG_SNR), x_0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_right_output_gives_x_0(diffused, prediction):
    x_0, noise, x_t = diffused
    output = output_target(x_0, noise, log_snr=LOG_SNR, prediction=prediction)
    found = x_0_from_output(output, x_t, log_snr=LOG_SNR, prediction=prediction)
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_conversions_in_float32_stay_finite_at_the_limits(diffused, prediction):
    _, noise, x_t = diffused
    found = x_0_from_output(noise.float(), x_t.float(), log_snr=LOG_SNR, prediction=prediction)
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("prediction", ["x_0", "v"])
def test_rounding_of_x_0_and_v_is_not_magnified_at_the_limits(diffused, prediction):
    x_0, noise, x_t = diffused
    output = output_target(x_0, noise, log_snr=LOG_SNR, prediction=prediction).float()
    found = x_0_from_output(output, x_t.float(), log_snr=LOG_SNR, prediction=prediction)
    torch.testing.assert_close(found, x_0.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_half_precision_outputs_are_converted_in_the_precision_of_x_t(diffused, prediction):
    x_t = diffused[2].float()
    output = diffused[1].bfloat16()
    found = x_0_from_output(output, x_t, log_snr=LOG_SNR, prediction=prediction)
    expected = x_0_from_output(output.float(), x_t, log_snr=LOG_SNR, prediction=prediction)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "prediction, diffusers_name", [("x_0", "sample"), ("v", "v_prediction"), ("noise", "epsilon")]
)
def test_x_0_of_an_output_is_that_of_diffusers(prediction, diffusers_name):
    oracle = DDIMScheduler(prediction_type=diffusers_name, clip_sample=False)
    oracle.set_timesteps(1000)
    x_t, output = torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    expected = oracle.step(output, 300, x_t).pred_original_sample
    log_snr = DiscreteSchedule("linear", 1000).log_snr_at(torch.tensor([300]))
    found = x_0_from_output(output, x_t, log_snr=log_snr, prediction=prediction)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_error_factor_turns_output_errors_into_x_0_errors(diffused, prediction):
    x_0, noise, x_t = diffused
    target = output_target(x_0, noise, log_snr=LOG_SNR, prediction=prediction)
    x_0_hat = x_0_from_output(target + 0.01, x_t, log_snr=LOG_SNR, prediction=prediction)
    x_0_error = (x_0_hat - x_0).square().mean(dim=(1, 2, 3))
    factor = x_0_error_factor(LOG_SNR, prediction=prediction)
    torch.testing.assert_close(x_0_error, factor * 1e-4, rtol=1e-5, atol=1e-12)


def test_clipping_changes_the_noise_so_that_both_still_make_x_t(diffused):
    x_0, _, x_t = diffused
    clipped, noise = clip_x_0(3 * x_0, x_t, log_snr=LOG_SNR)
    assert float(clipped.abs().max()) == 1
    remade = add_noise(clipped, noise, log_snr=LOG_SNR)
    torch.testing.assert_close(remade, x_t, rtol=0, atol=1e-10)


def test_clipping_keeps_what_is_in_range(diffused):
    x_0, noise, x_t = diffused
    kept, found = clip_x_0(x_0, x_t, log_snr=LOG_SNR)
    assert torch.equal(kept, x_0)
    torch.testing.assert_close(found, noise, rtol=0, atol=1e-9)


def test_unknown_predictions_are_refused(diffused):
    x_0, noise, x_t = diffused
    # the shape checks of the tests refuse the word as well, so the bare functions are called
    calls = [
        lambda: x_0_from_output.__wrapped__(noise, x_t, log_snr=LOG_SNR, prediction="score"),
        lambda: output_target.__wrapped__(x_0, noise, log_snr=LOG_SNR, prediction="score"),
        lambda: x_0_error_factor.__wrapped__(LOG_SNR, prediction="score"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="should be 'x_0', 'v' or 'noise', got 'score'"):
            call()
