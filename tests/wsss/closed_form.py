"""Images whose labels add known patterns to Gaussian noise: every ideal answer is a formula.

x_0 = sum of the present labels' patterns + N(0, spread^2), voxels independent. With m the mean of a
condition, E[x_0 | x_t] = m + k (x_t - alpha m), k = alpha spread^2 / (alpha^2 spread^2 + sigma^2).
"""

import math

import numpy as np
import torch

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import DiscreteSchedule, ScaledSchedule
from diffunet.diffusion.schedules import SCHEDULES, CosineSchedule
from diffunet.plans import TrajectoryPlan
from diffunet.wsss.saliency.trajectories import conditional_saliency

SIZE = 6
BRIGHT = torch.zeros(1, SIZE, SIZE, dtype=torch.float64)
BRIGHT[:, 1:3, 2:5] = 2.0
DARK = torch.zeros(1, SIZE, SIZE, dtype=torch.float64)
DARK[:, 4:, :2] = -1.0
PATTERNS = torch.stack([BRIGHT, DARK])
SPREAD = 0.7
PRESENT = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)

SCHEDULE = ScaledSchedule(CosineSchedule(), 1.0, 20.0)
ALL_SCHEDULES = {
    **{name: ScaledSchedule(kind(), 1.0, 20.0) for name, kind in SCHEDULES.items()},
    "hard": ScaledSchedule(CosineSchedule(), 0.3, 15.0),
    "unlimited": CosineSchedule(),
    "ddpm_linear": DiscreteSchedule("ddpm_linear", 1000),
    "ddpm_cosine": DiscreteSchedule("ddpm_cosine", 4000),
}


class IdealNetwork:
    """Puts out what the ideal denoiser would; conditions are the tags themselves."""

    def __init__(self, schedule, *, prediction="x_0", patterns=PATTERNS, spread=SPREAD):
        self.schedule, self.prediction = schedule, PREDICTIONS[prediction]
        self.patterns, self.spread = patterns, spread
        self.calls = []

    def encode_image(self, image):
        raise AssertionError("there is no image but x_t")

    def embed_labels(self, tags):
        return tags

    def __call__(self, x_t, t, features=None, condition=None):
        self.calls.append((x_t.clone(), t, condition))
        log_snr = self.schedule.log_snr(t.double()).to(x_t)
        alpha = torch.sigmoid(log_snr).sqrt().reshape(-1, 1, 1, 1)
        sigma = torch.sigmoid(-log_snr).sqrt().reshape(-1, 1, 1, 1)
        mean = torch.einsum("bl,lcij->bcij", condition, self.patterns.to(x_t))
        gain = alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)
        x_0 = mean + gain * (x_t - alpha * mean)
        return self.prediction.target(x_0, (x_t - alpha * x_0) / sigma, log_snr=log_snr)


class LinearClassifier:
    """Logits that are linear in x_t, with a slope that depends on t."""

    def __init__(self, weights=None, *, biases=(-0.4, 0.3)):
        weights = PATTERNS / 4 if weights is None else weights
        self.weights, self.biases = weights, torch.tensor(biases, dtype=torch.float64)
        self.calls = []

    def slope(self, t):
        return 1 - 0.5 * t

    def __call__(self, image, t):
        self.calls.append((image.detach().clone(), t))
        sums = torch.einsum("bcij,lcij->bl", image, self.weights.to(image))
        return self.slope(t)[:, None] * sums + self.biases.to(image)


def forbidden_classifier(image, t):
    raise AssertionError("the classifier was called without guidance")


def ideal_model(schedule=SCHEDULE, *, classifier=forbidden_classifier, **settings):
    network = IdealNetwork(schedule, **settings)
    denoiser = Denoiser(network, schedule=schedule, prediction=network.prediction)
    return ImageModel(denoiser, classifier)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(tags, *, seed=0, reach=60.0):
    """Return one image per row of tags, two of whose voxels widen its range to +- `reach`."""
    drawn = SPREAD * normal(len(tags), 1, SIZE, SIZE, seed=seed)
    drawn += torch.einsum("bl,lcij->bcij", tags, PATTERNS)
    if reach:
        drawn[:, :, 0, 0], drawn[:, :, 0, 1] = -reach, reach
    return drawn


def alpha(log_snr):
    return math.sqrt(1 / (1 + math.exp(-log_snr)))


def sigma(log_snr):
    return math.sqrt(1 / (1 + math.exp(log_snr)))


def shrinkage(log_snr_t, log_snr_s, *, spread=SPREAD):
    """Return rho of an ideal DDIM step: x_s - alpha_s m = rho (x_t - alpha_t m)."""
    alpha_t, sigma_t = alpha(log_snr_t), sigma(log_snr_t)
    variance = (alpha_t * spread) ** 2 + sigma_t**2
    return (alpha(log_snr_s) * alpha_t * spread**2 + sigma(log_snr_s) * sigma_t) / variance


def guided_ddim(x_t, levels, *, mean, limits, scale, weights, bias, slopes, wanted, spread=SPREAD):
    """Return x after every step, as P2 writes it: in noises, one trajectory, numpy.

    Args:
        wanted: state of the label that guidance goes to, in [0, 1].
        slopes: of the classifier, at the evaluated levels.
    """
    passed = []
    for log_snr, following, slope in zip(levels, levels[1:], slopes, strict=False):
        a, s = alpha(log_snr), sigma(log_snr)
        x_0 = mean + a * spread**2 / (a**2 * spread**2 + s**2) * (x_t - a * mean)
        noise = (x_t - a * np.clip(x_0, *limits)) / s
        probability = 1 / (1 + np.exp(-slope * np.sum(weights * x_t) - bias))
        noise = noise - scale * s * (wanted - probability) * slope * weights
        x_t = alpha(following) * (x_t - s * noise) / a + sigma(following) * noise
        passed.append(x_t)
    return passed


def draws(shape, *, seed=100):
    return lambda k: normal(*shape, seed=seed + k)


def saliency(model, image, *, tags=PRESENT, label=0, noise=None, **plan):
    plan = TrajectoryPlan(**({"num_draws": 1} | plan))
    noise = noise or draws(image.shape)
    return conditional_saliency(model, image, tags=tags, label=label, plan=plan, noise=noise)
