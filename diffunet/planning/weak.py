"""Weak supervision: noise on images, maps of saliency, and masks from image-level labels (P2).

Settings that depend on the trained model (noise level, steps, sign, smoothing, threshold) start
from values that worked in a pilot. Training chooses them anew at its end, from image-level labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from diffunet.fingerprint.fingerprint import ImageLabelFingerprint
from diffunet.fingerprint.traps import is_predicted_by_position
from diffunet.planning.topology import Topology
from diffunet.plans import MaskPlan, NormalizationPlan, SaliencyMethod, WeakPlan, cam_plan_of

_CHOSEN_LATER = "Training chooses again, from image-level labels."
_SAME_AS_CDM = "As cdm.{name}."

_DIFFUSION_REASONS = {
    "schedule": (
        "A cosine spends most of t where images lose their objects, at log SNR -2 to 3, and "
        "little where they are already clean or pure noise."
    ),
    "num_timesteps": "DDPM's; counts only for the schedules ddpm_linear and ddpm_cosine.",
    "input_scale": (
        "1: images are normalised to unit variance, and a finding of many voxels should not be "
        "decided earlier than the rest of the image."
    ),
    "log_snr_limit": "P1's: at +-20 an image is clean or noise to 1 part in 20,000.",
    "prediction": (
        "A map may start from any noise level, and the error of v is magnified at none of them: "
        "v is the noise where there is little noise, and the image where there is much."
    ),
    "loss_weighting": "With v, the plain error of v: about the same at every noise level.",
    "loss_weighting_bias": "Counts only for the weighting 'sigmoid'.",
}

_CDM_REASONS = {
    "log_snr": (
        "The best of -2, -0.5, 1 and 2.5 on FLAIR slices. P2 counts time steps, whose 400th is at "
        f"-1.4 to 3.6, depending on its schedule. {_CHOSEN_LATER}"
    ),
    "timestep": "None: log SNR means the same for every schedule.",
    "num_steps": "P2's.",
    "log_snr_step": (
        "Ten steps raise log SNR by 0.5, P2's by 0.04 to 0.1: the trajectories must differ by "
        "more than rounding."
    ),
    "tau": (
        "0: the whole difference of the two conditions. With P2's 0.95 it drowns in the noise of "
        "the trajectories."
    ),
    "num_draws": "Averaging over draws removes noise from a map: it falls with the root of "
    "their number.",
    "guidance_scale": "0: without the classifier.",
    "is_guidance_mixed": "Counts only with guidance.",
}

_CG_DIFF_REASONS = {
    "log_snr": (
        f"The noise at step 500 of Wolleb's 1000, where the published method turns. {_CHOSEN_LATER}"
    ),
    "num_steps": "A tenth of the published steps: DDIM's paths are smooth.",
    "guidance_scale": "The published scale.",
}

_CAM_REASONS = {
    "stage": "The last but one: it has twice the resolution of the coarsest stage, and nearly "
    "as much meaning.",
    "is_smoothed": "As in P2's comparison.",
}

_MASK_REASONS = {
    "sign": (
        "Positive: the label makes voxels brighter, as lesions are in FLAIR; absolute maps were "
        f"worse there. {_CHOSEN_LATER}"
    ),
    "smoothing_voxels": f"Single noisy voxels are not a finding. {_CHOSEN_LATER}",
    "edge_smoothing_voxels": f"None, as in P2. {_CHOSEN_LATER}",
    "edge_contrast": (
        "Images are normalised to unit variance; 0.15, 0.3 and 0.6 worked equally well on FLAIR "
        "slices."
    ),
    "threshold": f"P2's code: Otsu's threshold of each slice. {_CHOSEN_LATER}",
    "threshold_value": "Counts only for the threshold 'fixed'.",
    "maximum_share": "Counts only for the threshold 'maximum': half of the peak.",
    "components": f"All: a label may appear in several places. {_CHOSEN_LATER}",
    "unsure_share": "More than half way: a second stage suffers more from an object taught as "
    "background than from one that is left out.",
}

_CHANGES_INTENSITY_REASON = (
    "No: the diffusion should not learn to make brighter, darker, blurred or noisy images, and "
    "intensity often gives a finding away. On FLAIR slices the classifier of noised images was "
    "as good after half the iterations."
)

_IS_MIRRORED_REASON = (
    "Yes: on FLAIR slices the maps of a diffusion gained 0.03 of Dice at no cost, and those of "
    "Layer-CAM 0.07."
)

_SCHEMES_OF_UNIT_VARIANCE = ("zscore", "ct")

_CG_DIFF_MASK = MaskPlan(sign="absolute")
_CAM_MASK = MaskPlan(smoothing_voxels=0.0)


@dataclass(frozen=True, kw_only=True)
class PlannedWeak:
    """The plan of weak supervision, with a reason under each of its keys, and warnings."""

    plan: WeakPlan
    reasons: dict[str, Any]
    warnings: tuple[str, ...]


def plan_weak(
    topology: Topology,
    *,
    image_labels: Mapping[str, ImageLabelFingerprint],
    normalization: Mapping[str, NormalizationPlan],
) -> PlannedWeak:
    """Plan all that weak supervision needs beyond patches, augmentation and optimisation.

    Args:
        topology: of the diffusion of images.
        image_labels: by name.
        normalization: by channel.
    """
    masks = {method: _mask_plan(method) for method in get_args(SaliencyMethod)}
    has_slice_labels = any(label.num_slices for label in image_labels.values())
    plan = WeakPlan(
        network=topology.network,
        cam=cam_plan_of(topology.network),
        masks=masks,
        has_slice_labels=has_slice_labels,
    )
    cg_cdm = {name: _SAME_AS_CDM.format(name=name) for name in _CDM_REASONS} | {
        "guidance_scale": (
            "P2 used 10 for BraTS and 1 for CHAOS. The smaller is taken, since the classifier's "
            f"gradient soon hides the difference between the conditions. {_CHOSEN_LATER}"
        ),
        "is_guidance_mixed": "Guidance then has the same weight against the conditions for "
        "every tau.",
    }
    reasons = {
        "network": topology.reasons,
        "diffusion": _DIFFUSION_REASONS,
        "clean_share": _clean_share_reason(image_labels),
        "changes_intensity": _CHANGES_INTENSITY_REASON,
        "presence_thresholds": _presence_reason(image_labels),
        "has_slice_labels": (
            "Slices of volumes were labelled: presence is decided by slice."
            if has_slice_labels
            else "Cases were labelled, not slices of volumes: presence is decided by case."
        ),
        "is_mirrored": _IS_MIRRORED_REASON,
        "default_saliency": f"The best of the three in P2's tables. {_CHOSEN_LATER}",
        "default_cam": f"The best of the four on CHAOS in P2's tables. {_CHOSEN_LATER}",
        "cdm": _CDM_REASONS,
        "cg_cdm": cg_cdm,
        "cg_diff": _CG_DIFF_REASONS,
        "cam": _CAM_REASONS,
        "masks": {method: _mask_reasons(method) for method in masks},
    }
    return PlannedWeak(plan=plan, reasons=reasons, warnings=_warnings(normalization))


def _warnings(normalization: Mapping[str, NormalizationPlan]) -> tuple[str, ...]:
    others = [
        f"'{channel}' ({plan.scheme})"
        for channel, plan in normalization.items()
        if plan.scheme not in _SCHEMES_OF_UNIT_VARIANCE
    ]
    if not others:
        return ()
    return (
        f"Channel {', '.join(others)} is not normalised to unit variance, for which the noise "
        "levels of weak supervision are meant: rename it, so that it is normalised by zscore, "
        "or raise weak.cdm.log_snr and the other noise levels by about minus the logarithm of "
        "its variance.",
    )


def _mask_plan(method: SaliencyMethod) -> MaskPlan:
    if method == "cg_diff":
        return _CG_DIFF_MASK
    return MaskPlan() if method in ("cdm", "cg_cdm") else _CAM_MASK


def _mask_reasons(method: SaliencyMethod) -> dict[str, str]:
    if method == "cg_diff":
        sign = "As published: image and reconstruction may differ either way."
        return _MASK_REASONS | {"sign": f"{sign} {_CHOSEN_LATER}"}
    if method in ("cdm", "cg_cdm"):
        return _MASK_REASONS
    return _MASK_REASONS | {
        "sign": "Activation maps are rectified: positive values support the label.",
        "smoothing_voxels": "Activation maps have a low resolution, and are smooth already.",
    }


def _presence_reason(image_labels: Mapping[str, ImageLabelFingerprint]) -> str:
    reason = f"0.5 for each label. {_CHOSEN_LATER}"
    shortcuts = [
        f"'{name}' with an AUC of {label.position_auc:.2f}"
        for name, label in image_labels.items()
        if is_predicted_by_position(label)
    ]
    if shortcuts:
        reason += (
            f" Position alone predicts {', '.join(shortcuts)}: a classifier no better than that "
            "has learned the anatomy of the place, not the finding, and its maps show that "
            "anatomy."
        )
    return reason


def _clean_share_reason(image_labels: Mapping[str, ImageLabelFingerprint]) -> str:
    """Return why some images are drawn as they occur, and the others balanced over positions."""
    presence = (
        "A quarter, without noise and as often as they occur, teaches whether a label is present."
    )
    aucs = [label.position_auc for label in image_labels.values() if label.position_auc is not None]
    if not aucs:
        return f"{presence} Half of the others show the label; positions are not known."
    return (
        f"{presence} The others are balanced: position alone predicts a label with an AUC of up "
        f"to {max(aucs):.2f}, and the model would learn what slices at that position look like. "
        "On FLAIR slices, Dice of maps at the best threshold was 0.59 with balance, 0.36 without."
    )
