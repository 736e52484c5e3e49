"""Settings of saliency and masks, chosen after a training from image-level labels alone.

One setting after the other is varied around the plans' values. What is compared is the *erasure
gain* of the masks that come out, on validation images that show the label: by how much the logit of
the label falls further when the mask is erased than when its mirror image is (`erasure`). Among
settings that are as good as the best within one standard error of their paired difference, the
first is taken, and of the rules from map to mask the one of the smallest masks.
"""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from diffunet.build import weak_plan_of
from diffunet.parallel import Progress
from diffunet.planning.choice import Choice
from diffunet.plans import CamSaliency, DiffusionSaliency, MaskPlan, SaliencyMethod, WeakPlan
from diffunet.training.distributed import Ranks
from diffunet.training.fold_data import FoldData
from diffunet.wsss.erasure import with_control
from diffunet.wsss.pseudo_masks import mask_of, oriented_map, smoothed_map, threshold_of
from diffunet.wsss.saliency import mirror_axes_of, presence_logits, saliency_map, slice_images
from diffunet.wsss.tagged_images import TaggedImage, read_image
from diffunet.wsss.validation import NOISE_SEED

logger = logging.getLogger(__name__)

Sign = Literal["positive", "negative", "absolute"]

NUM_IMAGES = 24
"""Validation images that show a label, on which settings are compared; at most as many as the plans
have cases for the final validation."""

MOST_DRAWS, MOST_CG_DIFF_STEPS = 4, 20
"""Of the maps that are compared."""

FEW_STEPS = 2
"""R that is tried beside the plans': the maps of few steps are nearly those of many."""

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
"""Edge of a patch in voxels that these are for; they grow with larger ones."""

PROVISIONAL_MASK = MaskPlan(
    smoothing_voxels=2.0, threshold="maximum", maximum_share=0.4, components="strongest"
)
"""Between map and mask while maps are compared."""


THRESHOLDS = (
    MaskPlan(threshold="otsu"),
    MaskPlan(threshold="otsu_upper"),
    MaskPlan(threshold="maximum", maximum_share=0.3),
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


def _scale(patch_size: Sequence[int]) -> float:
    return max(1.0, min(patch_size) / PLANNED_EDGE)


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What erasing the masks of several settings does, image by image.

    Attributes:
        gain: (image, setting), in logits.
        area: (image, setting), share of the image that is masked.
    """

    gain: Float[np.ndarray, "image setting"]
    area: Float[np.ndarray, "image setting"]

    def best(self, *, prefers_small: bool = False) -> int:
        """Return the setting to take.

        Args:
            prefers_small: among equally good ones the smallest masks, otherwise the first.
        """
        best = int(self.gain.mean(axis=0).argmax())
        shortfall = self.gain[:, [best]] - self.gain
        error = shortfall.std(axis=0, ddof=1) / np.sqrt(len(self.gain)) if len(self.gain) > 1 else 0
        is_as_good = shortfall.mean(axis=0) <= error
        if not prefers_small:
            return int(np.flatnonzero(is_as_good)[0])
        areas = np.where(is_as_good, self.area.mean(axis=0), np.inf)
        return int(areas.argmin())

    def is_above_zero(self, setting: int) -> bool:
        """Return whether masks explain more than their mirror images, by two standard errors."""
        gain = self.gain[:, setting]
        error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
        return bool(gain.mean() > 2 * error)

    def describe(self, names: Sequence[object], chosen: int) -> str:
        """Return the reason for a choice in words."""
        means = ", ".join(
            f"{name}: {gain:.2f}" for name, gain in zip(names, self.gain.mean(axis=0), strict=True)
        )
        return (
            f"{names[chosen]}: the first that is as good as the best within one standard error, by "
            "how much further the classifier's logit falls where the mask is erased than where its "
            f"mirror image is, on {len(self.gain)} validation images ({means}); no mask was opened."
        )


@dataclass(frozen=True, kw_only=True)
class SaliencyChooser:
    """Compares settings of one trained model.

    Attributes:
        images: with the label, an index, whose saliency is asked for.
    """

    data: FoldData
    model: nn.Module
    images: Sequence[tuple[TaggedImage, int]]
    ranks: Ranks
    progress: Progress

    def choose(self) -> dict[str, Choice[Any]]:
        """Return the choices for the fold's plans, by path; empty where no image shows a label."""
        if not self.images:
            return {}
        plan = weak_plan_of(self.data.plans.resolved)
        if self.data.plans.method == "cdm":
            return self._choose_diffusion(plan)
        return self._choose_cams(plan)

    def _choose_diffusion(self, plan: WeakPlan) -> dict[str, Choice[Any]]:
        choices: dict[str, Choice[Any]] = {}
        sign: Sign = "positive"
        few = min(plan.cdm.num_steps, FEW_STEPS)
        steps = tuple(sorted({few, plan.cdm.num_steps}))
        if plan.cdm.timestep is None:
            plan, sign = self._vary_noise(_with(plan, "cdm.num_steps", few), choices)
        plan = self._vary(plan, "cdm.num_steps", steps, "cdm", sign, choices)
        plan = self._vary(plan, "cdm.tau", TAUS, "cdm", sign, choices)
        plan = self._vary_guided(plan, sign, choices)
        plan = self._vary(plan, "cg_diff.log_snr", CG_DIFF_LOG_SNRS, "cg_diff", sign, choices)
        plan = self._vary(plan, "cg_diff.guidance_scale", CG_DIFF_SCALES, "cg_diff", sign, choices)
        gains = self._choose_masks(plan, DIFFUSION_METHODS, sign, choices)
        choices["weak.default_saliency"] = _best_method(gains)
        return choices

    def _vary_guided(self, plan: WeakPlan, sign: Sign, choices: dict[str, Choice[Any]]) -> WeakPlan:
        """Choose noise level and guidance of CG-CDM together; the rest is CDM's."""
        guided = dataclasses.replace(
            plan.cdm,
            guidance_scale=plan.cg_cdm.guidance_scale,
            is_guidance_mixed=plan.cg_cdm.is_guidance_mixed,
        )
        for name in ("num_steps", "log_snr_step", "tau"):
            choices[f"weak.cg_cdm.{name}"] = Choice(getattr(guided, name), f"As cdm.{name}.")
        plan = dataclasses.replace(plan, cg_cdm=guided)
        levels = (plan.cdm.log_snr,) if plan.cdm.timestep is not None else LOG_SNRS
        pairs = [(level, scale) for level in levels for scale in GUIDANCE_SCALES]
        plans = [
            _with(_with(plan, "cg_cdm.log_snr", level), "cg_cdm.guidance_scale", scale)
            for level, scale in pairs
        ]
        mask = self._provisional(sign)
        gains = self._gains([(each, "cg_cdm", [mask]) for each in plans], "cg_cdm")
        chosen = gains.best()
        names = [f"log SNR {level:g} with scale {scale:g}" for level, scale in pairs]
        reason = gains.describe(names, chosen)
        choices["weak.cg_cdm.log_snr"] = Choice(pairs[chosen][0], reason)
        choices["weak.cg_cdm.guidance_scale"] = Choice(pairs[chosen][1], "As cg_cdm.log_snr says.")
        return plans[chosen]

    def _choose_cams(self, plan: WeakPlan) -> dict[str, Choice[Any]]:
        choices: dict[str, Choice[Any]] = {}
        plan = self._vary(plan, "cam.stage", CAM_STAGES, "layer_cam", "positive", choices)
        plan = self._vary(plan, "cam.is_smoothed", (True, False), "layer_cam", "positive", choices)
        gains = self._choose_masks(plan, CAM_METHODS, "positive", choices)
        choices["weak.default_cam"] = _best_method(gains)
        return choices

    def _vary_noise(self, plan: WeakPlan, choices: dict[str, Choice[Any]]) -> tuple[WeakPlan, Sign]:
        """Choose the noise level and, from the same maps, the sign.

        Signs come in the order of SIGNS: "absolute" takes in whatever differs, and has to be better
        than both others at every level by more than a standard error.
        """
        masks = [self._provisional(sign) for sign in SIGNS]
        plans = [_with(plan, "cdm.log_snr", value) for value in LOG_SNRS]
        by_level = self._gains([(each, "cdm", masks) for each in plans], "noise level")
        pairs: list[tuple[float, Sign]] = [(level, sign) for sign in SIGNS for level in LOG_SNRS]
        order = [LOG_SNRS.index(level) * len(SIGNS) + SIGNS.index(sign) for level, sign in pairs]
        gains = Gains(gain=by_level.gain[:, order], area=by_level.area[:, order])
        chosen = gains.best()
        level, sign = pairs[chosen]
        names = [f"{value:g} {name}" for value, name in pairs]
        choices["weak.cdm.log_snr"] = Choice(level, gains.describe(names, chosen))
        return plans[LOG_SNRS.index(level)], sign

    def _vary(
        self,
        plan: WeakPlan,
        path: str,
        values: Sequence[Any],
        saliency: SaliencyMethod,
        sign: Sign,
        choices: dict[str, Choice[Any]],
    ) -> WeakPlan:
        """Choose one field, all others as they are."""
        mask = self._provisional(sign)
        plans = [_with(plan, path, value) for value in values]
        gains = self._gains([(each, saliency, [mask]) for each in plans], path)
        chosen = gains.best()
        choices[f"weak.{path}"] = Choice(values[chosen], gains.describe(values, chosen))
        return plans[chosen]

    def _choose_masks(
        self,
        plan: WeakPlan,
        methods: Sequence[SaliencyMethod],
        sign: Sign,
        choices: dict[str, Choice[Any]],
    ) -> dict[SaliencyMethod, Float[np.ndarray, " image"]]:
        """Choose the rule from map to mask of each method; returns the gains that it has then."""
        found: dict[SaliencyMethod, Float[np.ndarray, " image"]] = {}
        for method in methods:
            rules = mask_rules(sign, patch_size=self.data.plans.resolved.patch_size)
            gains = self._gains([(plan, method, rules)], f"masks of {method}")
            chosen = gains.best(prefers_small=True)
            rule = dataclasses.replace(rules[chosen], unsure_share=plan.mask(method).unsure_share)
            best = gains.gain.mean(axis=0)
            found[method] = gains.gain[:, chosen]
            if not gains.is_above_zero(chosen) and self.ranks.is_first:
                logger.warning(
                    "%s: erasing its masks costs the classifier no more than erasing their mirror "
                    "images (erasure gain %.2f): the maps may show nothing of the label; look at "
                    "the pictures, and train longer or with more cases",
                    method,
                    best[chosen],
                )
            reason = (
                f"The smallest masks ({gains.area.mean(axis=0)[chosen]:.1%} of the image) of those "
                f"{len(rules)} rules whose erasure gain, {best[chosen]:.2f}, is the best, "
                f"{best.max():.2f}, within one standard error, on {len(gains.gain)} validation "
                "images; no mask was opened."
            )
            choices[f"weak.masks.{method}"] = Choice(rule, reason)
        return found

    def _provisional(self, sign: Sign) -> MaskPlan:
        scale = _scale(self.data.plans.resolved.patch_size)
        sigma = PROVISIONAL_MASK.smoothing_voxels * scale
        return dataclasses.replace(PROVISIONAL_MASK, sign=sign, smoothing_voxels=sigma)

    def _gains(
        self,
        settings: Sequence[tuple[WeakPlan, SaliencyMethod, Sequence[MaskPlan]]],
        description: str,
    ) -> Gains:
        """Return the gains of all masks of all settings, images shared among ranks."""
        own = self.images[self.ranks.rank :: self.ranks.num_ranks]
        rows = [
            np.concatenate([self._of_image(*item, *setting) for setting in settings])
            for item in self.progress(own, len(own), f"choosing {description}")
        ]
        parts = self.ranks.gather(rows)
        num_ranks = self.ranks.num_ranks
        values = np.stack(
            [parts[index % num_ranks][index // num_ranks] for index in range(len(self.images))]
        )
        return Gains(gain=values[..., 0], area=values[..., 1])

    def _of_image(
        self,
        image: TaggedImage,
        label: int,
        plan: WeakPlan,
        saliency: SaliencyMethod,
        masks: Sequence[MaskPlan],
    ) -> Float[np.ndarray, "mask 2"]:
        """Return gain and area of the masks that one map gives."""
        patch_size = self.data.plans.resolved.patch_size
        pixels = read_image(self.data.images, image)
        prepared = saliency_map(
            [self.model],
            pixels,
            saliency=saliency,
            plan=compared(plan),
            patch_size=patch_size,
            tags=torch.tensor([image.tags], dtype=torch.float32),
            label=label,
            slices=[0],
            seed=NOISE_SEED,
            case=f"{image.case} {image.number}",
            compute=self.data.compute,
            mirror_axes=mirror_axes_of(self.data.plans.resolved),
        ).numpy()
        found = []
        changed = []
        smooth = functools.cache(
            lambda *smoothing: smoothed_map(
                prepared,
                plan=dataclasses.replace(masks[0], **dict(smoothing)),
                image=pixels.numpy(),
            )
        )
        for mask_plan in masks:
            smoothing = [(name, getattr(mask_plan, name)) for name in SMOOTHING_FIELDS]
            oriented = oriented_map(smooth(*smoothing), plan=mask_plan)
            mask = mask_of(oriented, threshold_of(oriented, plan=mask_plan), plan=mask_plan)
            found.append(float(mask.mean()))
            changed.extend(with_control(pixels.numpy(), mask))
        padded = torch.cat(
            [
                slice_images(torch.from_numpy(each), plan=plan, patch_size=patch_size)
                for each in changed
            ]
        )
        logits = torch.cat(
            [
                presence_logits(self.model, chunk, compute=self.data.compute)
                for chunk in padded.split(self.data.compute.batch_size(patch_size))
            ]
        )
        without, control = logits[:, label].reshape(-1, 2).T.numpy()
        return np.stack([control - without, found], axis=1)


def choose_saliency(
    data: FoldData,
    model: nn.Module,
    images: Sequence[TaggedImage],
    *,
    ranks: Ranks,
    progress: Progress,
) -> dict[str, Choice[Any]]:
    """Choose how a trained model makes maps and masks; opens no mask.

    Args:
        images: of the validation, in an order of which every beginning is worth looking at.

    Returns:
        Choices for the fold's plans, by path; the same on every rank.
    """
    shown = [
        (image, label)
        for image in images
        for label, is_present in enumerate(image.tags)
        if is_present
    ]
    num_images = min(NUM_IMAGES, data.plans.resolved.training.num_final_validation_cases)
    chooser = SaliencyChooser(
        data=data, model=model, images=shown[:num_images], ranks=ranks, progress=progress
    )
    return chooser.choose()


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


def _with(plan: WeakPlan, path: str, value: Any) -> WeakPlan:
    group, name = path.split(".")
    changed = dataclasses.replace(getattr(plan, group), **{name: value})
    return dataclasses.replace(plan, **{group: changed})


def _best_method(
    found: dict[SaliencyMethod, Float[np.ndarray, " image"]],
) -> Choice[SaliencyMethod]:
    """Choose among methods, the likelier ones first, each with the masks chosen for it."""
    gain = np.stack(list(found.values()), axis=1)
    gains = Gains(gain=gain, area=np.zeros_like(gain))
    names = list(found)
    chosen = gains.best()
    return Choice(names[chosen], gains.describe(names, chosen))
