import math

import numpy as np
import pytest
import torch

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.plans import TrajectoryPlan
from diffunet.wsss.saliency.trajectories import trajectory_levels
from tests.wsss.closed_form import (
    ALL_SCHEDULES,
    PATTERNS,
    PRESENT,
    SCHEDULE,
    IdealNetwork,
    LinearClassifier,
    alpha,
    forbidden_classifier,
    guided_ddim,
    ideal_model,
    images,
    normal,
    saliency,
    sigma,
)


def oracle(image, *, tags, weights, plan, noise, label=0):
    """Algorithm 1 in noises with two separate trajectories, numpy, one image."""
    levels = [plan.log_snr + r * plan.log_snr_step for r in range(plan.num_steps + 1)]
    times = [2 / math.pi * math.atan(math.exp(-level / 2)) for level in levels]
    begin = alpha(levels[0]) * image + sigma(levels[0]) * noise
    patterns = PATTERNS.numpy()[:, 0]
    wanted = plan.tau if plan.is_guidance_mixed else 0.0
    paths = []
    for state, target in ((1.0, 1.0), (plan.tau, wanted)):
        mixed = np.where(np.arange(2) == label, state, tags)
        paths.append(
            guided_ddim(
                begin,
                levels,
                mean=np.tensordot(mixed, patterns, axes=1),
                limits=(image.min(), image.max()),
                scale=plan.guidance_scale,
                weights=weights,
                bias=(-0.4, 0.3)[label],
                slopes=[1 - 0.5 * t for t in times],
                wanted=target,
            )
        )
    return sum(a - b for a, b in zip(*paths, strict=True)) / (1 - plan.tau)


@pytest.mark.parametrize("reach", [60.0, 0.0], ids=["free", "clipped"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("is_guidance_mixed", [True, False])
@pytest.mark.parametrize("num_steps, tau, label", [(1, 0.0, 0), (1, 0.95, 1), (10, 0.6, 0)])
def test_the_map_equals_algorithm_1_in_noises(
    is_joined, reach, scale, is_guidance_mixed, num_steps, tau, label
):
    classifier, image = LinearClassifier(), images(PRESENT, reach=reach)
    plan = {
        "num_steps": num_steps,
        "tau": tau,
        "guidance_scale": scale,
        "is_guidance_mixed": is_guidance_mixed,
        "log_snr": -0.5,
        "log_snr_step": 0.2,
    }
    # The base cosine alone, whose time of a log SNR is known in closed form.
    model = ideal_model(ALL_SCHEDULES["unlimited"], classifier=classifier)
    found = saliency(model, image, label=label, **plan)
    for row in range(2):
        expected = oracle(
            image[row, 0].numpy(),
            tags=PRESENT[row].numpy(),
            weights=classifier.weights[label, 0].numpy(),
            plan=TrajectoryPlan(**plan),
            noise=normal(*image.shape, seed=100)[row, 0].numpy(),
            label=label,
        )
        np.testing.assert_allclose(found[row, 0], expected, rtol=1e-8, atol=1e-9)


def test_one_guided_step_adds_s_sigma_squared_over_alpha_times_the_gradient():
    # Between the two states of a label, the gradients of log p differ by that of the logit.
    classifier, image = LinearClassifier(), images(PRESENT)
    model = ideal_model(classifier=classifier)
    step = {"log_snr": 0.4, "log_snr_step": 0.3, "num_steps": 1, "tau": 0.5}
    guided = saliency(model, image, guidance_scale=7.0, is_guidance_mixed=False, **step)
    slope = classifier.slope(trajectory_levels(TrajectoryPlan(**step), schedule=SCHEDULE)[0].t)
    weight = alpha(0.7) - alpha(0.4) * sigma(0.7) / sigma(0.4)
    shift = weight * 7 * sigma(0.4) ** 2 / alpha(0.4) * slope * classifier.weights[0] / 0.5
    torch.testing.assert_close(
        guided - saliency(model, image, **step), shift.expand_as(guided), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("is_guidance_mixed, power", [(True, 0), (False, -1)])
def test_mixed_guidance_scales_with_one_minus_tau_as_the_conditions_do(is_guidance_mixed, power):
    model, image = ideal_model(classifier=LinearClassifier()), images(PRESENT)
    parts = []
    for tau in (0.0, 0.9):
        step = {"num_steps": 1, "tau": tau, "is_guidance_mixed": is_guidance_mixed}
        parts.append(
            saliency(model, image, guidance_scale=5.0, **step) - saliency(model, image, **step)
        )
    torch.testing.assert_close(parts[1], parts[0] * 0.1**power, rtol=1e-8, atol=1e-10)


def test_x_0_is_clipped_to_each_images_and_channels_own_range():
    channel = images(PRESENT, reach=0)
    image = torch.cat([channel, 3 * channel], dim=1)
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)

    class Wild(IdealNetwork):
        def __call__(self, x_t, t, features=None, condition=None):
            return 100 * (2 * condition[:, :1, None, None] - 1) * torch.ones_like(x_t)

    model = ImageModel(
        Denoiser(Wild(SCHEDULE), schedule=SCHEDULE, prediction=PREDICTIONS["x_0"]),
        forbidden_classifier,
    )
    found = saliency(model, image, num_steps=1, log_snr=0.4, log_snr_step=0.3)
    weight = alpha(0.7) - alpha(0.4) * sigma(0.7) / sigma(0.4)
    torch.testing.assert_close(found, (weight * (high - low)).expand_as(found))


def test_guidance_goes_beyond_the_images_range():
    image = images(PRESENT, reach=0)
    found = saliency(
        ideal_model(classifier=LinearClassifier()), image, guidance_scale=1e4, num_steps=1
    )
    weight = alpha(1.05) - alpha(1.0) * sigma(1.05) / sigma(1.0)
    assert float(found.max()) > 10 * weight * float(image.max() - image.min())


def test_the_classifier_sees_the_noise_level_and_the_image_that_the_denoiser_sees(is_joined):
    classifier = LinearClassifier()
    model = ideal_model(classifier=classifier)
    saliency(model, images(PRESENT), guidance_scale=1.0, num_draws=2)
    calls = model.denoiser.network.calls
    assert len(calls) == len(classifier.calls)
    for (x_t, t, _), (seen, told) in zip(calls, classifier.calls, strict=True):
        assert torch.equal(x_t, seen)
        assert torch.equal(t, told)
