import math

import pytest
import torch

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule, add_noise
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.diffusion.stable_target import Alternatives, shift_to_mean
from tests.diffusion.test_denoiser import ScriptedNetwork, weighting_of

SCHEDULE = ScaledSchedule(CosineSchedule(), 1.0, 20.0)
NUM_RATERS = 4


def masks_and_noise(*, num_samples: int = 3):
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(NUM_RATERS, 1, 2, 3, generator=generator) > 0.5).float() * 2 - 1
    everyone = masks[:, None].expand(-1, num_samples, -1, -1, -1)
    noise = torch.randn(num_samples, 1, 2, 3, generator=generator)
    return everyone, noise


def alternatives(others: torch.Tensor) -> Alternatives:
    return Alternatives(others.to(torch.int8), torch.ones(others.shape[:2], dtype=torch.bool))


def normal_log_density(x: torch.Tensor, mean: torch.Tensor, sigma: float) -> float:
    return float(-((x - mean) ** 2).sum() / (2 * sigma**2))


@pytest.mark.parametrize("log_snr", [-12.0, -2.0, 0.0, 2.0])
def test_the_shifted_x_0_is_the_mean_under_the_densities_of_x_t(log_snr):
    everyone, noise = masks_and_noise()
    level = torch.full((3,), log_snr, dtype=torch.float64)
    shift = shift_to_mean(everyone[0], noise, alternatives(everyone[1:]), log_snr=level)
    x_t = add_noise(everyone[0], noise, log_snr=level)
    alpha = math.sqrt(1 / (1 + math.exp(-log_snr)))
    sigma = math.sqrt(1 - alpha**2)
    for sample in range(3):
        each = everyone[:, sample].double()
        logs = torch.tensor(
            [normal_log_density(x_t[sample], alpha * mask, sigma) for mask in each],
            dtype=torch.float64,
        )
        shares = (logs - logs.max()).exp()
        expected = (shares / shares.sum()).reshape(-1, 1, 1, 1).mul(each).sum(dim=0)
        found = everyone[0, sample] - shift[sample]
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_all_noise_gives_the_raters_mean_and_no_noise_the_mask_itself():
    everyone, noise = masks_and_noise()
    for log_snr, expected in ((-20.0, everyone.mean(dim=0)), (20.0, everyone[0])):
        level = torch.full((3,), log_snr, dtype=torch.float64)
        shift = shift_to_mean(everyone[0], noise, alternatives(everyone[1:]), log_snr=level)
        torch.testing.assert_close(everyone[0] - shift, expected, atol=2e-3, rtol=0)


def test_what_is_not_possible_changes_nothing():
    everyone, noise = masks_and_noise()
    level = torch.full((3,), -2.0, dtype=torch.float64)
    two = shift_to_mean(everyone[0], noise, alternatives(everyone[1:2]), log_snr=level)
    is_possible = torch.tensor([[True] * 3, [False] * 3, [False, False, True]])
    found = shift_to_mean(
        everyone[0], noise, Alternatives(everyone[1:], is_possible), log_snr=level
    )
    torch.testing.assert_close(found[:2], two[:2])
    assert not torch.allclose(found[2], two[2])


def losses_and_gradients(prediction: str, *, is_stable: bool, log_snr_time: float):
    """Return the gradient by one number of the network, over draws of rater and noise."""
    generator = torch.Generator().manual_seed(1)
    everyone, _ = masks_and_noise(num_samples=4000)
    drawn = torch.randint(NUM_RATERS, (4000,), generator=generator)
    order = (drawn + torch.arange(NUM_RATERS)[:, None]) % NUM_RATERS
    mine = everyone[order, torch.arange(4000)]
    noise = torch.randn(mine.shape[1:], generator=generator)
    gradients = []
    for start in range(0, 4000, 40):
        rows = slice(start, start + 40)
        network = ScriptedNetwork(torch.full_like(mine[0, rows], 0.3))
        denoiser = Denoiser(network, schedule=SCHEDULE, prediction=PREDICTIONS[prediction])
        loss = denoiser.loss(
            mine[0, rows],
            torch.full((40,), log_snr_time, dtype=torch.float64),
            noise[rows],
            features=None,
            weighting=weighting_of("uniform"),
            is_decoupled=False,
            valid=None,
            alternatives=alternatives(mine[1:, rows]) if is_stable else None,
        )
        loss.weighted_sum.mean().backward()
        gradients.append(float(network.error.grad))
    return torch.tensor(gradients)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_gradients_keep_their_mean_and_lose_chance(prediction):
    """At a level where masks are half hidden; the means are within four standard errors."""
    plain = losses_and_gradients(prediction, is_stable=False, log_snr_time=0.7)
    stable = losses_and_gradients(prediction, is_stable=True, log_snr_time=0.7)
    error = (plain - stable).std() / math.sqrt(len(plain))
    assert abs(float((plain - stable).mean())) < 4 * float(error)
    least = {"x_0": 0.7, "v": 1.0, "noise": 1.0}  # the scripted network is wrong about the noise
    assert float(stable.var()) < least[prediction] * float(plain.var())
