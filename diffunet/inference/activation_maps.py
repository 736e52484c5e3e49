"""Class activation maps: where a classifier's feature maps support a label.

They follow the papers' formulas; A is a feature map at one stage of the encoder, y the label's
logit, g = dy/dA. Where the papers leave something open, they follow the field's implementation
(grad-cam 1.5, which P2 compared with); the functions say where they differ from it.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diffunet.errors import PlansError
from diffunet.inference.compute import Compute
from diffunet.networks.unet import Features
from diffunet.plans import CamPlan, CamSaliency

INTENSITY_FACTORS = (0.9, 1.0, 1.1)
"""What a smoothed map multiplies the image by, and its mirror image along the last axis."""

# A map whose range is a smaller share of its values than this is constant but for rounding.
_FLAT = 1e-6

_INTERPOLATIONS = {2: "bilinear", 3: "trilinear"}


class Classifier(Protocol):
    """What has class activation maps."""

    def feature_maps(self, image: Tensor) -> Features:
        """Return a feature map per stage, finest first."""
        ...

    def logits_of(self, maps: Features) -> Tensor:
        """Return the logits (batch, class) that follow from these maps."""
        ...

    def __call__(self, image: Tensor) -> Tensor:
        """Return the logits (batch, class) of images."""
        ...


def class_activation_maps(
    classifier: Classifier,
    image: Float[Tensor, "batch channel *spatial"],
    *,
    label: int,
    method: CamSaliency,
    plan: CamPlan,
) -> Float[Tensor, "batch *spatial"]:
    """Return one map in [0, 1] per image, at its resolution, float32.

    A map is summed over the weighted feature maps, rectified, interpolated linearly (voxels are
    areas, not corners), and scaled from its own minimum and maximum to 0 and 1. A map that is
    positive nowhere, or the same everywhere, is 0. With `plan.is_smoothed` the first principal
    component replaces the sum, and six such maps are averaged: of the image and its mirror image,
    each multiplied by `INTENSITY_FACTORS`. An image's map does not depend on the rest of the batch.

    Args:
        classifier: of images without noise, in evaluation mode. Its parameters get no gradients.
        image: normalised.
        label: index of the logit.
        method: how feature maps are weighted.
        plan: the stage, and whether to smooth.

    Raises:
        PlansError: the classifier has no such stage.
        ValueError: the classifier is one of noised images.
    """
    passes = _augmented(image) if plan.is_smoothed else image
    combine = first_principal_component if plan.is_smoothed else _summed
    maps = []
    for part in passes.split(Compute(device=image.device).batch_size(image.shape[2:])):
        weighted = _weighted_maps(classifier, part, label=label, method=method, stage=plan.stage)
        maps.append(_scaled_to_image(combine(weighted), image.shape[2:]))
    return _averaged(torch.cat(maps)) if plan.is_smoothed else torch.cat(maps)


def weighted_by_mean_gradient(
    maps: Float[Tensor, "batch channel *coarse"], gradients: Float[Tensor, "batch channel *coarse"]
) -> Float[Tensor, "batch channel *coarse"]:
    """Grad-CAM: the mean of g weights A (Selvaraju et al. 2017, arXiv:1610.02391, eq. 1)."""
    return _mean_over_voxels(gradients) * maps


def weighted_by_positive_gradients(
    maps: Float[Tensor, "batch channel *coarse"], gradients: Float[Tensor, "batch channel *coarse"]
) -> Float[Tensor, "batch channel *coarse"]:
    """Grad-CAM++: the weight of A is the sum of alpha relu(g).

    alpha = g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)) (Chattopadhay et al. 2018,
    arXiv:1710.11063, eq. 7 and 19). The paper's feature maps are rectified and ours are not: a
    negative sum counts as 0, or alpha would have poles. grad-cam adds 1e-6 to the first
    denominator, which decides there as soon as g is below 1e-3.
    """
    total = _sum_over_voxels(maps).clamp_min(0)
    positive = gradients.clamp_min(0)
    return _sum_over_voxels(positive / (2 + positive * total)) * maps


def weighted_by_each_gradient(
    maps: Float[Tensor, "batch channel *coarse"], gradients: Float[Tensor, "batch channel *coarse"]
) -> Float[Tensor, "batch channel *coarse"]:
    """Layer-CAM: relu(g) weights each voxel (Jiang et al. 2021, doi:10.1109/TIP.2021.3089943)."""
    return gradients.clamp_min(0) * maps


def weighted_by_masked_scores(
    maps: Float[Tensor, "batch channel *coarse"],
    classifier: Classifier,
    image: Float[Tensor, "batch image_channel *spatial"],
    *,
    label: int,
) -> Float[Tensor, "batch channel *coarse"]:
    """Score-CAM: the weights are the softmax, over channels, of the logits of masked images.

    Each mask is a feature map, interpolated to the image and scaled to [0, 1] (Wang et al. 2020,
    arXiv:1910.01279, algorithm 1; the softmax removes the baseline's logit). As in grad-cam the
    corners of map and image coincide in this interpolation. A constant feature map hides all.
    """
    num_channels = maps.shape[1]
    masks = maps.flatten(0, 1)[:, None]
    chunk = Compute(device=image.device).batch_size(image.shape[2:])
    scores = []
    with torch.no_grad():
        for start in range(0, len(masks), chunk):
            fine = _interpolated(masks[start : start + chunk], image.shape[2:], has_corners=True)
            index = torch.arange(start, start + len(fine), device=image.device) // num_channels
            scores.append(classifier(image[index] * _scaled(fine))[:, label])
    weights = torch.cat(scores).reshape(maps.shape[:2]).softmax(dim=1)
    return _like_maps(weights, maps) * maps


GRADIENT_WEIGHTINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": weighted_by_mean_gradient,
    "grad_cam++": weighted_by_positive_gradients,
    "layer_cam": weighted_by_each_gradient,
}


def first_principal_component(
    maps: Float[Tensor, "batch channel *coarse"],
) -> Float[Tensor, "batch *coarse"]:
    """Return each voxel's coordinate along the first principal axis of the channels.

    Up to a positive factor; voxels are the observations, and channels are centred (Muhammad and
    Yeasin 2020, arXiv:2008.00299, for feature maps). The axis has no sign of its own: here the
    component correlates positively with the sum of the channels, the map that it replaces. It is 0
    where all voxels are alike. The eigenproblem is that of the channels or that of the voxels,
    whichever are fewer.
    """
    rows = maps.flatten(2)
    centred = rows - rows.mean(dim=2, keepdim=True)
    has_fewer_channels = rows.shape[1] <= rows.shape[2]
    with torch.autocast(maps.device.type, enabled=False):
        gram = centred @ centred.mT if has_fewer_channels else centred.mT @ centred
        values, vectors = (each.to(maps.device) for each in torch.linalg.eigh(gram.cpu()))
        axis = vectors[..., -1:].mT
        component = (axis @ centred if has_fewer_channels else axis)[:, 0]
    is_opposite = (component * rows.sum(dim=1)).sum(dim=1) < 0
    is_flat = values[:, -1] <= _FLAT**2 * rows.square().sum(dim=(1, 2))
    factor = torch.where(is_opposite, -1.0, 1.0).masked_fill(is_flat, 0)
    return (factor[:, None] * component).unflatten(1, maps.shape[2:])


def _augmented(image: Tensor) -> Tensor:
    scaled = torch.cat([factor * image for factor in INTENSITY_FACTORS])
    return torch.cat([scaled, scaled.flip(-1)])


def _averaged(maps: Tensor) -> Tensor:
    direct, mirrored = maps.chunk(2)
    return ((direct + mirrored.flip(-1)) / 2).unflatten(0, (len(INTENSITY_FACTORS), -1)).mean(dim=0)


def _weighted_maps(
    classifier: Classifier,
    image: Tensor,
    *,
    label: int,
    method: CamSaliency,
    stage: int,
) -> Tensor:
    if method == "score_cam":
        with torch.no_grad():
            maps = _at_stage(classifier.feature_maps(image), stage).float()
        return weighted_by_masked_scores(maps, classifier, image, label=label)
    with torch.enable_grad():
        features = classifier.feature_maps(image.detach().requires_grad_())
        maps = _at_stage(features, stage)
        logits = classifier.logits_of(features)[:, label]
        (gradients,) = torch.autograd.grad(logits.sum(), maps)
    return GRADIENT_WEIGHTINGS[method](maps.detach().float(), gradients.float())


def _at_stage(features: Features, stage: int) -> Tensor:
    count = len(features)
    if not -count <= stage < count:
        raise PlansError(
            f"weak.cam.stage should be in [{-count}, {count - 1}], for the classifier has {count} "
            f"stages; found {stage}"
        )
    return features[stage]


def _summed(maps: Tensor) -> Tensor:
    return maps.sum(dim=1)


def _scaled_to_image(maps: Tensor, size: torch.Size) -> Tensor:
    fine = _interpolated(maps.clamp_min(0)[:, None], size, has_corners=False)
    return _scaled(fine)[:, 0]


def _interpolated(maps: Tensor, size: torch.Size, *, has_corners: bool) -> Tensor:
    return functional.interpolate(
        maps, size=size, mode=_INTERPOLATIONS[len(size)], align_corners=has_corners
    )


def _scaled(maps: Tensor) -> Tensor:
    axes = tuple(range(1, maps.ndim))
    lowest, highest = maps.amin(dim=axes, keepdim=True), maps.amax(dim=axes, keepdim=True)
    extent = highest - lowest
    is_flat = extent <= _FLAT * torch.maximum(highest.abs(), lowest.abs())
    return ((maps - lowest) / extent).masked_fill(is_flat, 0)


def _mean_over_voxels(maps: Tensor) -> Tensor:
    return maps.mean(dim=tuple(range(2, maps.ndim)), keepdim=True)


def _sum_over_voxels(maps: Tensor) -> Tensor:
    return maps.sum(dim=tuple(range(2, maps.ndim)), keepdim=True)


def _like_maps(weights: Tensor, maps: Tensor) -> Tensor:
    return weights.reshape(*maps.shape[:2], *(1,) * (maps.ndim - 2))
