"""Settings of saliency and masks, chosen after a training from image-level labels alone.

One setting after the other is varied around the plans' values. Settings are compared by the
*erasure gain* of their masks on validation images that show the label: how much further the label's
logit falls when the mask is erased than when copies of it elsewhere are erased (`erasure`), over
the root of the mask's area (`Gains.overlap`). Among the rules from map to mask, the best is taken.
Among all other settings, the first is taken that is as good as the best within one standard error
of their paired difference. Settings of the user are not varied.
"""

import dataclasses
import functools
import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from diffunet.build import weak_plan_of
from diffunet.methods import METHODS
from diffunet.parallel import Progress
from diffunet.planning.choice import Choice
from diffunet.plans import MaskPlan, SaliencyMethod, TrajectoryPlan, WeakPlan
from diffunet.training.distributed import Ranks
from diffunet.training.fold_data import FoldData
from diffunet.wsss.choice.candidates import (
    CAM_METHODS,
    CAM_STAGES,
    CG_DIFF_LOG_SNRS,
    CG_DIFF_SCALES,
    DIFFUSION_METHODS,
    FEW_STEPS,
    GUIDANCE_SCALES,
    LOG_SNRS,
    SIGNS,
    SMOOTHING_FIELDS,
    TAUS,
    Sign,
    compared,
    mask_rules,
    provisional_mask,
)
from diffunet.wsss.choice.controls import body_of
from diffunet.wsss.choice.erasure import erasure_gain, with_controls
from diffunet.wsss.choice.gains import Gains
from diffunet.wsss.choice.tagged_images import (
    NOISE_SEED,
    TaggedImage,
    images_to_compare,
    read_image,
)
from diffunet.wsss.masks.pseudo_masks import mask_of, oriented_map, smoothed_map, threshold_of
from diffunet.wsss.saliency.maps import mirror_axes_of, presence_logits, saliency_map, slice_images

logger = logging.getLogger(__name__)

STEP_FIELDS = ("num_steps", "log_snr_step", "tau")
"""Of the trajectories of CDM, which those of CG-CDM take over."""

THRESHOLD_FIELDS = {"threshold", "threshold_value"}
NEVER_CHOSEN = {"edge_contrast", "unsure_share"}
"""Of a rule from map to mask."""


@dataclass(frozen=True, kw_only=True)
class SaliencyChoices:
    """The choices, and how much the resulting masks explain.

    Attributes:
        choices: for the fold's plans, by path.
        gains: of each method's masks, by its name.
        labels: the label of each image's mask, one index per image of `gains`.
    """

    choices: dict[str, Choice[Any]] = field(default_factory=dict)
    gains: dict[SaliencyMethod, Gains] = field(default_factory=dict)
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SaliencyChooser:
    """Compares settings of one trained model.

    Attributes:
        images: with the label, an index, whose saliency is asked for.
        kept: paths of plan fields that stay as they are.
    """

    data: FoldData
    model: nn.Module
    images: Sequence[tuple[TaggedImage, int]]
    kept: frozenset[str]
    ranks: Ranks
    progress: Progress

    def choose(self) -> SaliencyChoices:
        """Return the choices; none where no image shows a label."""
        if not self.images:
            return SaliencyChoices()
        plan = weak_plan_of(self.data.plans.configuration)
        if "cdm" in METHODS[self.data.plans.method].saliency:
            return self._choose_diffusion(plan)
        return self._choose_cams(plan)

    @property
    def _labels(self) -> tuple[int, ...]:
        return tuple(label for _, label in self.images)

    def _choose_diffusion(self, plan: WeakPlan) -> SaliencyChoices:
        choices: dict[str, Choice[Any]] = {}
        num_steps = plan.cdm.num_steps
        few = num_steps if self._is_kept("cdm.num_steps") else min(num_steps, FEW_STEPS)
        steps = tuple(sorted({few, num_steps}))
        plan, sign = self._vary_noise(_with(plan, "cdm.num_steps", few), choices)
        plan = self._vary(plan, "cdm.num_steps", steps, "cdm", sign, choices)
        plan = self._vary(plan, "cdm.tau", TAUS, "cdm", sign, choices)
        plan = self._vary_guided(plan, sign, choices)
        plan = self._vary(plan, "cg_diff.log_snr", CG_DIFF_LOG_SNRS, "cg_diff", sign, choices)
        plan = self._vary(plan, "cg_diff.guidance_scale", CG_DIFF_SCALES, "cg_diff", sign, choices)
        gains = self._choose_masks(plan, DIFFUSION_METHODS, sign, choices)
        if not self._is_kept("default_saliency"):
            choices["weak.default_saliency"] = _best_method(gains)
        return SaliencyChoices(choices=choices, gains=gains, labels=self._labels)

    def _choose_cams(self, plan: WeakPlan) -> SaliencyChoices:
        choices: dict[str, Choice[Any]] = {}
        plan = self._vary(plan, "cam.stage", CAM_STAGES, "layer_cam", "positive", choices)
        plan = self._vary(plan, "cam.is_smoothed", (True, False), "layer_cam", "positive", choices)
        gains = self._choose_masks(plan, CAM_METHODS, "positive", choices)
        if not self._is_kept("default_cam"):
            choices["weak.default_cam"] = _best_method(gains)
        return SaliencyChoices(choices=choices, gains=gains, labels=self._labels)

    def _vary_noise(self, plan: WeakPlan, choices: dict[str, Choice[Any]]) -> tuple[WeakPlan, Sign]:
        """Choose the noise level and, from the same maps, the sign.

        Signs come in the order of SIGNS: an "absolute" map includes any difference, so it must beat
        both others at every level by more than a standard error.
        """
        levels = self._log_snrs(plan.cdm, "cdm")
        masks = [self._provisional(sign) for sign in SIGNS]
        plans = [_with(plan, "cdm.log_snr", value) for value in levels]
        by_level = self._gains([(each, "cdm", masks) for each in plans], "noise level")
        pairs: list[tuple[float, Sign]] = [(level, sign) for sign in SIGNS for level in levels]
        order = [levels.index(level) * len(SIGNS) + SIGNS.index(sign) for level, sign in pairs]
        gains = by_level.of(order)
        chosen = gains.first_as_good()
        level, sign = pairs[chosen]
        if len(levels) > 1:
            names = [f"{value:g} {name}" for value, name in pairs]
            choices["weak.cdm.log_snr"] = Choice(level, gains.describe(names, chosen))
        return plans[levels.index(level)], sign

    def _vary_guided(self, plan: WeakPlan, sign: Sign, choices: dict[str, Choice[Any]]) -> WeakPlan:
        """Choose noise level and guidance of CG-CDM together; the steps are CDM's."""
        for name in STEP_FIELDS:
            path = f"cg_cdm.{name}"
            if not self._is_kept(path):
                choices[f"weak.{path}"] = Choice(getattr(plan.cdm, name), f"As cdm.{name}.")
                plan = _with(plan, path, getattr(plan.cdm, name))
        levels = self._log_snrs(plan.cg_cdm, "cg_cdm")
        is_scale_kept = self._is_kept("cg_cdm.guidance_scale")
        scales = (plan.cg_cdm.guidance_scale,) if is_scale_kept else GUIDANCE_SCALES
        pairs = [(level, scale) for level in levels for scale in scales]
        plans = [
            _with(_with(plan, "cg_cdm.log_snr", level), "cg_cdm.guidance_scale", scale)
            for level, scale in pairs
        ]
        if len(plans) == 1:
            return plans[0]
        mask = self._provisional(sign)
        gains = self._gains([(each, "cg_cdm", [mask]) for each in plans], "cg_cdm")
        chosen = gains.first_as_good()
        names = [f"log SNR {level:g} with scale {scale:g}" for level, scale in pairs]
        reason = gains.describe(names, chosen)
        if len(levels) > 1:
            choices["weak.cg_cdm.log_snr"] = Choice(pairs[chosen][0], reason)
            reason = "As cg_cdm.log_snr says."
        if len(scales) > 1:
            choices["weak.cg_cdm.guidance_scale"] = Choice(pairs[chosen][1], reason)
        return plans[chosen]

    def _is_kept(self, path: str) -> bool:
        return f"weak.{path}" in self.kept

    def _log_snrs(self, plan: TrajectoryPlan, name: str) -> tuple[float, ...]:
        """Return the noise levels to try: one where the user named it, or a time step."""
        is_kept = plan.timestep is not None or self._is_kept(f"{name}.log_snr")
        return (plan.log_snr,) if is_kept else LOG_SNRS

    def _vary(
        self,
        plan: WeakPlan,
        path: str,
        values: Sequence[Any],
        saliency: SaliencyMethod,
        sign: Sign,
        choices: dict[str, Choice[Any]],
    ) -> WeakPlan:
        """Choose one field; all others stay as they are."""
        if self._is_kept(path) or len(values) == 1:
            return plan
        mask = self._provisional(sign)
        plans = [_with(plan, path, value) for value in values]
        gains = self._gains([(each, saliency, [mask]) for each in plans], path)
        chosen = gains.first_as_good()
        choices[f"weak.{path}"] = Choice(values[chosen], gains.describe(values, chosen))
        return plans[chosen]

    def _choose_masks(
        self,
        plan: WeakPlan,
        methods: Sequence[SaliencyMethod],
        sign: Sign,
        choices: dict[str, Choice[Any]],
    ) -> dict[SaliencyMethod, Gains]:
        """Choose the rule from map to mask of each method; return its gains."""
        found: dict[SaliencyMethod, Gains] = {}
        for method in methods:
            kept = self._kept_fields(method)
            rules = self._rules(plan.mask(method), sign, kept=kept)
            gains = self._gains([(plan, method, rules)], f"masks of {method}")
            chosen = gains.best()
            is_explaining = gains.is_above_zero(chosen)
            chosen = chosen if is_explaining else 0
            found[method] = gains.of([chosen])
            gain, area = float(found[method].gain.mean()), float(found[method].area.mean())
            if not is_explaining and self.ranks.is_first:
                logger.warning(
                    "%s: erasing its masks does not clearly cost the classifier more than erasing "
                    "copies of them elsewhere (%s): the maps may not show the label; look at them, "
                    "and train longer or with more cases",
                    method,
                    found[method].in_words(),
                )
            reason = (
                f"Of {len(rules)} rules the largest erasure gain over the root of the mask's share "
                f"of the image, on {len(gains.gain)} validation images (gain {gain:.2f}, share "
                f"{area:.1%}); no mask was opened."
                if is_explaining
                else f"On {len(gains.gain)} validation images none of {len(rules)} rules makes "
                "masks whose erasure clearly costs the classifier more than erasing copies of them "
                "elsewhere (by two standard errors): the plans' rule is kept."
            )
            if kept:
                reason = f"{reason} Set by the user: {', '.join(sorted(kept))}."
            choices[f"weak.masks.{method}"] = Choice(rules[chosen], reason)
        return found

    def _kept_fields(self, method: SaliencyMethod) -> set[str]:
        """Return the fields of a rule that the user set; the threshold's two go together."""
        names = {each.name for each in dataclasses.fields(MaskPlan)}
        kept = {name for name in names if self._is_kept(f"masks.{method}.{name}")}
        return kept | THRESHOLD_FIELDS if kept & THRESHOLD_FIELDS else kept

    def _rules(self, planned: MaskPlan, sign: Sign, *, kept: Set[str]) -> list[MaskPlan]:
        """Return the plans' rule and its alternatives; fields that are kept are the same in all.

        The alternatives have the sign `sign`, that of the plans' rule may be another one.
        """
        rules = [planned, dataclasses.replace(planned, sign=sign)]
        rules += mask_rules(sign, patch_size=self._patch_size)
        same = {name: getattr(planned, name) for name in kept | NEVER_CHOSEN}
        return list(dict.fromkeys(dataclasses.replace(rule, **same) for rule in rules))

    @property
    def _patch_size(self) -> tuple[int, ...]:
        return self.data.plans.configuration.patch_size

    def _provisional(self, sign: Sign) -> MaskPlan:
        return provisional_mask(sign, patch_size=self._patch_size)

    def _gains(
        self,
        settings: Sequence[tuple[WeakPlan, SaliencyMethod, Sequence[MaskPlan]]],
        description: str,
    ) -> Gains:
        """Return the gains of all masks of all settings; ranks share the images."""
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
        patch_size = self._patch_size
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
            mirror_axes=mirror_axes_of(self.data.plans.configuration),
        ).numpy()
        smooth = functools.cache(
            lambda *smoothing: smoothed_map(
                prepared,
                plan=dataclasses.replace(masks[0], **dict(smoothing)),
                image=pixels.numpy(),
            )
        )
        made = []
        for mask_plan in masks:
            smoothing = [(name, getattr(mask_plan, name)) for name in SMOOTHING_FIELDS]
            oriented = oriented_map(smooth(*smoothing), plan=mask_plan)
            made.append(mask_of(oriented, threshold_of(oriented, plan=mask_plan), plan=mask_plan))
        distinct = {mask.tobytes(): mask for mask in made}  # many rules make the same mask
        body = body_of(pixels.numpy())
        changed = [with_controls(pixels.numpy(), mask, body) for mask in distinct.values()]
        padded = torch.cat(
            [
                slice_images(torch.from_numpy(each), plan=plan, patch_size=patch_size)
                for of_mask in changed
                for each in of_mask
            ]
        )
        logits = torch.cat(
            [
                presence_logits(self.model, chunk, compute=self.data.compute)
                for chunk in padded.split(self.data.compute.batch_size(patch_size))
            ]
        )
        by_mask = logits[:, label].split([len(of_mask) for of_mask in changed])
        gains = dict(zip(distinct, (erasure_gain(each.numpy()) for each in by_mask), strict=True))
        return np.array([(gains[mask.tobytes()], mask.mean()) for mask in made])


def choose_saliency(
    data: FoldData,
    model: nn.Module,
    images: Sequence[TaggedImage],
    *,
    ranks: Ranks,
    progress: Progress,
) -> SaliencyChoices:
    """Choose how a trained model makes maps and masks; opens no mask.

    Args:
        images: of the validation, in an order of which any first part is a fair selection.

    Returns:
        The same on every rank.
    """
    compared_images = images_to_compare(data, images)
    if not compared_images and ranks.is_first:
        logger.warning(
            "none of the %d validation images shows a label: noise level, guidance and the rule "
            "from map to mask keep the plans' values; train a fold whose validation cases show "
            "one, or set them yourself",
            len(images),
        )
    chooser = SaliencyChooser(
        data=data,
        model=model,
        images=compared_images,
        kept=frozenset(data.plans.set_by_user),
        ranks=ranks,
        progress=progress,
    )
    return chooser.choose()


def _with(plan: WeakPlan, path: str, value: Any) -> WeakPlan:
    group, name = path.split(".")
    changed = dataclasses.replace(getattr(plan, group), **{name: value})
    return dataclasses.replace(plan, **{group: changed})


def _best_method(found: dict[SaliencyMethod, Gains]) -> Choice[SaliencyMethod]:
    """Choose among methods, in order of preference, each with the masks chosen for it."""
    gains = Gains.beside(list(found.values()))
    names = list(found)
    chosen = gains.first_as_good()
    return Choice(names[chosen], gains.describe(names, chosen))
