import itertools
import math

import numpy as np
import pytest
import torch

from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import DiscreteSchedule
from diffunet.wsss.saliency import trajectories
from tests.wsss.closed_form import (
    ALL_SCHEDULES,
    BRIGHT,
    DARK,
    PRESENT,
    SCHEDULE,
    SIZE,
    SPREAD,
    LinearClassifier,
    alpha,
    draws,
    ideal_model,
    images,
    normal,
    saliency,
    shrinkage,
    sigma,
)
from tests.wsss.real_networks import real_model

GRID = DiscreteSchedule("ddpm_linear", 1000)


def expected_factor(levels):
    """Sum over the steps of alpha_r - alpha_Q (product of rho): the map in units of the pattern."""
    shares = list(itertools.accumulate(map(shrinkage, levels, levels[1:]), lambda a, b: a * b))
    return sum(
        alpha(level) - alpha(levels[0]) * share
        for level, share in zip(levels[1:], shares, strict=True)
    )


# The map, in closed form


@pytest.mark.parametrize("name", ALL_SCHEDULES)
@pytest.mark.parametrize(
    "log_snr, num_steps, log_snr_step, tau",
    [
        (1.0, 10, 0.05, 0.0),
        (1.0, 10, 0.05, 0.95),
        (-1.5, 1, 0.1, 0.5),
        (2.5, 25, 0.01, 0.95),
        (-0.5, 3, 1.0, 0.0),
    ],
)
def test_the_map_is_the_pattern_times_the_accumulated_factor(
    name, log_snr, num_steps, log_snr_step, tau
):
    found = saliency(
        ideal_model(ALL_SCHEDULES[name]),
        images(PRESENT),
        log_snr=log_snr,
        num_steps=num_steps,
        log_snr_step=log_snr_step,
        tau=tau,
    )
    factor = expected_factor([log_snr + r * log_snr_step for r in range(num_steps + 1)])
    torch.testing.assert_close(
        found, (factor * BRIGHT).expand_as(found), rtol=1e-9, atol=1e-10 * factor
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_map_does_not_depend_on_what_the_network_predicts(prediction):
    found = saliency(ideal_model(prediction=prediction), images(PRESENT))
    factor = expected_factor([1 + 0.05 * r for r in range(11)])
    torch.testing.assert_close(found, (factor * BRIGHT).expand_as(found))


@pytest.mark.parametrize("schedule", [GRID, DiscreteSchedule("ddpm_cosine", 4000)])
@pytest.mark.parametrize("timestep, num_steps", [(400, 10), (10, 10), (999, 1)])
def test_timesteps_go_down_the_grid_one_by_one(schedule, timestep, num_steps):
    found = saliency(
        ideal_model(schedule), images(PRESENT), timestep=timestep, num_steps=num_steps, tau=0.5
    )
    shares = schedule.alphas_cumprod[range(timestep, timestep - num_steps - 1, -1)]
    factor = expected_factor(torch.log(shares / (1 - shares)).tolist())
    torch.testing.assert_close(
        found, (factor * BRIGHT).expand_as(found), rtol=1e-8, atol=1e-10 * factor
    )


def test_a_label_that_darkens_has_a_negative_map():
    found = saliency(ideal_model(), images(PRESENT), label=1)
    assert float(found[:, DARK < 0].max()) < -0.1
    assert float(found[:, DARK == 0].abs().max()) < 1e-12


def test_many_small_steps_approach_the_exact_flow():
    # The exact flow keeps (x_t - alpha_t m) / width.
    def width(level):
        return math.hypot(alpha(level) * SPREAD, sigma(level))

    num_steps, first, last = 400, -1.0, 2.0
    step = (last - first) / num_steps
    found = saliency(
        ideal_model(), images(PRESENT), log_snr=first, num_steps=num_steps, log_snr_step=step
    )
    inner = np.linspace(first, last, num_steps + 1)[1:]
    exact = sum(alpha(level) - alpha(first) * width(level) / width(first) for level in inner)
    assert float(found[0, 0, 1, 2]) == pytest.approx(2 * exact, rel=0.01)


def test_the_state_of_the_label_itself_does_not_matter():
    image = images(PRESENT)
    absent = PRESENT.clone()
    absent[:, 0] = 0
    found = saliency(ideal_model(), image, tags=absent)
    assert torch.equal(found, saliency(ideal_model(), image))


def test_the_other_labels_condition_both_trajectories(is_joined):
    model = ideal_model()
    saliency(model, images(PRESENT), num_steps=1, tau=0.25)
    conditions = torch.cat([condition for _, _, condition in model.denoiser.network.calls])
    expected = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.25, 0.0], [0.25, 1.0]]).double()
    torch.testing.assert_close(conditions, expected)


# Noise and evaluations


def test_both_trajectories_begin_at_the_closed_form_noise_of_q(is_joined):
    model, image = ideal_model(), images(PRESENT)
    saliency(model, image, log_snr=-0.3, num_steps=1)
    begin = alpha(-0.3) * image + sigma(-0.3) * normal(*image.shape, seed=100)
    seen = torch.cat([x_t for x_t, _, _ in model.denoiser.network.calls])
    torch.testing.assert_close(seen, torch.cat([begin, begin]))


def test_evaluations_are_at_q_and_the_following_levels_but_the_last(is_joined):
    model = ideal_model()
    saliency(model, images(PRESENT), log_snr=-0.3, num_steps=4, log_snr_step=0.2)
    levels = [SCHEDULE.log_snr(t[:1]) for _, t, _ in model.denoiser.network.calls]
    expected = np.repeat([-0.3, -0.1, 0.1, 0.3], 1 if is_joined else 2)
    np.testing.assert_allclose(torch.cat(levels), expected, atol=1e-12)


def test_evaluations_on_a_grid_are_at_its_timesteps():
    model, image = ideal_model(GRID), images(PRESENT)
    saliency(model, image, timestep=400, num_steps=3)
    times = [float(t[0]) for _, t, _ in model.denoiser.network.calls]
    assert times == [400 / 999, 399 / 999, 398 / 999]
    share = GRID.alphas_cumprod[400]
    begin = share.sqrt() * image + (1 - share).sqrt() * normal(*image.shape, seed=100)
    torch.testing.assert_close(model.denoiser.network.calls[0][0][:2], begin)


def test_each_trajectory_evaluates_the_network_r_times_for_each_draw(is_joined):
    model, image = ideal_model(), images(PRESENT)
    saliency(model, image, num_steps=7, num_draws=3)
    calls = model.denoiser.network.calls
    assert len(calls) == 7 * 3 * (1 if is_joined else 2)
    assert sum(len(x_t) for x_t, _, _ in calls) == 2 * 7 * 3 * len(image)


def test_one_call_and_two_calls_give_the_same_map(monkeypatch):
    model = ideal_model(classifier=LinearClassifier())
    joined = saliency(model, images(PRESENT), guidance_scale=2.0, tau=0.5)
    monkeypatch.setattr(trajectories, "CPU_JOINED_VOXELS", 0)
    torch.testing.assert_close(
        saliency(model, images(PRESENT), guidance_scale=2.0, tau=0.5), joined, rtol=0, atol=1e-12
    )


def test_noise_is_asked_for_once_for_each_draw():
    asked = []

    def noise(k):
        asked.append(k)
        return normal(2, 1, SIZE, SIZE, seed=k)

    saliency(ideal_model(), images(PRESENT), num_draws=4, noise=noise)
    assert asked == [0, 1, 2, 3]


def test_the_map_is_the_mean_of_the_draws_maps():
    model, image = ideal_model(classifier=LinearClassifier()), images(PRESENT, reach=0)
    together = saliency(model, image, num_draws=3, guidance_scale=1.0)
    single = [
        saliency(model, image, guidance_scale=1.0, noise=draws(image.shape, seed=100 + k))
        for k in range(3)
    ]
    assert float((single[0] - single[1]).abs().max()) > 1e-3
    torch.testing.assert_close(together, sum(single) / 3)


def test_an_images_map_does_not_depend_on_its_batch(is_joined):
    model, image = ideal_model(classifier=LinearClassifier()), images(PRESENT, reach=0)
    together = saliency(model, image, guidance_scale=3.0, num_draws=2)
    alone = saliency(
        model,
        image[1:],
        tags=PRESENT[1:],
        guidance_scale=3.0,
        num_draws=2,
        noise=lambda k: normal(*image.shape, seed=100 + k)[1:],
    )
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-12)


def test_neither_image_nor_noise_is_written_to():
    image = images(PRESENT)
    noise = normal(*image.shape)
    before = image.clone(), noise.clone()
    saliency(ideal_model(), image, noise=lambda k: noise)
    assert torch.equal(image, before[0])
    assert torch.equal(noise, before[1])


def test_single_precision_loses_no_digits_to_the_difference_of_two_trajectories():
    model, image = ideal_model(prediction="v"), images(PRESENT)
    plan = {"log_snr_step": 0.01, "tau": 0.95}
    exact = saliency(model, image, **plan)
    found = saliency(model, image.float(), tags=PRESENT.float(), **plan)
    inside = (BRIGHT > 0).expand_as(exact)
    error = (found.double() - exact)[inside].abs().max() / exact[inside].abs().max()
    # Subtracting the trajectories would leave about 1e-4.
    assert float(error) < 1e-5


# With real networks


def float_saliency(model, image, *, rows=slice(None), **plan):
    tags = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    return saliency(
        model,
        image[rows],
        tags=tags[rows],
        noise=lambda k: normal(*image.shape, seed=k).float()[rows],
        **plan,
    )


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_a_real_networks_map_does_not_depend_on_batch_or_calls(is_joined, guidance_scale):
    model, image = real_model(), normal(2, 1, 16, 16, seed=5).float()
    together = float_saliency(model, image, guidance_scale=guidance_scale)
    alone = float_saliency(model, image, guidance_scale=guidance_scale, rows=slice(1, 2))
    size = float(together.abs().max())
    assert size > 1e-3
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-4 * size)


def test_gradients_reach_no_weight_and_nothing_keeps_a_graph():
    model = real_model()
    image = normal(2, 1, 16, 16, seed=5).float().requires_grad_()
    found = float_saliency(model, image, guidance_scale=1.0)
    assert found.grad_fn is None
    assert not found.requires_grad
    assert image.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_guidance_works_where_gradients_are_off():
    model, image = real_model(), normal(2, 1, 16, 16, seed=5).float()
    found = float_saliency(model, image, guidance_scale=1.0)
    with torch.no_grad():
        assert torch.equal(float_saliency(model, image, guidance_scale=1.0), found)


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_half_precision_of_the_networks_leaves_a_map_of_single_precision(guidance_scale):
    model, image = real_model(), normal(2, 1, 16, 16, seed=5).float()
    exact = float_saliency(model, image, guidance_scale=guidance_scale)
    with torch.autocast("cpu", torch.bfloat16):
        found = float_saliency(model, image, guidance_scale=guidance_scale)
    assert found.dtype == torch.float32
    correlation = np.corrcoef(found.flatten(), exact.flatten())[0, 1]
    assert correlation > 0.98


def test_conditions_are_mixed_in_single_precision_under_autocast():
    model, image = real_model(), normal(2, 1, 16, 16, seed=5).float()
    conditions = []
    network = model.denoiser.network
    network.register_forward_hook(lambda module, given, output: conditions.append(given[3]))
    float_saliency(model, image, tau=0.95, num_steps=1)
    with torch.autocast("cpu", torch.bfloat16):
        float_saliency(model, image, tau=0.95, num_steps=1)
    assert conditions[1].dtype == torch.float32
    assert torch.equal(conditions[0], conditions[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_map_is_that_of_the_cpu():
    model, image = real_model(), normal(2, 1, 16, 16, seed=5).float()
    expected = float_saliency(model, image, guidance_scale=1.0)
    tags = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found = saliency(
        model.cuda(),
        image.cuda(),
        tags=tags.cuda(),
        noise=lambda k: normal(*image.shape, seed=k).float(),
        guidance_scale=1.0,
    )
    size = float(expected.abs().max())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-2 * size)


# What cannot be


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_not_there_is_refused(label):
    with pytest.raises(ValueError, match=f"label should be in 0 ... 1, got {label}"):
        saliency(ideal_model(), images(PRESENT), label=label)


def test_noise_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"shaped as the image, \(2, 1, 6, 6\), got \(1, 1, 6, 6\)"
    ):
        saliency(ideal_model(), images(PRESENT), noise=lambda k: normal(1, 1, SIZE, SIZE))
