"""How well a model knows the image-level labels of an image, with and without noise."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.process import add_noise, time_of_log_snr
from diffunet.evaluation.auc import auc_of
from diffunet.inference.compute import Compute, run_in_memory
from diffunet.wsss.training.objective import CLEAN_TIME


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """What a model says about one image.

    Attributes:
        tags: 0 or 1 per label.
        logits: of the classifier, without noise.
        noised_logits: the same at each noise level; no levels for the classifier of clean images.
        right_errors: mean squared error of x_0_hat at each level, under the image's own labels.
        wrong_errors: the same with one label inverted, for each label that was; same noise.
        inverted: which labels were.
    """

    tags: Float[np.ndarray, " label"]
    logits: Float[np.ndarray, " label"]
    noised_logits: Float[np.ndarray, "level label"]
    right_errors: Float[np.ndarray, " level"]
    wrong_errors: Float[np.ndarray, "level inverted"]
    inverted: tuple[int, ...]

    @property
    def cross_entropy(self) -> float:
        """Mean over the labels, without noise."""
        return float(_cross_entropy(self.logits, self.tags).mean())

    @property
    def noised_cross_entropy(self) -> float:
        """Mean over the labels and noise levels; NaN without any."""
        entropies = _cross_entropy(self.noised_logits, self.tags)
        return float(entropies.mean()) if entropies.size else float("nan")


@torch.no_grad()
def score_image(
    model: nn.Module,
    image: Float[Tensor, "channel *spatial"],
    *,
    tags: Sequence[int],
    inverted: Sequence[int],
    log_snrs: Sequence[float],
    noise: Float[Tensor, "level channel *spatial"],
    compute: Compute,
) -> ImageScores:
    """Ask a model about an image without noise, and at each noise level.

    Args:
        model: in evaluation mode; an `ImageModel`, or a classifier, which is asked without noise
            only.
        image: normalised and padded, on the CPU.
        inverted: labels whose inversion is tried, each alone.
        log_snrs: noise levels; one outside of the model's schedule means the schedule's end.
        noise: one draw per level, for classifier, right and wrong labels alike.
    """
    device = compute.device
    own = torch.tensor(tags, dtype=torch.float32)
    clean = image.unsqueeze(0).to(device)
    if not isinstance(model, ImageModel):
        with compute.running():
            logits = model(clean)
        return _scores(own, logits, inverted=())
    times = time_of_log_snr(model.schedule, torch.tensor(log_snrs, dtype=torch.float64))
    x_0 = image.expand_as(noise).to(device)
    x_t = add_noise(x_0, noise.to(device), log_snr=model.schedule.log_snr(times))
    wrong = [own.clone() for _ in inverted]
    for label, condition in zip(inverted, wrong, strict=True):
        condition[label] = 1 - condition[label]
    conditions = torch.stack([own, *wrong]).to(device)
    with compute.running():
        clean_time = torch.full((1,), CLEAN_TIME, device=device)
        logits = model.classifier(clean, clean_time)
        noised_logits = model.classifier(x_t, times.to(x_t))
        errors = _errors(model, x_0, x_t, times, conditions=conditions, compute=compute)
    return _scores(
        own, logits, noised_logits=noised_logits, errors=errors, inverted=tuple(inverted)
    )


def classification_auc(scores: Sequence[ImageScores], label: int) -> float:
    """Return the AUC of a label without noise; NaN where all images are of one kind."""
    return auc_of(
        [score.logits[label] for score in scores], [score.tags[label] for score in scores]
    )


def noised_auc(scores: Sequence[ImageScores], label: int, *, level: int) -> float:
    """Return the AUC of a label at a noise level; NaN where all images are of one kind."""
    logits = [score.noised_logits[level, label] for score in scores]
    return auc_of(logits, [score.tags[label] for score in scores])


def condition_gains(
    scores: Sequence[ImageScores], label: int | None = None
) -> Float[np.ndarray, " level"]:
    """Return the share of the denoising error that the right labels save, per noise level.

    1 - error under the right labels / error under wrong ones, of the errors summed over images. 0:
    the labels mean nothing to the model; negative: they mislead it.

    Args:
        label: the inverted one that counts; None for all that were, each image's mean.
    """
    right, wrong = [], []
    for score in scores:
        columns = range(len(score.inverted)) if label is None else [score.inverted.index(label)]
        right.append(score.right_errors)
        wrong.append(score.wrong_errors[:, list(columns)].mean(axis=1))
    return 1 - np.sum(right, axis=0) / np.sum(wrong, axis=0)


def _errors(
    model: ImageModel,
    x_0: Float[Tensor, "level channel *spatial"],
    x_t: Float[Tensor, "level channel *spatial"],
    times: Tensor,
    *,
    conditions: Float[Tensor, "condition label"],
    compute: Compute,
) -> Float[Tensor, "level condition"]:
    """Return the mean squared error of x_0_hat at each level under each condition."""
    pairs = list(itertools.product(range(len(x_t)), range(len(conditions))))

    def run(batch_size: int) -> Tensor:
        errors = []
        for first in range(0, len(pairs), batch_size):
            levels, rows = (
                list(each) for each in zip(*pairs[first : first + batch_size], strict=True)
            )
            x_0_hat = model.denoiser.predict_x_0(
                x_t[levels],
                times[levels],
                features=None,
                condition=model.embed_labels(conditions[rows]),
            )
            errors.append((x_0_hat - x_0[levels]).square().flatten(1).mean(dim=1))
        return torch.cat(errors)

    errors, _ = run_in_memory(run, compute.batch_size(x_0.shape[2:]))
    return errors.reshape(len(x_t), len(conditions))


def _scores(
    tags: Tensor,
    logits: Tensor,
    *,
    inverted: tuple[int, ...],
    noised_logits: Tensor | None = None,
    errors: Tensor | None = None,
) -> ImageScores:
    num_labels = len(tags)
    errors = torch.zeros(0, 1 + len(inverted)) if errors is None else errors
    noised = torch.zeros(0, num_labels) if noised_logits is None else noised_logits
    return ImageScores(
        tags=_plain(tags),
        logits=_plain(logits[0]),
        noised_logits=_plain(noised),
        right_errors=_plain(errors[:, 0]),
        wrong_errors=_plain(errors[:, 1:]),
        inverted=inverted,
    )


def _plain(tensor: Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()


def _cross_entropy(logits: np.ndarray, tags: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logits) - tags * logits
