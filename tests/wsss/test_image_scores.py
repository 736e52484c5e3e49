import math

import numpy as np
import pytest
import torch
from torch import nn

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.inference.compute import Compute
from diffunet.wsss.training.image_scores import (
    ImageScores,
    classification_auc,
    condition_gains,
    noised_auc,
    score_image,
)

CPU = Compute(device=torch.device("cpu"))
SCHEDULE = ScaledSchedule(base=CosineSchedule(), input_scale=1.0, log_snr_limit=20.0)


class Painter(nn.Module):
    """Says that x_0 is the first label's condition everywhere, plus a tenth of the second's."""

    def encode_image(self, image):
        return ()

    def embed_labels(self, tags):
        return tags

    def forward(self, x_t, t, features, condition):
        self.batch_size = len(x_t)
        value = condition[:, 0] + 0.1 * condition[:, 1]
        return value.reshape(-1, 1, 1, 1).expand_as(x_t)


class Mean(nn.Module):
    """Answers with the mean of what it sees, and with the time that it is told."""

    def forward(self, image, t):
        return torch.stack([image.flatten(1).mean(dim=1), t], dim=1)


def scored(*, compute: Compute = CPU, tags=(1, 0), inverted=(0, 1), log_snrs=(-2.0, 3.0)):
    model = ImageModel(
        Denoiser(Painter(), schedule=SCHEDULE, prediction=PREDICTIONS["x_0"]), Mean()
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(log_snrs), 1, 8, 8, generator=generator)
    scores = score_image(
        model,
        torch.ones(1, 8, 8),
        tags=tags,
        inverted=inverted,
        log_snrs=log_snrs,
        noise=noise,
        compute=compute,
    )
    return scores, noise, model


def test_errors_under_right_and_wrong_labels_are_those_by_hand():
    """x_0 = 1; right labels (1, 0) say 1; without the first 0; with the second 1.1."""
    scores, _, _ = scored()
    np.testing.assert_allclose(scores.right_errors, 0, atol=1e-12)
    np.testing.assert_allclose(scores.wrong_errors, [[1, 0.01]] * 2, rtol=1e-5)


def test_the_classifier_is_asked_without_noise_at_time_zero_and_with_it_at_its_time():
    scores, noise, _ = scored()
    np.testing.assert_allclose(scores.logits, [1, 0])
    for level, log_snr in enumerate((-2.0, 3.0)):
        alpha, sigma = (math.sqrt(1 / (1 + math.exp(sign * log_snr))) for sign in (-1, 1))
        mean = alpha + sigma * float(noise[level].mean())
        assert scores.noised_logits[level, 0] == pytest.approx(mean, abs=1e-5)
        time = torch.tensor([scores.noised_logits[level, 1]])
        assert float(SCHEDULE.log_snr(time)) == pytest.approx(log_snr, abs=1e-3)


def test_small_batches_change_nothing():
    whole, _, _ = scored()
    parts, _, model = scored(compute=Compute(device=CPU.device, batch_voxels=1))
    assert model.denoiser.network.batch_size == 1
    np.testing.assert_array_equal(whole.wrong_errors, parts.wrong_errors)
    np.testing.assert_array_equal(whole.right_errors, parts.right_errors)


def test_a_classifier_of_clean_images_is_asked_without_noise_only():
    scores = score_image(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        torch.ones(1, 8, 8),
        tags=(1, 0),
        inverted=(0,),
        log_snrs=(0.0,),
        noise=torch.zeros(1, 1, 8, 8),
        compute=CPU,
    )
    assert scores.inverted == ()
    assert math.isnan(scores.noised_cross_entropy)
    assert scores.logits.shape == (2,)


def test_cross_entropy_is_minus_the_log_probability_of_the_labels():
    logits = np.array([2.0, -1.0])
    scores = one(tags=[1, 0], logits=logits, noised_logits=np.stack([logits, -logits]))
    good = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1))]
    bad = [math.log1p(math.exp(2)), math.log1p(math.exp(1))]
    assert scores.cross_entropy == pytest.approx(np.mean(good))
    assert scores.noised_cross_entropy == pytest.approx(np.mean([good, bad]))


def one(*, tags=(1,), logits=(0.0,), noised_logits=None, right=(1.0,), wrong=None):
    """Return scores at as many levels as `right` has, or `noised_logits`."""
    noised = np.zeros((len(right), len(tags))) if noised_logits is None else noised_logits
    right = np.resize(right, len(noised))
    wrong = np.ones((len(noised), 1)) if wrong is None else np.array(wrong)
    return ImageScores(
        tags=np.array(tags, float),
        logits=np.array(logits),
        noised_logits=np.array(noised),
        right_errors=right,
        wrong_errors=wrong,
        inverted=tuple(range(wrong.shape[1])),
    )


def test_the_gain_is_the_share_of_the_summed_error_that_the_right_labels_take_away():
    scores = [
        one(right=(1.0, 3.0), wrong=((2.0,), (3.0,))),
        one(right=(2.0, 4.0), wrong=((4.0,), (2.0,))),
    ]
    np.testing.assert_allclose(condition_gains(scores), [1 - 3 / 6, 1 - 7 / 5])


def test_the_gain_of_a_label_counts_its_own_inversion_alone():
    scores = [one(right=(1.0,), wrong=((2.0, 4.0),))]
    np.testing.assert_allclose(condition_gains(scores, 0), [0.5])
    np.testing.assert_allclose(condition_gains(scores, 1), [0.75])
    np.testing.assert_allclose(condition_gains(scores), [1 - 1 / 3])


def test_auc_of_one_kind_alone_is_undefined():
    assert math.isnan(classification_auc([one(), one()], 0))


def test_auc_under_noise_is_of_its_level():
    images = [
        one(tags=(tag,), logits=(0.0,), noised_logits=((value,), (-value,)))
        for tag, value in ((1, 2.0), (0, 1.0))
    ]
    assert noised_auc(images, 0, level=0) == 1
    assert noised_auc(images, 0, level=1) == 0
    assert classification_auc(images, 0) == 0.5
