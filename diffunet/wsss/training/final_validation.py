"""The validation at the end of a weakly supervised training, on image-level labels.

Nothing here opens a mask: `diffunet_evaluate` tells how well maps fit masks.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from diffunet.build import weak_plan_of
from diffunet.diffusion.image_model import ImageModel
from diffunet.evaluation.auc import auc_of
from diffunet.planning.choice import Choice
from diffunet.training.method import FinalModel
from diffunet.wsss.choice.presence_threshold import choose_presence_threshold, rates
from diffunet.wsss.choice.tagged_images import TaggedImage, read_image, validation_images
from diffunet.wsss.saliency.maps import mirror_axes_of, presence_probabilities
from diffunet.wsss.training.image_scores import ImageScores, condition_gains, noised_auc
from diffunet.wsss.training.validation import IMAGES_PER_CASE, score_tagged_image

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LOG_SNRS = tuple(float(level) for level in range(-5, 6))
"""Noise levels at which the classifier and the conditions are tested."""


@dataclass(frozen=True, kw_only=True)
class WeakValidation:
    """What the final validation found.

    Attributes:
        summary: for `validation/summary.json`.
        choices: for the fold's plans, by path.
    """

    summary: dict[str, Any]
    choices: dict[str, Choice[Any]]


def validate_on_image_labels(final: FinalModel) -> WeakValidation | None:
    """Classify validation images, choose when a label counts as present, and look at noise levels.

    If whole volumes were labelled, a case counts as one image, with the mean of its slices'
    probabilities, as in prediction. Images with and without labels take turns, spread over
    patients. The scores at the thresholds come from the images on which these were chosen.

    Returns:
        The same on every rank; None where the fold has no validation images.
    """
    data, model, ranks = final.data, final.model, final.ranks
    configuration = data.plans.configuration
    plan = weak_plan_of(configuration)
    images = validation_images(data, has_slice_labels=plan.has_slice_labels)
    if not images:
        return None
    num_cases = configuration.training.num_final_validation_cases
    classified = _classified(
        images,
        has_slice_labels=plan.has_slice_labels,
        num_cases=None if final.is_whole else num_cases,
    )

    def probabilities_of(image: TaggedImage) -> np.ndarray:
        by_slice = presence_probabilities(
            [model],
            read_image(data.images, image),
            plan=plan,
            patch_size=configuration.patch_size,
            compute=data.compute,
            mirror_axes=mirror_axes_of(configuration),
        )
        return by_slice.double().mean(dim=0).numpy()

    def scores_of(image: TaggedImage) -> ImageScores:
        return score_tagged_image(
            model, image, data=data, inverted=range(len(image.tags)), log_snrs=LOG_SNRS
        )

    probabilities = np.stack(_answers(probabilities_of, classified, final, "final validation"))
    is_present = np.array([image.tags for image in classified], bool)
    thresholds = _choose_thresholds(probabilities, is_present, names=data.labels.names)
    summary = {
        "num_images": len(classified),
        "num_patients": len({data.patients[image.case] for image in classified}),
        "labels": {
            name: _classification(
                probabilities[:, label], is_present[:, label], threshold=thresholds.value[label]
            )
            for label, name in enumerate(data.labels.names)
        },
    }
    if isinstance(model, ImageModel):
        scores = _answers(scores_of, images[:num_cases], final, "noise levels")
        summary["num_noised_images"] = len(scores)
        summary["noise_levels"] = _noise_levels(scores, names=data.labels.names)
    if ranks.is_first:
        logger.info("%s", _sentence(summary))
        if thresholds.warning:
            logger.warning("weak.presence_thresholds: %s", thresholds.warning)
    return WeakValidation(summary=summary, choices={"weak.presence_thresholds": thresholds})


def _classified(
    images: Sequence[TaggedImage], *, has_slice_labels: bool, num_cases: int | None
) -> list[TaggedImage]:
    """Return what is classified as one: images, or the cases of volumes that were labelled whole.

    Args:
        num_cases: that the plan names; None for all.
    """
    if has_slice_labels or all(image.slice_index is None for image in images):
        return list(images if num_cases is None else images[: num_cases * IMAGES_PER_CASE])
    cases = {image.case: replace(image, slice_index=None) for image in images}
    return list(cases.values())[:num_cases]


def _answers(
    ask: Callable[[TaggedImage], Answer],
    images: Sequence[TaggedImage],
    final: FinalModel,
    description: str,
) -> list[Answer]:
    """Ask about every image, shared among ranks; returns the answers in order, on every rank."""
    ranks = final.ranks
    own = images[ranks.rank :: ranks.num_ranks]
    answers = [ask(image) for image in final.progress(own, len(own), description)]
    parts = ranks.gather(answers)
    return [
        parts[index % ranks.num_ranks][index // ranks.num_ranks] for index in range(len(images))
    ]


def _choose_thresholds(
    probabilities: Float[np.ndarray, "image label"],
    is_present: Bool[np.ndarray, "image label"],
    *,
    names: Sequence[str],
) -> Choice[tuple[float, ...]]:
    choices = [
        choose_presence_threshold(values, present)
        for values, present in zip(probabilities.T, is_present.T, strict=True)
    ]
    by_name = dict(zip(names, choices, strict=True))
    return Choice(
        tuple(choice.value for choice in choices),
        " ".join(f"{name}: {choice.reason}" for name, choice in by_name.items()),
        " ".join(f"{name}: {each.warning}" for name, each in by_name.items() if each.warning),
    )


def _classification(
    probabilities: Float[np.ndarray, " image"],
    is_present: Bool[np.ndarray, " image"],
    *,
    threshold: float,
) -> dict[str, Any]:
    sensitivity, specificity = rates(probabilities, is_present, thresholds=[threshold])
    right = np.where(is_present, probabilities, 1 - probabilities)
    return {
        "num_with": int(is_present.sum()),
        "num_without": int((~is_present).sum()),
        "auc": _defined(auc_of(probabilities, is_present)),
        "cross_entropy": float(-np.log(np.clip(right, np.finfo(np.float32).tiny, 1)).mean()),
        "presence_threshold": threshold,
        "sensitivity": _defined(sensitivity[0]),
        "specificity": _defined(specificity[0]),
    }


def _noise_levels(scores: Sequence[ImageScores], *, names: Sequence[str]) -> list[dict[str, Any]]:
    gains = [condition_gains(scores, label) for label in range(len(names))]
    return [
        {
            "log_snr": log_snr,
            "labels": {
                name: {
                    "auc": _defined(noised_auc(scores, label, level=level)),
                    "condition_gain": _defined(gains[label][level]),
                }
                for label, name in enumerate(names)
            },
        }
        for level, log_snr in enumerate(LOG_SNRS)
    ]


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _sentence(summary: dict[str, Any]) -> str:
    labels = []
    for name, scores in summary["labels"].items():
        auc = "undefined" if scores["auc"] is None else f"{scores['auc']:.4f}"
        threshold = scores["presence_threshold"]
        labels.append(f"{name}: AUC {auc}, present from a probability of {threshold:.3f} on")
    return f"final validation on {summary['num_images']} images: {'; '.join(labels)}"
