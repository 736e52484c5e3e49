"""How long the choice of settings takes, counted on the choice itself before anything is trained.

Which settings are compared next depends on which was chosen: here it always is the first, as where
none is clearly better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from diffunet.inference.sliding_window import mirrorings
from diffunet.parallel import without_progress
from diffunet.planning.cost import Work
from diffunet.plans import MaskPlan, SaliencyMethod, WeakPlan
from diffunet.training.distributed import Ranks
from diffunet.training.fold_data import FoldData
from diffunet.wsss.choice.candidates import compared
from diffunet.wsss.choice.choose import SaliencyChooser
from diffunet.wsss.choice.controls import NUM_CONTROLS
from diffunet.wsss.choice.gains import Gains
from diffunet.wsss.choice.tagged_images import TaggedImage, images_to_compare
from diffunet.wsss.saliency.maps import mirror_axes_of, num_draws_of

_PASSES_OF_A_GRADIENT = 2.0  # with respect to the image, not to weights
_PASSES_OF_SMOOTHING = 6  # of a class activation map: `CamPlan.is_smoothed`
_NUM_CLEAR = 2  # images of one gain: a single one would be warned of as unclear
_DISTINCT_SHARE = 0.6  # of the masks that many rules make of one map: the mean of two trainings


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Forward passes of one image through the networks; a gradient counts as two."""

    denoiser: float = 0.0
    classifier: float = 0.0


def passes_of_choice(data: FoldData, images: Sequence[TaggedImage]) -> Passes:
    """Return the passes of `choose_saliency` on all its images together, for these images."""
    counter = _Counter(
        data=data,
        model=nn.Identity(),
        images=images_to_compare(data, images),
        kept=frozenset(data.plans.set_by_user),
        ranks=Ranks(),
        progress=without_progress,
    )
    counter.choose()
    return Passes(
        denoiser=sum(each.denoiser for each in counter.found),
        classifier=sum(each.classifier for each in counter.found),
    )


def seconds_of_choice(data: FoldData, images: Sequence[TaggedImage], *, work: Work) -> float:
    """Return how long `choose_saliency` takes on two cores of a CPU.

    Args:
        work: of the model's denoiser (`draw`) and classifier (`image`).
    """
    passes = passes_of_choice(data, images)
    voxels = math.prod(data.plans.configuration.patch_size)
    return voxels * (passes.denoiser * work.draw + passes.classifier * work.image)


@dataclass(frozen=True, kw_only=True)
class _Counter(SaliencyChooser):
    """Goes the way of a choice without making any map."""

    found: list[Passes] = field(default_factory=list)

    def _gains(
        self,
        settings: Sequence[tuple[WeakPlan, SaliencyMethod, Sequence[MaskPlan]]],
        description: str,
    ) -> Gains:
        for plan, saliency, masks in settings:
            passes = self._of_map(compared(plan), saliency)
            erased = (1 + NUM_CONTROLS) * max(1.0, _DISTINCT_SHARE * len(masks))
            number = len(self.images)
            self.found.append(
                Passes(
                    denoiser=number * passes.denoiser,
                    classifier=number * (passes.classifier + erased),
                )
            )
        shape = (_NUM_CLEAR, sum(len(masks) for *_, masks in settings))
        return Gains(gain=np.ones(shape), area=np.ones(shape))

    def _of_map(self, plan: WeakPlan, saliency: SaliencyMethod) -> Passes:
        num_mirrored = len(mirrorings(mirror_axes_of(self.data.plans.configuration)))
        if saliency in ("cdm", "cg_cdm"):
            trajectory = plan.cdm if saliency == "cdm" else plan.cg_cdm
            steps = 2 * num_draws_of(saliency, plan=plan) * trajectory.num_steps
            is_guided = trajectory.guidance_scale != 0
            return Passes(denoiser=steps, classifier=is_guided * steps * _PASSES_OF_A_GRADIENT)
        if saliency == "cg_diff":
            steps = num_mirrored * plan.cg_diff.num_steps
            return Passes(denoiser=2 * steps, classifier=steps * _PASSES_OF_A_GRADIENT)
        number = num_mirrored * (_PASSES_OF_SMOOTHING if plan.cam.is_smoothed else 1)
        passes = _PASSES_OF_A_GRADIENT
        if saliency == "score_cam":
            passes = 1.0 + plan.network.channels[plan.cam.stage]
        return Passes(classifier=number * passes)
