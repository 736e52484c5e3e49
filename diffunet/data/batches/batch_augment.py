"""Changes of intensity and mirroring of a whole batch at once, on the device that trains.

The same changes as `augment.py` makes of one patch on a CPU, with nnU-Net's order, probabilities
and strengths; the draws differ. A GPU makes them for a batch faster than cores for its patches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffunet.data.batches.augment import MIN_EDGE_FOR_BLUR
from diffunet.data.batches.transfer import on_device
from diffunet.plans import AugmentationPlan
from diffunet.randomness import derive_seed, numpy_generator

_BLUR_RADIUS = 3  # voxels: three sigmas of the strongest blur
_LEAST = 1e-7  # of a range and a standard deviation that divide
_CONVOLUTIONS = {2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True, kw_only=True)
class BatchPlace:
    """Which samples of a training a batch holds; every draw is a function of these alone.

    Attributes:
        seed: of the training.
        iteration: optimiser step, counted from 0.
        indices: of the samples in the global batch.
        global_size: samples of the global batch.
    """

    seed: int
    iteration: int
    indices: tuple[int, ...]
    global_size: int

    def uniform(self, name: str, *shape: int) -> np.ndarray:
        """Return (sample, *shape) in [0, 1): this batch's rows of a draw for the global batch."""
        return self.uniform_of_all(name, *shape)[list(self.indices)]

    def uniform_of_all(self, name: str, *shape: int) -> np.ndarray:
        """Return the draw for the global batch."""
        generator = numpy_generator(self.seed, "batch", name, self.iteration)
        return generator.random((self.global_size, *shape))

    def normal(self, name: str, is_wanted: np.ndarray, *, like: Tensor) -> Tensor:
        """Return standard normal noise for the wanted samples, (wanted, *like.shape[1:]).

        Each rank draws for the global batch in one call and keeps its rows, so that ranks share
        no noise.

        Args:
            is_wanted: one per sample of the global batch.
        """
        generator = torch.Generator(like.device)
        generator.manual_seed(derive_seed(self.seed, "batch", name, self.iteration))
        places = np.cumsum(is_wanted) - 1
        rows = [int(places[index]) for index in self.indices if is_wanted[index]]
        drawn = torch.empty((int(is_wanted.sum()), *like.shape[1:]), device=like.device)
        return drawn.normal_(generator=generator)[rows]


@final
@dataclass(frozen=True, kw_only=True)
class BatchAugmentation:
    """Changes intensities, then mirrors, as a plan says; rotation and scaling are elsewhere.

    Attributes:
        plan: the probabilities; `AugmentationPlan.without_intensity` and no mirror axes leave
            nothing to do.
    """

    plan: AugmentationPlan

    def __call__(
        self, images: Tensor, label_maps: Tensor | None, *, place: BatchPlace
    ) -> tuple[Tensor, Tensor | None]:
        """Return the changed images (sample, channel, *spatial) and label maps.

        Args:
            images: float32, contiguous; is overwritten.
            label_maps: (sample, *spatial) or (sample, rater, *spatial), changed by mirroring alone;
                None where there are none.
        """
        for change in (_noise, _blur, _brightness, _contrast, _low_resolution):
            images = change(images, plan=self.plan, place=place)
        for is_inverted in (True, False):
            images = _gamma(images, plan=self.plan, place=place, is_inverted=is_inverted)
        return self._mirror(images, label_maps, place=place)

    def _mirror(
        self, images: Tensor, label_maps: Tensor | None, *, place: BatchPlace
    ) -> tuple[Tensor, Tensor | None]:
        draws = place.uniform("mirror", max(1, len(self.plan.mirror_axes)))
        for column, axis in enumerate(self.plan.mirror_axes):
            rows = _rows(draws[:, column] < 0.5, images.device)
            if len(rows):
                images[rows] = images[rows].flip(2 + axis)
                if label_maps is not None:
                    label_maps[rows] = label_maps[rows].flip(axis - (images.ndim - 2))
        return images, label_maps


def _noise(images: Tensor, *, plan: AugmentationPlan, place: BatchPlace) -> Tensor:
    """Add noise of a standard deviation in [0, 0.1) to all channels of a sample."""
    probability = plan.gaussian_noise_probability
    if not probability:
        return images
    is_wanted = place.uniform_of_all("noise") < probability
    is_mine = is_wanted[list(place.indices)]
    if is_mine.any():
        strength = 0.1 * place.uniform("noise strength")[is_mine]
        noise = place.normal("noise", is_wanted, like=images)
        rows = _rows(is_mine, images.device)
        images[rows] += noise * _column(strength, images)
    return images


def _blur(images: Tensor, *, plan: AugmentationPlan, place: BatchPlace) -> Tensor:
    """Blur half of a sample's channels with a Gaussian of its own for each axis."""
    num_channels, spatial = images.shape[1], images.shape[2:]
    is_sample = place.uniform("blur") < plan.gaussian_blur_probability
    is_channel = place.uniform("blur channels", num_channels) < 0.5
    is_changed = (is_sample[:, None] & is_channel).reshape(-1)
    if not is_changed.any():
        return images
    sigmas = 0.5 + 0.5 * place.uniform("blur sigmas", num_channels, len(spatial))
    sigmas = sigmas.reshape(-1, len(spatial))[is_changed]
    rows = _rows(is_changed, images.device)
    fields = _fields(images)
    changed = fields[rows][None]
    for axis, edge in enumerate(spatial):
        if edge >= MIN_EDGE_FOR_BLUR:
            changed = _convolved(changed, blur_kernels(sigmas[:, axis]), axis=axis)
    fields[rows] = changed[0]
    return images


def blur_kernels(sigmas: np.ndarray) -> np.ndarray:
    """Return normalised Gaussians (n, 2 * radius + 1), cut off where batchgeneratorsv2 does.

    Args:
        sigmas: (n,), voxels, at most 1.
    """
    reach = 6 * sigmas + 0.5
    nearest = np.round(reach)
    sizes = np.where(nearest % 2 == 1, nearest, nearest + np.where(reach >= nearest, 1, -1))
    offsets = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    kernels = np.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    kernels *= 2 * np.abs(offsets) <= (sizes - 1)[:, None]
    return kernels / kernels.sum(axis=1, keepdims=True)


def _convolved(fields: Tensor, kernels: np.ndarray, *, axis: int) -> Tensor:
    """Return (1, n, *spatial) convolved along an axis, each field with its own kernel."""
    num_axes = fields.ndim - 2
    shape = [len(kernels), 1, *([1] * num_axes)]
    shape[2 + axis] = kernels.shape[1]
    weight = on_device(kernels.astype(np.float32), fields.device).reshape(shape)
    padding = [0, 0] * num_axes  # the last axis first
    start = 2 * (num_axes - 1 - axis)
    padding[start : start + 2] = [_BLUR_RADIUS, _BLUR_RADIUS]
    padded = functional.pad(fields, padding, mode="reflect")
    return _CONVOLUTIONS[num_axes](padded, weight, groups=len(kernels))


def _brightness(images: Tensor, *, plan: AugmentationPlan, place: BatchPlace) -> Tensor:
    """Multiply each channel of a sample by a factor of its own."""
    return _per_channel(
        images,
        plan.brightness_probability,
        place=place,
        name="brightness",
        limits=(0.75, 1.25),
        change=lambda fields, factors: fields * factors,
    )


def _contrast(images: Tensor, *, plan: AugmentationPlan, place: BatchPlace) -> Tensor:
    """Stretch each channel about its mean, within its own range."""

    def stretched(fields: Tensor, factors: Tensor) -> Tensor:
        mean, lowest, highest = _mean(fields), _lowest(fields), _highest(fields)
        return ((fields - mean) * factors + mean).clamp(lowest, highest)

    return _per_channel(
        images,
        plan.contrast_probability,
        place=place,
        name="contrast",
        limits=(0.75, 1.25),
        change=stretched,
    )


def _gamma(
    images: Tensor, *, plan: AugmentationPlan, place: BatchPlace, is_inverted: bool
) -> Tensor:
    """Take each channel, scaled to [0, 1], to a power; its mean and deviation stay as they were."""
    sign = -1 if is_inverted else 1

    def corrected(fields: Tensor, gammas: Tensor) -> Tensor:
        fields = sign * fields
        lowest, mean, deviation = _lowest(fields), _mean(fields), _deviation(fields)
        spread = _highest(fields) - lowest
        powers = ((fields - lowest) / spread.clamp(min=_LEAST)) ** gammas * spread + lowest
        scale = deviation / _deviation(powers).clamp(min=_LEAST)
        return sign * ((powers - _mean(powers)) * scale + mean)

    return _per_channel(
        images,
        plan.inverted_gamma_probability if is_inverted else plan.gamma_probability,
        place=place,
        name="inverted gamma" if is_inverted else "gamma",
        limits=(0.7, 1.5),
        change=corrected,
    )


def _low_resolution(images: Tensor, *, plan: AugmentationPlan, place: BatchPlace) -> Tensor:
    """Make half of a sample's channels coarser, by nearest voxels, and bring them linearly back."""
    num_channels = images.shape[1]
    is_sample = place.uniform("resolution") < plan.low_resolution_probability
    is_channel = place.uniform("resolution channels", num_channels) < 0.5
    is_changed = (is_sample[:, None] & is_channel).reshape(-1)
    if not is_changed.any():
        return images
    scales = 0.5 + 0.5 * place.uniform("resolutions", num_channels).reshape(-1)[is_changed]
    rows = _rows(is_changed, images.device)
    fields = _fields(images)
    changed = fields[rows]
    for axis in range(int(plan.treats_first_axis_apart), images.ndim - 2):
        changed = _coarsened(changed, scales, axis=1 + axis)
    fields[rows] = changed
    return images


def _coarsened(fields: Tensor, scales: np.ndarray, *, axis: int) -> Tensor:
    """Return (n, *spatial) sampled more coarsely along an axis and interpolated back."""
    lower, upper, share = coarse_neighbours(fields.shape[axis], scales)
    shape = [len(fields), *([1] * (fields.ndim - 1))]
    shape[axis] = -1

    def at(index: np.ndarray) -> Tensor:
        places = on_device(index, fields.device).reshape(shape)
        return torch.take_along_dim(fields, places, dim=axis)

    weight = on_device(share.astype(np.float32), fields.device).reshape(shape)
    return torch.lerp(at(lower), at(upper), weight)


def coarse_neighbours(edge: int, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return between which voxels each one lies after an axis was made coarser, and where.

    Coarse voxels take the nearest fine one; fine ones are interpolated between two coarse ones.

    Args:
        edge: voxels along the axis.
        scales: (n,) coarse voxels per fine one, in (0, 1].

    Returns:
        (n, edge) the two fine voxels whose values are mixed, and the share of the second.
    """
    num_coarse = np.maximum(1, np.round(edge * scales))[:, None]
    position = np.clip((np.arange(edge) + 0.5) * num_coarse / edge - 0.5, 0, None)
    lower = np.floor(position)
    upper = np.minimum(lower + 1, num_coarse - 1)
    fine = [
        np.minimum(np.floor((coarse + 0.5) * edge / num_coarse), edge - 1).astype(np.int64)
        for coarse in (lower, upper)
    ]
    return fine[0], fine[1], position - lower


def _per_channel(
    images: Tensor,
    probability: float,
    *,
    place: BatchPlace,
    name: str,
    limits: tuple[float, float],
    change: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Change all channels of the drawn samples, each with a factor of its own."""
    is_changed = place.uniform(name) < probability
    if not is_changed.any():
        return images
    factors = balanced_factors(place.uniform(f"{name} factors", images.shape[1], 2), limits)
    factors = factors[is_changed].reshape(-1)
    rows = _rows(np.repeat(is_changed, images.shape[1]), images.device)
    fields = _fields(images)
    changed = fields[rows]
    fields[rows] = change(changed, _column(factors, changed))
    return images


def balanced_factors(draws: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return factors below and above 1 with equal chance, evenly within each side.

    Args:
        draws: (*shape, 2) in [0, 1): for the side, and for the place in it.
    """
    low, high = limits
    below, above = low + (1 - low) * draws[..., 1], 1 + (high - 1) * draws[..., 1]
    return np.where(draws[..., 0] < 0.5, below, above)


def _fields(images: Tensor) -> Tensor:
    """Return a view of the channels of all samples, (sample * channel, *spatial)."""
    return images.view(-1, *images.shape[2:])


def _rows(is_chosen: np.ndarray, device: torch.device) -> Tensor:
    return on_device(np.flatnonzero(is_chosen), device)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return on_device(values.astype(np.float32), like.device).reshape(-1, *([1] * (like.ndim - 1)))


def _axes(fields: Tensor) -> list[int]:
    return list(range(1, fields.ndim))


def _mean(fields: Tensor) -> Tensor:
    return fields.mean(dim=_axes(fields), keepdim=True)


def _deviation(fields: Tensor) -> Tensor:
    return fields.std(dim=_axes(fields), keepdim=True)


def _lowest(fields: Tensor) -> Tensor:
    return fields.amin(dim=_axes(fields), keepdim=True)


def _highest(fields: Tensor) -> Tensor:
    return fields.amax(dim=_axes(fields), keepdim=True)
