"""The settings of saliency and masks among which `choose` chooses."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from diffunet.plans import CamSaliency, DiffusionSaliency, MaskPlan, WeakPlan

Sign = Literal["positive", "negative", "absolute"]

FEW_STEPS = 2
"""A number of steps R to try beside the plans': maps of few steps are nearly those of many."""

LOG_SNRS = (0.0, -1.0, 1.0, -2.0, 2.0)
TAUS = (0.0, 0.5, 0.95)
GUIDANCE_SCALES = (1.0, 0.3, 3.0)
CG_DIFF_LOG_SNRS = (-1.5, 0.0)
CG_DIFF_SCALES = (100.0, 10.0)
CAM_STAGES = (-1, -2)
DIFFUSION_METHODS: tuple[DiffusionSaliency, ...] = ("cg_cdm", "cdm", "cg_diff")
CAM_METHODS: tuple[CamSaliency, ...] = ("layer_cam", "grad_cam++", "score_cam", "grad_cam")
"""In the order of P2's tables, the best first."""

SIGNS: tuple[Sign, ...] = ("positive", "negative", "absolute")
SMOOTHINGS_VOXELS = (1.0, 2.0, 3.0)
EDGE_SMOOTHINGS_VOXELS = (0.0, 6.0)
SMOOTHING_FIELDS = ("smoothing_voxels", "edge_smoothing_voxels")
PLANNED_EDGE = 64
"""Edge of a patch, in voxels, for which these hold; they grow with larger patches."""

PROVISIONAL_MASK = MaskPlan(
    smoothing_voxels=2.0, threshold="maximum", maximum_share=0.4, components="strongest"
)
MOST_DRAWS, MOST_CG_DIFF_STEPS = 4, 20
"""Of maps that are compared."""

THRESHOLDS = (
    MaskPlan(threshold="otsu"),
    MaskPlan(threshold="otsu_upper"),
    MaskPlan(threshold="maximum", maximum_share=0.3),
    MaskPlan(threshold="maximum", maximum_share=0.4),
    MaskPlan(threshold="maximum", maximum_share=0.5),
)


def mask_rules(sign: Sign, *, patch_size: Sequence[int]) -> list[MaskPlan]:
    """Return the rules from map to mask that are compared."""
    components: tuple[Literal["all", "strongest"], ...] = ("all", "strongest")
    scale = _scale(patch_size)
    return [
        dataclasses.replace(
            rule,
            sign=sign,
            smoothing_voxels=sigma * scale,
            edge_smoothing_voxels=edge_sigma * scale,
            components=kept,
        )
        for edge_sigma in EDGE_SMOOTHINGS_VOXELS
        for sigma in SMOOTHINGS_VOXELS
        for kept in components
        for rule in THRESHOLDS
    ]


def provisional_mask(sign: Sign, *, patch_size: Sequence[int]) -> MaskPlan:
    """Return the rule between map and mask while maps are compared."""
    sigma = PROVISIONAL_MASK.smoothing_voxels * _scale(patch_size)
    return dataclasses.replace(PROVISIONAL_MASK, sign=sign, smoothing_voxels=sigma)


def compared(plan: WeakPlan) -> WeakPlan:
    """Return a plan whose maps cost less: fewer draws, and fewer steps of CG-Diff."""
    few = {
        name: dataclasses.replace(each, num_draws=min(each.num_draws, MOST_DRAWS))
        for name, each in (("cdm", plan.cdm), ("cg_cdm", plan.cg_cdm))
    }
    coarse = min(plan.cg_diff.num_steps, MOST_CG_DIFF_STEPS)
    return dataclasses.replace(
        plan, **few, cg_diff=dataclasses.replace(plan.cg_diff, num_steps=coarse)
    )


def _scale(patch_size: Sequence[int]) -> float:
    return max(1.0, min(patch_size) / PLANNED_EDGE)
