"""Random changes of a training patch, with batchgeneratorsv2's transforms and nnU-Net's strengths.

Rotation and scale are drawn before the patch is read, so that exactly the voxels are read that a
rotated or scaled patch shows: no padding is rotated in where the image goes on.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import (
    SpatialTransform,
    create_affine_matrix_2d,
    create_affine_matrix_3d,
)
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform

from diffunet.plans import AugmentationPlan

MIN_EDGE_FOR_BLUR = 4
"""Voxels; the blur mirrors up to 3 voxels at the border, so a shorter axis is left sharp."""


@dataclass(frozen=True, kw_only=True)
class SpatialChange:
    """One drawn rotation and scaling, of the last `len(angles)` axes of a patch.

    Attributes:
        angles: radians per axis of rotation; in the plane only the last one counts.
        scale: above 1 the patch shows more of the image, so that objects look smaller.
    """

    angles: tuple[float, ...]
    scale: float

    @property
    def is_identity(self) -> bool:
        return self.scale == 1 and not any(self.angles)

    def matrix(self) -> np.ndarray:
        """Return the matrix that takes an offset from the patch's centre to one in the image."""
        scales = [self.scale] * len(self.angles)
        if len(self.angles) == 2:
            return create_affine_matrix_2d(self.angles[-1], scales)
        return create_affine_matrix_3d(self.angles, scales)

    def source_shape(self, patch_size: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the box, centred on the patch, that the changed patch shows.

        Each edge has the parity of the patch's edge: the two have the same centre, and both start
        at whole voxels.
        """
        if self.is_identity:
            return tuple(patch_size)
        changed = patch_size[-len(self.angles) :]
        reach = np.abs(self.matrix()) @ ((np.array(changed) - 1) / 2)
        shape = []
        for edge, half in zip(changed, reach, strict=True):
            needed = math.ceil(2 * half - 1e-9) + 1
            shape.append(needed + (needed - edge) % 2)
        return (*patch_size[: -len(self.angles)], *shape)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes patches as a plan says; every draw comes from the seeds that it is given.

    Attributes:
        plan: the probabilities and strengths that users may edit.
        patch_size: voxels per axis of what comes out.
    """

    plan: AugmentationPlan
    patch_size: tuple[int, ...]

    def draw_spatial(self, generator: np.random.Generator) -> SpatialChange:
        """Draw a rotation and a scaling; each happens with its own probability."""
        plan = self.plan
        num_axes = len(self.patch_size) - plan.treats_first_axis_apart
        limit = math.radians(plan.rotation_degrees)
        is_rotated, is_scaled = generator.random(2) < (
            plan.rotation_probability,
            plan.scaling_probability,
        )
        angles = generator.uniform(-limit, limit, size=num_axes)
        scale = generator.uniform(*plan.scaling_range)
        return SpatialChange(
            angles=tuple(float(angle) for angle in angles) if is_rotated else (0.0,) * num_axes,
            scale=float(scale) if is_scaled else 1.0,
        )

    def __call__(
        self, image: np.ndarray, label_maps: np.ndarray | None, *, change: SpatialChange, seed: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the changed image and label maps, (channel, *patch_size) and (rater, *patch_size).

        Label maps are resampled label by label and the largest share wins, all raters on one grid.

        Args:
            image: float32 (channel, *change.source_shape(patch_size)); may be overwritten.
            label_maps: integers below 2^31, (rater, *the same); None where there are none. The
                image is changed in the same way with and without.
            seed: of the intensity changes and mirroring.
        """
        tensors = {"image": torch.from_numpy(np.ascontiguousarray(image))}
        if label_maps is not None:
            is_small = label_maps.dtype == np.uint8
            as_int = label_maps if is_small else label_maps.astype(np.int32)
            tensors["segmentation"] = torch.from_numpy(np.ascontiguousarray(as_int))
        with seeded_globals(seed):
            if not change.is_identity:
                tensors = self._resample(tensors, change)
            tensors = _intensity_and_mirror(self.plan, tuple(self.patch_size))(**tensors)
        changed = tensors["image"].numpy()
        if label_maps is None:
            return changed, None
        return changed, tensors["segmentation"].numpy().astype(label_maps.dtype, copy=False)

    def _resample(
        self, tensors: dict[str, torch.Tensor], change: SpatialChange
    ) -> dict[str, torch.Tensor]:
        """Cut the changed patch out of its source box; a first axis treated apart is kept."""
        num_axes = len(change.angles)
        transform = _resampling(tuple(self.patch_size[-num_axes:]))
        transform.rotation = lambda image, dim: change.angles[dim]
        transform.scaling = change.scale
        flat = {
            name: tensor.reshape(-1, *tensor.shape[-num_axes:]) for name, tensor in tensors.items()
        }
        return {
            name: tensor.reshape(tensors[name].shape[0], *self.patch_size)
            for name, tensor in transform(**flat).items()
        }


@contextlib.contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of numpy and torch, which the transforms use, for a while.

    Both are restored afterwards. Meanwhile one thread computes: sums over several threads would
    round differently, and batches would depend on the number of processes.
    """
    numpy_state, torch_state = np.random.get_state(), torch.random.get_rng_state()
    num_threads = torch.get_num_threads()
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if num_threads != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if num_threads != 1:
            torch.set_num_threads(num_threads)
        torch.random.set_rng_state(torch_state)
        np.random.set_state(numpy_state)


@functools.lru_cache(maxsize=4)
def _resampling(patch_size: tuple[int, ...]) -> SpatialTransform:
    """Return what cuts a patch; kept, since it keeps the grid of the patch's voxels."""
    return SpatialTransform(
        patch_size,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=1,
        p_scaling=1,
    )


@functools.lru_cache(maxsize=4)
def _intensity_and_mirror(plan: AugmentationPlan, patch_size: tuple[int, ...]) -> ComposeTransforms:
    """Return nnU-Net's changes of intensity, in its order and of its strengths, then mirroring."""

    def blur_sigma(_shape: Sequence[int], dim: int) -> float:
        is_long_enough = patch_size[dim - 1] >= MIN_EDGE_FOR_BLUR
        return np.random.uniform(0.5, 1.0) if is_long_enough else 0.1

    contrast, gamma = _factor((0.75, 1.25)), _factor((0.7, 1.5))
    coarse_axes = (0,) if plan.treats_first_axis_apart else None
    choices: list[tuple[float, BasicTransform]] = [
        (
            plan.gaussian_noise_probability,
            GaussianNoiseTransform((0, 0.1), p_per_channel=1, synchronize_channels=True),
        ),
        (plan.gaussian_blur_probability, GaussianBlurTransform(blur_sigma, p_per_channel=0.5)),
        (
            plan.brightness_probability,
            MultiplicativeBrightnessTransform(contrast, synchronize_channels=False),
        ),
        (
            plan.contrast_probability,
            ContrastTransform(contrast, preserve_range=True, synchronize_channels=False),
        ),
        (
            plan.low_resolution_probability,
            SimulateLowResolutionTransform(
                (0.5, 1.0),
                synchronize_channels=False,
                synchronize_axes=True,
                ignore_axes=coarse_axes,  # type: ignore[arg-type]  # its own default is None
                p_per_channel=0.5,
            ),
        ),
        (plan.inverted_gamma_probability, _gamma(gamma, p_invert_image=1)),
        (plan.gamma_probability, _gamma(gamma, p_invert_image=0)),
    ]
    transforms: list[BasicTransform] = [
        RandomTransform(transform, probability) for probability, transform in choices if probability
    ]
    if plan.mirror_axes:
        transforms.append(MirrorTransform(plan.mirror_axes))
    return ComposeTransforms(transforms)


def _factor(limits: tuple[float, float]) -> Callable[..., float]:
    """Return a draw of a factor that is below and above 1 with equal chance."""
    return BGContrast(limits).sample_contrast  # type: ignore[return-value]  # unannotated there


def _gamma(gamma: Callable[..., float], *, p_invert_image: float) -> GammaTransform:
    return GammaTransform(
        gamma, p_invert_image, synchronize_channels=False, p_per_channel=1, p_retain_stats=1
    )
