"""Validation during a weakly supervised training: image-level labels alone, no mask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from diffunet.build import weak_plan_of
from diffunet.inference.noise import draw_noise
from diffunet.randomness import derive_seed
from diffunet.training.fold_data import FoldData
from diffunet.wsss.choice.tagged_images import NOISE_SEED, TaggedImage, read_image
from diffunet.wsss.saliency.maps import slice_images
from diffunet.wsss.training.image_scores import (
    ImageScores,
    classification_auc,
    condition_gains,
    score_image,
)

IMAGES_PER_CASE = 10
"""Images of a validation for each case that the plan names: a case's segmentations take that many
network evaluations and more, an image two to ten, and an AUC of few images says nothing."""

SAMPLED_LOG_SNRS = (-3.0, -1.0, 1.0, 3.0)
"""Noise levels of validation during training: about where maps of saliency start."""


@dataclass(frozen=True, kw_only=True)
class TaggedImageScorer:
    """Scores images by their image-level labels, under noise that depends on the image alone."""

    data: FoldData

    def score(self, model: nn.Module, case: TaggedImage, *, is_shown: bool) -> ImageScores:
        """Ask about one image; of several labels one is inverted, a fixed one for each image."""
        seed = derive_seed("inverted label", case.case, case.number)
        return score_tagged_image(
            model,
            case,
            data=self.data,
            inverted=(seed % len(case.tags),),
            log_snrs=SAMPLED_LOG_SNRS,
        )

    def values(self, scores: Sequence[ImageScores]) -> dict[str, float]:
        """Return AUC (mean over the labels) and cross entropy without noise.

        For a model of noised images also the means over noise levels of the cross entropy and of
        the gain by the right labels.
        """
        aucs = [classification_auc(scores, label) for label in range(len(scores[0].tags))]
        defined = [auc for auc in aucs if not np.isnan(auc)]
        values = {
            "classification_auc": float(np.mean(defined)) if defined else float("nan"),
            "cross_entropy": float(np.mean([score.cross_entropy for score in scores])),
        }
        if not scores[0].inverted:
            return values
        noised = float(np.mean([score.noised_cross_entropy for score in scores]))
        gain = float(np.mean(condition_gains(scores)))
        return {**values, "noised_cross_entropy": noised, "condition_gain": gain}

    def criterion(self, score: ImageScores) -> float:
        """Return the cross entropy without noise, or its mean with that over noise levels.

        The denoising error does not count: it falls until the end of a training, and does not tell
        which of two models makes better maps.
        """
        if not score.inverted:
            return score.cross_entropy
        return (score.cross_entropy + score.noised_cross_entropy) / 2


def score_tagged_image(
    model: nn.Module,
    image: TaggedImage,
    *,
    data: FoldData,
    inverted: Sequence[int],
    log_snrs: Sequence[float],
) -> ImageScores:
    """Read an image, pad it as training does, and score it under noise of its own."""
    configuration = data.plans.configuration
    padded = slice_images(
        read_image(data.images, image),
        plan=weak_plan_of(configuration),
        patch_size=configuration.patch_size,
    )[0]
    noise = draw_noise(
        padded.shape,
        seed=NOISE_SEED,
        case=image.case,
        samples=range(len(log_snrs)),
        step=image.number,
    )
    return score_image(
        model,
        padded,
        tags=image.tags,
        inverted=inverted,
        log_snrs=log_snrs,
        noise=noise,
        compute=data.compute,
    )
