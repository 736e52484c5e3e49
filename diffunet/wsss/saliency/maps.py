"""Saliency and presence of labels in a whole case: its slices in batches, padded as in training."""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffunet.build import weak_plan_of
from diffunet.diffusion.image_model import CLEAN_TIME, ImageModel
from diffunet.inference.activation_maps import class_activation_maps
from diffunet.inference.compute import Compute, run_in_memory
from diffunet.inference.noise import draw_noise
from diffunet.inference.sliding_window import crop_to, mirrorings, pad_to
from diffunet.methods import METHODS
from diffunet.networks.classification import ClassificationNetwork
from diffunet.plans import ConfigurationPlan, SaliencyMethod, TrajectoryPlan, WeakPlan
from diffunet.wsss.saliency.cg_diff import guided_anomaly
from diffunet.wsss.saliency.trajectories import conditional_saliency


def default_saliency(plan: WeakPlan, *, method: str) -> SaliencyMethod:
    """Return the saliency that a model of `method` makes by default."""
    return getattr(plan, METHODS[method].saliency_field)


def mirror_axes_of(configuration: ConfigurationPlan) -> tuple[int, ...]:
    """Return over which axes of the patch maps and probabilities are averaged; may be none."""
    is_mirrored = weak_plan_of(configuration).is_mirrored
    return configuration.augmentation.mirror_axes if is_mirrored else ()


def saliency_map(
    networks: Sequence[nn.Module],
    image: Float[Tensor, "channel *spatial"],
    *,
    saliency: SaliencyMethod,
    plan: WeakPlan,
    patch_size: tuple[int, ...],
    tags: Float[Tensor, "slice class"],
    label: int,
    slices: Sequence[int],
    seed: int,
    case: str,
    compute: Compute,
    mirror_axes: tuple[int, ...] = (),
) -> Float[Tensor, "*spatial"]:
    """Return how strongly each voxel of a case suggests a label: signed, the mean over the folds.

    Maps of mirrored images are mirrored back and averaged. Each draw of noise uses the next
    mirroring, so that these cost nothing; maps without noise are computed once for each mirroring.

    Args:
        networks: one per fold, in evaluation mode on `compute.device`; `ImageModel` for "cdm",
            "cg_cdm" and "cg_diff", `ClassificationNetwork` for the class activation maps.
        image: normalised; (channel, y, x), or a volume, whose slices along its first axis are
            images of their own.
        patch_size: (y, x) that the networks were trained with; smaller slices are padded to it.
        tags: what each slice shows, 0 or 1; one row for a two-dimensional image.
        label: whose saliency; index into the columns of `tags`.
        slices: along the first axis, those to compute; [0] for a two-dimensional image.
        seed, case: the noise is a function of these two, the slice and the number of the draw.
        mirror_axes: of the patch, (y, x) being (0, 1).

    Returns:
        float32 on the CPU, on the grid of `image`; 0 in the slices that were not asked for.
        Differences of channels are added up.

    Raises:
        UsageError: the GPU's memory does not hold a single slice.
    """
    images = slice_images(image, plan=plan, patch_size=patch_size)
    flips = mirrorings(mirror_axes)
    num_draws = num_draws_of(saliency, plan=plan) or len(flips)
    items = [(index, draw) for index in slices for draw in range(num_draws)]

    def run(batch_size: int) -> Tensor:
        total = torch.zeros(len(images), *images.shape[2:])
        for network in networks:
            for first in range(0, len(items), batch_size):
                chunk = items[first : first + batch_size]
                indices = [index for index, _ in chunk]
                axes = [flips[draw % len(flips)] for _, draw in chunk]
                maps = _maps(
                    network,
                    _mirrored(images[indices], axes).to(compute.device),
                    tags=tags[indices].to(compute.device),
                    label=label,
                    saliency=saliency,
                    plan=plan,
                    noise=partial(_noise, chunk, images.shape[1:], seed=seed, case=case),
                    compute=compute,
                )
                for index, one in zip(indices, _mirrored(maps, axes), strict=True):
                    total[index] += one
        return total / (len(networks) * num_draws)

    padded, _ = run_in_memory(run, compute.batch_size(images.shape[2:]))
    return crop_to(padded, image.shape[-2:]).reshape(image.shape[1:])


@torch.no_grad()
def presence_probabilities(
    networks: Sequence[nn.Module],
    image: Float[Tensor, "channel *spatial"],
    *,
    plan: WeakPlan,
    patch_size: tuple[int, ...],
    compute: Compute,
    mirror_axes: tuple[int, ...] = (),
) -> Float[Tensor, "slice class"]:
    """Return the probability that each slice shows each label: the mean over folds and mirrorings.

    The classifier of noised images is asked at `CLEAN_TIME`, about the image as it is.

    Args:
        networks, image, patch_size, mirror_axes: as for `saliency_map`.

    Returns:
        float32 on the CPU, in [0, 1]; one row for a two-dimensional image.
    """
    images = slice_images(image, plan=plan, patch_size=patch_size)
    flips = mirrorings(mirror_axes)

    def run(batch_size: int) -> Tensor:
        answers = [
            torch.stack(
                [
                    presence_logits(each, _mirrored(chunk, [axes] * len(chunk)), compute=compute)
                    for each in networks
                    for axes in flips
                ]
            ).sigmoid()
            for chunk in images.split(batch_size)
        ]
        return torch.cat([answer.mean(dim=0) for answer in answers])

    return run_in_memory(run, compute.batch_size(images.shape[2:]))[0]


def num_draws_of(saliency: SaliencyMethod, *, plan: WeakPlan) -> int:
    """Return over how many noise draws a map is averaged; 0 for a map without noise."""
    plans = {"cdm": plan.cdm, "cg_cdm": plan.cg_cdm}
    return plans[saliency].num_draws if saliency in plans else 0


def slice_images(
    image: Float[Tensor, "channel *spatial"], *, plan: WeakPlan, patch_size: tuple[int, ...]
) -> Float[Tensor, "slice channel y x"]:
    """Return the slices of a case as images, centred in zeros as training's patches are.

    A slice is padded to the patch, and one that is larger to a multiple of the network's strides.
    """
    strides = [math.prod(axis) for axis in zip(*plan.network.strides, strict=True)]
    shape = tuple(
        max(edge, math.ceil(size / stride) * stride)
        for size, edge, stride in zip(image.shape[-2:], patch_size, strides, strict=True)
    )
    volume = image if image.ndim == 4 else image.unsqueeze(1)
    return pad_to(volume, (volume.shape[1], *shape)).movedim(0, 1)


def _maps(
    network: nn.Module,
    images: Float[Tensor, "batch channel y x"],
    *,
    tags: Float[Tensor, "batch class"],
    label: int,
    saliency: SaliencyMethod,
    plan: WeakPlan,
    noise: partial[Tensor],
    compute: Compute,
) -> Float[Tensor, "batch y x"]:
    """Return the maps of one fold, each from one draw of noise; float32 on the CPU."""
    with compute.running():
        if saliency in ("cdm", "cg_cdm"):
            field = conditional_saliency(
                cast(ImageModel, network),
                images,
                tags=tags,
                label=label,
                plan=_with_one_draw(plan.cdm if saliency == "cdm" else plan.cg_cdm),
                noise=lambda _: noise().to(images.device),
            ).sum(dim=1)
        elif saliency == "cg_diff":
            field = guided_anomaly(
                cast(ImageModel, network), images, tags=tags, label=label, plan=plan.cg_diff
            ).sum(dim=1)
        else:
            field = class_activation_maps(
                cast(ClassificationNetwork, network),
                images,
                label=label,
                method=saliency,
                plan=plan.cam,
            )
    return field.detach().float().cpu()


def _mirrored(
    fields: Float[Tensor, "item *channel y x"], axes: Sequence[tuple[int, ...]]
) -> Float[Tensor, "item *channel y x"]:
    """Return each item flipped along its own axes of the plane; the same call turns it back."""
    if not any(axes):
        return fields
    return torch.stack(
        [
            one.flip([axis - 2 for axis in flipped]) if flipped else one
            for one, flipped in zip(fields, axes, strict=True)
        ]
    )


def _with_one_draw(plan: TrajectoryPlan) -> TrajectoryPlan:
    """Return `plan` for a batch whose items are draws: so they fill a batch where slices do not."""
    return dataclasses.replace(plan, num_draws=1)


def _noise(
    items: Sequence[tuple[int, int]], shape: Sequence[int], *, seed: int, case: str
) -> Float[Tensor, "item channel y x"]:
    return torch.cat(
        [
            draw_noise(shape, seed=seed, case=case, samples=[draw], step=index)
            for index, draw in items
        ]
    )


@torch.no_grad()
def presence_logits(
    network: nn.Module, images: Float[Tensor, "batch channel y x"], *, compute: Compute
) -> Float[Tensor, "batch class"]:
    """Return the classifier's logits of images without noise, float32 on the CPU."""
    images = images.to(compute.device)
    with compute.running():
        if isinstance(network, ImageModel):
            times = torch.full((len(images),), CLEAN_TIME, device=images.device)
            logits = network.classifier(images, times)
        else:
            logits = network(images)
    return logits.float().cpu()
