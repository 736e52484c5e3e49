"""The blocks of a configuration that follow from its grid and patch: masks and training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffunet.fingerprint.fingerprint import Fingerprint, LabelFingerprint
from diffunet.planning.choice import Choice, sentence
from diffunet.planning.decision_size import choose_decision_size
from diffunet.planning.diffusion import choose_input_scale, choose_loss_weighting_bias
from diffunet.planning.raters import choose_raters
from diffunet.planning.sampling import choose_num_samples, choose_num_steps
from diffunet.planning.training import choices_by_iterations, choose_num_iterations
from diffunet.planning.whole_image import GridChoice
from diffunet.plans import DiffusionPlan, SamplingPlan, TrainingPlan


@dataclass(frozen=True, kw_only=True)
class PlannedMasks:
    """What a diffusion on masks needs; reasons by block."""

    diffusion: DiffusionPlan
    sampling: SamplingPlan
    reasons: dict[str, dict[str, str]]
    warnings: tuple[str, ...]


def plan_masks(
    chosen: GridChoice, fingerprint: Fingerprint, *, encoding: Choice[str]
) -> PlannedMasks:
    """Plan noise, loss and sampling of masks."""
    axes = chosen.axes
    decision_size = choose_decision_size(
        fingerprint.labels,
        dimensions=axes.dimensions,
        is_slicewise=axes.is_slicewise,
        voxel_edge_mm=axes.voxel_edge_mm,
        patch_edge=_mean_edge(chosen.patch.patch_size) * axes.spacing_ratio,
        spacing_ratio=axes.spacing_ratio,
    )
    input_scale = choose_input_scale(decision_size)
    raters = choose_raters(fingerprint.raters)
    diffusion, diffusion_reasons = _plan_diffusion(input_scale, raters, encoding=encoding)
    sampling, sampling_reasons = _plan_sampling(fingerprint.labels, decision_size, input_scale)
    warning = input_scale.warning
    if warning and fingerprint.image_labels is not None:
        warning += " It matters only for -m diffusion."
    return PlannedMasks(
        diffusion=diffusion,
        sampling=sampling,
        reasons={"diffusion": diffusion_reasons, "sampling": sampling_reasons},
        warnings=(warning,) if warning else (),
    )


def plan_training(chosen: GridChoice, *, num_cases: int) -> tuple[TrainingPlan, dict[str, str]]:
    """Plan the optimisation, with the reason of each value that depends on the data."""
    axes, patch = chosen.axes, chosen.patch
    patches_per_case = axes.num_slices * math.prod(
        max(1.0, size / edge)
        for size, edge in zip(axes.median_shape, patch.patch_size, strict=True)
    )
    num_iterations = choose_num_iterations(
        num_cases=num_cases, patches_per_case=patches_per_case, batch_size=patch.batch_size
    )
    choices = choices_by_iterations(num_iterations.value)
    plan = TrainingPlan(
        num_iterations=num_iterations.value,
        batch_size=patch.batch_size,
        has_stable_target=True,
        **{name: choice.value for name, choice in choices.items()},
    )
    return plan, {
        "num_iterations": num_iterations.reason,
        "batch_size": sentence(patch.reasons["batch_size"]),
        **{name: choice.reason for name, choice in choices.items()},
    }


def _plan_diffusion(
    input_scale: Choice[float], raters: Choice[tuple[str, ...]], *, encoding: Choice[str]
) -> tuple[DiffusionPlan, dict[str, str]]:
    bias = choose_loss_weighting_bias(input_scale.value)
    plan = DiffusionPlan(
        input_scale=input_scale.value,
        loss_weighting_bias=bias.value,
        encoding="signed" if encoding.value == "signed" else "analog_bits",
        rater_names=raters.value,
    )
    return plan, {
        "input_scale": input_scale.reason,
        "loss_weighting_bias": bias.reason,
        "encoding": encoding.reason,
        "conditions_on_rater": raters.reason,
        "rater_names": "Who drew at least half of the training cases, where there are several.",
    }


def _plan_sampling(
    labels: Mapping[str, LabelFingerprint] | None,
    decision_size: Choice[float | None],
    input_scale: Choice[float],
) -> tuple[SamplingPlan, dict[str, str]]:
    num_steps = choose_num_steps(decision_size=decision_size.value, input_scale=input_scale.value)
    num_samples = choose_num_samples(labels)
    plan = SamplingPlan(num_steps=num_steps.value, num_samples=num_samples.value)
    return plan, {"num_steps": num_steps.reason, "num_samples": num_samples.reason}


def _mean_edge(patch_size: Sequence[int]) -> float:
    return math.prod(patch_size) ** (1 / len(patch_size))
