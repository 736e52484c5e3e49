"""CDM and CG-CDM: how the denoised image changes with an image-level label (P2, Algorithm 1).

    x_Q = alpha_Q image + sigma_Q noise          one draw, both trajectories begin here
    x   = DDIM trajectory of R steps under the condition e_1 (label present)
    x'  = DDIM trajectory of R steps under tau e_1 + (1 - tau) e_0
    map = sum over the R steps of (x - x') / (1 - tau), averaged over the draws

A DDIM step is linear in x_t and x_0_hat, so the difference d = x - x' has a recursion of its own,
d_s = sigma_s / sigma_t d_t + alpha_s (1 - exp((log_snr_t - log_snr_s) / 2)) (x_0_hat - x_0_hat').
We follow it instead of subtracting the two, which differ by a few thousandths of their size.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.process import add_noise
from diffunet.diffusion.sampling import ddim_step
from diffunet.diffusion.schedules import Schedule
from diffunet.plans import TrajectoryPlan
from diffunet.wsss.saliency.guidance import (
    GuidedDenoiser,
    Target,
    embed_tags,
    intensity_range,
    with_label,
)
from diffunet.wsss.saliency.noise_levels import NoiseLevel, levels_at_log_snr, levels_at_timesteps

CPU_JOINED_VOXELS = 2**15
"""Most voxels of both trajectories together that a CPU denoises in one call.

Below, one call saves up to a fifth of the time; above, two calls stay in the caches and save up to
a sixth (benchmarks/saliency_overhead.py).
"""


def conditional_saliency(
    model: ImageModel,
    image: Float[Tensor, "batch channel *spatial"],
    *,
    tags: Float[Tensor, "batch class"],
    label: int,
    plan: TrajectoryPlan,
    noise: Callable[[int], Tensor],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return the signed map of where one label changes the denoised image (P2, Algorithm 1).

    Positive where the label makes the image brighter. An image's map depends neither on its batch
    nor on `tags[:, label]`. Read as follows where the paper is ambiguous: x_Q is closed-form noise;
    the first evaluation is at Q itself and there are R of them for each trajectory; x_0_hat is
    clipped to the image's own range, and guided after that.

    Run the networks in float32 unless tau is near 0: under bfloat16, two conditions that differ by
    1 - tau = 0.05 give a map that is largely rounding.

    Args:
        image: normalised.
        tags: 0 or 1; those of the other labels condition both trajectories.
        label: index of the label that the map is of.
        plan: Q, R, the steps, tau, K, and the guidance of CG-CDM.
        noise: the standard normal noise of draw k, shaped as `image`; called for k = 0 ... K - 1.

    Returns:
        In the dtype of `image`, in its intensity units; without gradients.

    Raises:
        PlansError: the noise levels of `plan` are not on the model's schedule.
        ValueError: there is no such label, or the noise has another shape.
    """
    levels = trajectory_levels(plan, schedule=model.schedule)
    denoiser = GuidedDenoiser(model=model, label=label, scale=plan.guidance_scale)
    with torch.no_grad():
        targets = _targets(model, image, tags=tags, label=label, plan=plan)
        total = torch.zeros_like(image)
        for draw in range(plan.num_draws):
            x_t = _noised(image, noise(draw), log_snr=levels[0].log_snr)
            total += _accumulated_difference(denoiser, x_t, levels, targets=targets)
        return total.div_(plan.num_draws * (1 - plan.tau))


def trajectory_levels(plan: TrajectoryPlan, *, schedule: Schedule) -> tuple[NoiseLevel, ...]:
    """Return the R + 1 noise levels of a trajectory: evaluated at all but the last.

    Raises:
        PlansError: they are not on the schedule.
    """
    if plan.timestep is not None:
        last = plan.timestep - plan.num_steps
        return levels_at_timesteps(schedule, range(plan.timestep, last - 1, -1))
    steps = torch.arange(plan.num_steps + 1, dtype=torch.float64)
    return levels_at_log_snr(schedule, plan.log_snr + plan.log_snr_step * steps)


def _accumulated_difference(
    denoiser: GuidedDenoiser,
    x_t: Tensor,
    levels: tuple[NoiseLevel, ...],
    *,
    targets: Sequence[Target],
) -> Tensor:
    """Return the sum of x - x' after each step; `x_t` is updated in place.

    Args:
        targets: of both trajectories in one, or of each; as many calls are made for each step.
    """
    difference = torch.zeros_like(x_t)
    total = torch.zeros_like(x_t)
    for level, cleaner in itertools.pairwise(levels):
        parts = torch.cat([x_t, x_t - difference]).chunk(len(targets))
        denoised = [
            denoiser.predict_x_0(part, level, target=target)
            for part, target in zip(parts, targets, strict=True)
        ]
        x_0, x_0_mixed = torch.cat(denoised).chunk(2)
        coefficients = {"log_snr_t": level.log_snr, "log_snr_s": cleaner.log_snr}
        ddim_step(difference, x_0 - x_0_mixed, **coefficients, out=difference)
        ddim_step(x_t, x_0, **coefficients, out=x_t)
        total += difference
    return total


def _targets(
    model: ImageModel, image: Tensor, *, tags: Tensor, label: int, plan: TrajectoryPlan
) -> tuple[Target, ...]:
    """Return what both trajectories are denoised towards: joined, or each for itself."""
    present = with_label(tags, label=label, state=1.0)
    absent = with_label(tags, label=label, state=0.0)
    guided = with_label(tags, label=label, state=plan.tau if plan.is_guidance_mixed else 0.0)
    embedding = embed_tags(model, present)
    mixed = torch.lerp(embed_tags(model, absent), embedding, plan.tau)
    lowest, highest = intensity_range(image)
    first = Target(embedding=embedding, tags=present, lowest=lowest, highest=highest)
    second = Target(embedding=mixed, tags=guided, lowest=lowest, highest=highest)
    return (first.joined(second),) if _is_joined(image) else (first, second)


def _is_joined(image: Tensor) -> bool:
    """Whether one call for both trajectories is faster than two; always on a GPU."""
    num_voxels = 2 * len(image) * math.prod(image.shape[2:])
    return image.device.type != "cpu" or num_voxels <= CPU_JOINED_VOXELS


def _noised(image: Tensor, noise: Tensor, *, log_snr: float) -> Tensor:
    if noise.shape != image.shape:
        raise ValueError(
            f"noise should be shaped as the image, {tuple(image.shape)}, got {tuple(noise.shape)}"
        )
    levels = torch.full((len(image),), log_snr, dtype=torch.float64)
    return add_noise(image, noise.to(image), log_snr=levels)
