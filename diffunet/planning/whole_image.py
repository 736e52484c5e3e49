"""Patches that hold whole images, since an image-level label does not say where it applies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffunet.errors import PlansError
from diffunet.fingerprint.fingerprint import GeometryFingerprint
from diffunet.planning.choice import Choice
from diffunet.planning.geometry import PatchGrid, coarser_grid
from diffunet.planning.memory import (
    GIB,
    TrainingMemory,
    measure_image_model_memory,
    measure_training_memory,
)
from diffunet.planning.patch import (
    MIN_BATCH_SIZE,
    RESERVED_GB,
    SMALLEST_EDGE,
    PatchChoice,
    choose_batch_size,
)
from diffunet.planning.topology import (
    Topology,
    plan_image_model_network,
    plan_network,
    plan_pooling,
)
from diffunet.plans import WeakPlan, cam_plan_of

# Voxels are enlarged in steps of this factor's excess over 1 until whole images fit.
_STEP = 0.25


@dataclass(frozen=True, kw_only=True)
class GridChoice:
    """Patches, the resolution that they have, and the networks for them.

    Attributes:
        axes: the grid, with coarser voxels where whole images would not fit.
        spacing_mm: of `axes`, with the reason.
        patch: with the network of masks.
        image_model: the network of the diffusion of images; None where there are no image-level
            labels.
    """

    axes: PatchGrid
    spacing_mm: Choice[tuple[float, ...]]
    patch: PatchChoice
    image_model: Topology | None


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One resolution, and what trainings of every method need there; `patch` voxels per axis."""

    axes: PatchGrid
    patch: tuple[int, ...]
    network: Topology
    image_model: Topology
    memory: TrainingMemory

    @property
    def num_voxels(self) -> int:
        return math.prod(self.patch)


def choose_whole_images(
    axes: PatchGrid,
    *,
    geometry: GeometryFingerprint,
    spacing_reason: str,
    num_cases: int,
    num_image_channels: int,
    num_label_channels: int,
    num_classes: int,
    gpu_memory_gb: float,
) -> GridChoice:
    """Return patches that cover the largest image, at the resolution that memory allows.

    All methods can then be trained on the same patches: a mask's and an image's diffusion fit.

    Args:
        axes: at the spacing that is wanted.
        spacing_reason: why it is.
        num_label_channels: channels of encoded masks.
        num_classes: image-level labels.
        gpu_memory_gb: GiB of the GPU that shall suffice.

    Raises:
        PlansError: not even images of SMALLEST_EDGE voxels per axis fit.
    """
    smallest = MIN_BATCH_SIZE[axes.dimensions]
    budget = int((gpu_memory_gb - RESERVED_GB) * GIB)

    def attempt(factor: float) -> _Trial:
        coarser = axes if factor == 1 else coarser_grid(axes, geometry, factor=factor)
        return _measure(
            coarser,
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
            num_classes=num_classes,
        )

    factor = 1.0
    trial = attempt(factor)
    while trial.memory.total(smallest, num_voxels=trial.num_voxels) > budget:
        factor = _next_factor(factor, trial, budget=budget, batch_size=smallest)
        trial = attempt(factor)
    return GridChoice(
        axes=trial.axes,
        spacing_mm=_spacing(axes, trial.axes, spacing_reason, smallest, gpu_memory_gb),
        patch=_patch(trial, smallest=smallest, budget=budget, num_cases=num_cases),
        image_model=trial.image_model,
    )


def whole_patch(largest_shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return `largest_shape`, rounded up to multiples of the strides of the network for it."""
    divisors = plan_pooling(largest_shape, spacing_mm).divisors
    return tuple(
        math.ceil(edge / divisor) * divisor
        for edge, divisor in zip(largest_shape, divisors, strict=True)
    )


def _patch(trial: _Trial, *, smallest: int, budget: int, num_cases: int) -> PatchChoice:
    axes = trial.axes
    batch_size, batch_reason = choose_batch_size(
        trial.memory,
        smallest=smallest,
        budget=budget,
        num_voxels=trial.num_voxels,
        num_training_voxels=num_cases * axes.num_slices * math.prod(axes.median_shape),
    )
    return PatchChoice(
        patch_size=trial.patch,
        batch_size=batch_size,
        network=trial.network.network,
        reasons={
            "patch_size": f"The largest image, {list(axes.largest_shape)} voxels, rounded up to "
            "multiples of the network's strides: a label belongs to the whole image, and a part of "
            "the image may not show what the label says.",
            "batch_size": batch_reason,
            "network": trial.network.reasons,
        },
    )


def _measure(
    axes: PatchGrid, *, num_image_channels: int, num_label_channels: int, num_classes: int
) -> _Trial:
    patch = whole_patch(axes.largest_shape, axes.spacing_mm)
    network = plan_network(patch, axes.spacing_mm, num_label_channels=num_label_channels)
    image_model = plan_image_model_network(patch, axes.spacing_mm)
    of_masks = measure_training_memory(
        network.network,
        num_image_channels=num_image_channels,
        num_label_channels=num_label_channels,
    )
    of_images = measure_image_model_memory(
        WeakPlan(network=image_model.network, cam=cam_plan_of(image_model.network)),
        num_image_channels=num_image_channels,
        num_classes=num_classes,
    )
    return _Trial(
        axes=axes,
        patch=patch,
        network=network,
        image_model=image_model,
        memory=of_masks.or_more(of_images),
    )


def _next_factor(factor: float, trial: _Trial, *, budget: int, batch_size: int) -> float:
    """Return the factor at which images fit if smaller networks cost as much as `trial`'s."""
    dimensions = trial.axes.dimensions
    affordable = (budget - trial.memory.fixed) / (trial.memory.per_voxel * batch_size)
    if affordable < SMALLEST_EDGE**dimensions:
        needed = trial.memory.total(batch_size, num_voxels=SMALLEST_EDGE**dimensions)
        raise PlansError(
            f"{batch_size} images of {SMALLEST_EDGE} voxels per axis, the smallest worth "
            f"training, need {needed / GIB + RESERVED_GB:.2f} GB of GPU memory, expected at most "
            f"{budget / GIB + RESERVED_GB:.2f}; raise -gpu_memory_target"
        )
    wanted = factor * (trial.num_voxels / affordable) ** (1 / dimensions)
    return max(factor + _STEP, math.floor(wanted / _STEP) * _STEP)


def _spacing(
    wanted: PatchGrid, taken: PatchGrid, reason: str, batch_size: int, gpu_memory_gb: float
) -> Choice[tuple[float, ...]]:
    if wanted == taken:
        return Choice(taken.spacing_mm, reason)
    warning = (
        f"The spacing is {_mm(taken.spacing_mm)} in place of {_mm(wanted.spacing_mm)} mm: "
        f"{batch_size} whole images of {list(wanted.largest_shape)} voxels, the smallest batch "
        f"worth training, do not fit into {gpu_memory_gb:g} GB of GPU memory, and labels of whole "
        "images say nothing about parts. Small findings may be lost; raise -gpu_memory_target."
    )
    return Choice(taken.spacing_mm, f"{reason} {warning}", warning)


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in spacing)
