"""CG-Diff: an image is encoded into noise and decoded as if a label were absent (Wolleb et al.)."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.sampling import ddim_step
from diffunet.diffusion.schedules import Schedule
from diffunet.errors import PlansError
from diffunet.plans import EncodingPlan
from diffunet.wsss.saliency.guidance import (
    GuidedDenoiser,
    Target,
    embed_tags,
    intensity_range,
    with_label,
)
from diffunet.wsss.saliency.noise_levels import NoiseLevel, levels_at_log_snr, log_snr_range

CLEANEST_LOG_SNR = 9.0
"""Noise level that the image itself stands for: about that of DDPM's first timestep (sigma 0.01).

Limited continuous schedules end at 20, where an error of a predicted x_0 would count as noise
20,000 times its size.
"""


def guided_anomaly(
    model: ImageModel,
    image: Float[Tensor, "batch channel *spatial"],
    *,
    tags: Float[Tensor, "batch class"],
    label: int,
    plan: EncodingPlan,
) -> Float[Tensor, "batch channel *spatial"]:
    """Return image minus its reconstruction without the label, signed.

    Positive where the label makes the image brighter. Wolleb et al. 2022, arXiv:2203.04306: DDIM's
    encoding up to the noise level L, then DDIM's decoding guided by the classifier towards the
    label's absence. Their denoiser is unconditional. Ours gets the image's own tags both ways, so
    that without guidance the image comes back and only guidance makes a difference.

    Args:
        image: normalised.
        tags: the image's, 0 or 1.
        label: index of the label that is to be absent.
        plan: L, the number of steps and the scale of the guidance.

    Returns:
        In the dtype of `image`, in its intensity units; without gradients.

    Raises:
        PlansError: L is not on the model's schedule.
        ValueError: there is no such label.
    """
    levels = encoding_levels(plan, schedule=model.schedule)
    with torch.no_grad():
        lowest, highest = intensity_range(image)
        target = Target(
            embedding=embed_tags(model, tags),
            tags=with_label(tags, label=label, state=0.0),
            lowest=lowest,
            highest=highest,
        )
        x_t = image.clone()
        for scale, direction in ((0.0, levels), (plan.guidance_scale, levels[::-1])):
            denoiser = GuidedDenoiser(model=model, label=label, scale=scale)
            for level, following in itertools.pairwise(direction):
                x_0 = denoiser.predict_x_0(x_t, level, target=target)
                ddim_step(x_t, x_0, log_snr_t=level.log_snr, log_snr_s=following.log_snr, out=x_t)
        return image - x_t


def encoding_levels(plan: EncodingPlan, *, schedule: Schedule) -> tuple[NoiseLevel, ...]:
    """Return the `num_steps` + 1 noise levels from the image to L, evenly in log SNR.

    Encoding and decoding then lose about the same share of coarse and fine detail. With levels even
    in time, as on DDPM's grids, fine detail would lose several times more.

    Raises:
        PlansError: L is noisier than the schedule gets, or cleaner than the image counts as.
    """
    start = min(CLEANEST_LOG_SNR, log_snr_range(schedule)[0])
    if plan.log_snr >= start:
        raise PlansError(
            f"log_snr: an image is encoded from log SNR {start:g} up to a noisier level, "
            f"got {plan.log_snr:g}; choose a smaller one, such as -1.5"
        )
    log_snr = torch.linspace(start, plan.log_snr, plan.num_steps + 1, dtype=torch.float64)
    return levels_at_log_snr(schedule, log_snr)
