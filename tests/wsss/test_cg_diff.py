import itertools
import math

import numpy as np
import pytest
import torch

from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import DiscreteSchedule, ScaledSchedule
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.errors import PlansError
from diffunet.plans import EncodingPlan
from diffunet.wsss.saliency.cg_diff import CLEANEST_LOG_SNR, encoding_levels, guided_anomaly
from tests.wsss.closed_form import (
    ALL_SCHEDULES,
    BRIGHT,
    DARK,
    PATTERNS,
    PRESENT,
    SCHEDULE,
    LinearClassifier,
    alpha,
    guided_ddim,
    ideal_model,
    images,
    normal,
    shrinkage,
)
from tests.wsss.real_networks import real_model


def anomaly(model, image, *, tags=PRESENT, label=0, **plan):
    return guided_anomaly(model, image, tags=tags, label=label, plan=EncodingPlan(**plan))


def amplitude(image, pattern=BRIGHT):
    """Return how much of `pattern` is in each image, by projection."""
    return (image * pattern).sum(dim=(1, 2, 3)) / pattern.square().sum()


# There and back


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["cosine", "hard", "linear", "ddpm_linear", "ddpm_cosine"])
def test_without_guidance_the_loss_of_each_image_is_that_of_the_formula(name, prediction):
    image, num_steps, log_snr = images(PRESENT), 20, -1.0
    model = ideal_model(ALL_SCHEDULES[name], prediction=prediction)
    found = anomaly(model, image, num_steps=num_steps, log_snr=log_snr, guidance_scale=0.0)
    levels = np.linspace(CLEANEST_LOG_SNR, log_snr, num_steps + 1)
    there = math.prod(map(shrinkage, levels, levels[1:]))
    back = math.prod(map(shrinkage, levels[1:], levels))
    mean = torch.einsum("bl,lcij->bcij", PRESENT, PATTERNS)
    expected = (1 - there * back) * (image - alpha(CLEANEST_LOG_SNR) * mean)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_without_guidance_the_loss_falls_as_the_inverse_of_the_number_of_steps():
    image, model = images(PRESENT, reach=0), ideal_model()
    losses = [
        float(anomaly(model, image, num_steps=num_steps, guidance_scale=0.0).abs().max())
        for num_steps in (40, 80, 160)
    ]
    assert losses[0] < 0.15
    for coarse, fine in itertools.pairwise(losses):
        assert coarse / fine == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("spread", [1.0, 0.3, 0.1, 0.03])
def test_coarse_and_fine_detail_lose_about_the_same_share(spread):
    model = ideal_model(spread=spread, prediction="v")
    detail = spread * normal(1, 1, 6, 6)
    tags = torch.zeros(1, 2, dtype=torch.float64)
    found = anomaly(model, detail, tags=tags, num_steps=50, guidance_scale=0.0)
    assert 0.02 < float(found.norm() / detail.norm()) < 0.06


# The road


def test_levels_go_up_to_l_and_back_and_neither_end_is_evaluated_twice():
    model = ideal_model()
    anomaly(model, images(PRESENT), num_steps=4, log_snr=-1.0, guidance_scale=0.0)
    times = torch.stack([t[0] for _, t, _ in model.denoiser.network.calls])
    expected = [9.0, 6.5, 4.0, 1.5, -1.0, 1.5, 4.0, 6.5]
    np.testing.assert_allclose(SCHEDULE.log_snr(times), expected, atol=1e-9)


def test_encoding_begins_at_the_image_itself():
    model, image = ideal_model(), images(PRESENT)
    anomaly(model, image, num_steps=3, guidance_scale=0.0)
    assert torch.equal(model.denoiser.network.calls[0][0], image)


def test_the_images_own_tags_condition_both_ways():
    model = ideal_model(classifier=LinearClassifier())
    anomaly(model, images(PRESENT), num_steps=3, guidance_scale=1.0)
    for _, _, condition in model.denoiser.network.calls:
        assert torch.equal(condition, PRESENT)


def test_only_decoding_is_guided():
    classifier = LinearClassifier()
    model = ideal_model(classifier=classifier)
    anomaly(model, images(PRESENT), num_steps=5, guidance_scale=1.0)
    decoding = model.denoiser.network.calls[5:]
    assert len(decoding) == len(classifier.calls) == 5
    for (x_t, t, _), (seen, told) in zip(decoding, classifier.calls, strict=True):
        assert torch.equal(x_t, seen)
        assert torch.equal(t, told)


def test_a_schedule_that_is_never_as_clean_begins_at_its_own_end():
    schedule = DiscreteSchedule("ddpm_linear", 50)
    levels = encoding_levels(EncodingPlan(num_steps=5), schedule=schedule)
    assert levels[0].log_snr == pytest.approx(float(schedule.log_snr_at(torch.tensor(0))))
    assert levels[0].log_snr < CLEANEST_LOG_SNR
    assert levels[-1].log_snr == -1.5


# Guidance


@pytest.mark.parametrize("reach", [60.0, 0.0], ids=["free", "clipped"])
@pytest.mark.parametrize("label", [0, 1])
def test_the_reconstruction_equals_ddim_in_noises(reach, label):
    classifier, image, scale = LinearClassifier(), images(PRESENT, reach=reach), 4.0
    # The base cosine alone, whose time of a log SNR is known in closed form.
    model = ideal_model(ALL_SCHEDULES["unlimited"], classifier=classifier)
    found = anomaly(model, image, label=label, num_steps=6, log_snr=-0.5, guidance_scale=scale)
    up = np.linspace(CLEANEST_LOG_SNR, -0.5, 7)
    slopes = classifier.slope(2 / math.pi * np.arctan(np.exp(-up / 2)))
    means = torch.einsum("bl,lcij->bcij", PRESENT, PATTERNS)[:, 0].numpy()
    for row, pixels in enumerate(image[:, 0].numpy()):
        settings = {
            "mean": means[row],
            "limits": (pixels.min(), pixels.max()),
            "weights": classifier.weights[label, 0].numpy(),
            "bias": float(classifier.biases[label]),
            "wanted": 0.0,
        }
        encoded = guided_ddim(pixels, up, scale=0.0, slopes=slopes, **settings)[-1]
        decoded = guided_ddim(encoded, up[::-1], scale=scale, slopes=slopes[::-1], **settings)[-1]
        np.testing.assert_allclose(found[row, 0], pixels - decoded, rtol=1e-8, atol=1e-8)


def test_guided_to_absence_the_pattern_fades_the_more_the_stronger_the_guidance():
    image = images(PRESENT, reach=0)
    model = ideal_model(classifier=LinearClassifier())
    left = [
        amplitude(image - anomaly(model, image, num_steps=50, guidance_scale=scale))
        for scale in (0.0, 1.0, 4.0)
    ]
    assert torch.all(left[0] > 0.8)
    assert torch.all(left[1] < left[0] - 0.1)
    assert torch.all(left[2] < left[1] - 0.1)


def test_the_anomaly_is_negative_where_the_label_darkens():
    image = images(PRESENT[1:], reach=0)
    model = ideal_model(classifier=LinearClassifier())
    settings = {"tags": PRESENT[1:], "label": 1, "num_steps": 50}
    guided = anomaly(model, image, guidance_scale=3.0, **settings)
    change = guided - anomaly(model, image, guidance_scale=0.0, **settings)
    assert float(change[:, DARK < 0].max()) < -0.05
    assert float(change[:, DARK == 0].abs().max()) < 1e-9


def test_an_images_anomaly_does_not_depend_on_its_batch():
    model, image = ideal_model(classifier=LinearClassifier()), images(PRESENT, reach=0)
    together = anomaly(model, image, num_steps=5)
    alone = anomaly(model, image[1:], tags=PRESENT[1:], num_steps=5)
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-9)


def test_gradients_reach_no_weight_and_the_image_is_left_alone():
    model = real_model()
    image = normal(2, 1, 16, 16).float()
    before = image.clone()
    with torch.autocast("cpu", torch.bfloat16):
        found = anomaly(model, image, tags=PRESENT.float(), num_steps=3, guidance_scale=1.0)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert not found.requires_grad
    assert torch.equal(image, before)
    assert all(parameter.grad is None for parameter in model.parameters())


# What cannot be


@pytest.mark.parametrize(
    "log_snr, message",
    [
        (9.5, "from log SNR 9 up to a noisier level, got 9.5; choose a smaller one, such as -1.5"),
        (-15.5, "from log SNR -15.5 to 9, but the model's noise schedule has -15 to 15"),
    ],
)
def test_noise_levels_off_the_schedule_are_refused(log_snr, message):
    schedule = ScaledSchedule(CosineSchedule(), 0.3, 15.0)
    with pytest.raises(PlansError, match=message):
        encoding_levels(EncodingPlan(log_snr=log_snr), schedule=schedule)


def test_a_label_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"label should be in 0 ... 1, got 2"):
        anomaly(ideal_model(), images(PRESENT), label=2)
