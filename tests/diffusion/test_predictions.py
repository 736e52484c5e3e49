import pytest
import torch
from diffusers import DDIMScheduler

from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import DiscreteSchedule, add_noise

LOG_SNR = torch.tensor([-20.0, -4.0, 0.0, 4.0, 20.0], dtype=torch.float64)

parametrize_predictions = pytest.mark.parametrize(
    "prediction", PREDICTIONS.values(), ids=PREDICTIONS.keys()
)


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


@pytest.mark.parametrize(
    "name, of_x_0, of_noise", [("x_0", 1, 0), ("v", -(0.1**0.5), 0.9**0.5), ("noise", 0, 1)]
)
def test_the_network_should_put_out_this_mixture_of_x_0_and_noise(name, of_x_0, of_noise):
    log_snr = torch.tensor([9.0], dtype=torch.float64).log()
    x_0, noise = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    target = PREDICTIONS[name].target(x_0, noise, log_snr=log_snr)
    assert target.item() == pytest.approx(of_x_0 + 2 * of_noise, rel=1e-6)


@parametrize_predictions
def test_the_right_output_gives_x_0(diffused, prediction):
    x_0, noise, x_t = diffused
    output = prediction.target(x_0, noise, log_snr=LOG_SNR)
    found = prediction.x_0(output, x_t, log_snr=LOG_SNR)
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-9)


@parametrize_predictions
def test_conversions_in_float32_stay_finite_at_the_limits(diffused, prediction):
    _, noise, x_t = diffused
    found = prediction.x_0(noise.float(), x_t.float(), log_snr=LOG_SNR)
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", ["x_0", "v"])
def test_rounding_of_x_0_and_v_is_not_magnified_at_the_limits(diffused, name):
    x_0, noise, x_t = diffused
    output = PREDICTIONS[name].target(x_0, noise, log_snr=LOG_SNR).float()
    found = PREDICTIONS[name].x_0(output, x_t.float(), log_snr=LOG_SNR)
    torch.testing.assert_close(found, x_0.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name, diffusers_name", [("x_0", "sample"), ("v", "v_prediction"), ("noise", "epsilon")]
)
def test_x_0_of_an_output_is_that_of_diffusers(name, diffusers_name):
    oracle = DDIMScheduler(prediction_type=diffusers_name, clip_sample=False)
    oracle.set_timesteps(1000)
    x_t, output = torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    expected = oracle.step(output, 300, x_t).pred_original_sample
    log_snr = DiscreteSchedule("ddpm_linear", 1000).log_snr_at(torch.tensor([300]))
    found = PREDICTIONS[name].x_0(output, x_t, log_snr=log_snr)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@parametrize_predictions
def test_error_factor_turns_output_errors_into_x_0_errors(diffused, prediction):
    x_0, noise, x_t = diffused
    target = prediction.target(x_0, noise, log_snr=LOG_SNR)
    x_0_hat = prediction.x_0(target + 0.01, x_t, log_snr=LOG_SNR)
    x_0_error = (x_0_hat - x_0).square().mean(dim=(1, 2, 3))
    factor = prediction.x_0_error_factor(LOG_SNR)
    torch.testing.assert_close(x_0_error, factor * 1e-4, rtol=1e-5, atol=1e-12)


@parametrize_predictions
def test_only_what_lies_between_minus_1_and_1_is_called_bounded(diffused, prediction):
    x_0, noise, _ = diffused
    target = prediction.target(x_0, noise, log_snr=LOG_SNR)
    assert prediction.is_bounded == bool((target.abs() <= 1).all())
