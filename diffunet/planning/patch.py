"""The largest patch whose training step fits into memory, and then the largest batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffunet.errors import PlansError
from diffunet.planning.memory import GIB, TrainingMemory, measure_training_memory
from diffunet.planning.topology import MIN_COARSEST_EDGE, Topology, plan_network, plan_pooling
from diffunet.plans import NetworkPlan

# Where the search for a patch starts, per number of dimensions: voxels, shared isotropically in mm
# (nnU-Net).
LARGEST_NUM_VOXELS = {2: 2048**2, 3: 256**3}

# P1 trains 2D images by 8; volumes are large enough to be trained by 2 (nnU-Net).
MIN_BATCH_SIZE = {2: 8, 3: 2}

# Beyond it, more iterations serve the training better than larger batches.
MAX_BATCH_SIZE = 32

# A batch sees at most this share of the training voxels, so that few images do not repeat within it
# (nnU-Net).
MAX_BATCH_SHARE = 0.05

# GPU memory kept free for the CUDA context and the convolutions' workspaces.
RESERVED_GB = 1.0

# No axis is made shorter than this: the first length at which it is halved.
SMALLEST_EDGE = 2 * MIN_COARSEST_EDGE

# The search starts from what the network of a patch of this edge needs for each voxel: deeper ones
# need nearly the same, and take longer to measure.
_ESTIMATE_EDGE = 64


@dataclass(frozen=True, kw_only=True)
class PatchChoice:
    """A patch, a batch, and the network for them.

    Attributes:
        patch_size: voxels per axis, multiples of the network's strides.
        batch_size: patches.
        network: the default network for this patch.
        reasons: sentences for "patch_size", "batch_size" and, nested, the fields of "network".
    """

    patch_size: tuple[int, ...]
    batch_size: int
    network: NetworkPlan
    reasons: dict[str, Any]


def choose_patch(
    median_shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    num_image_channels: int,
    num_label_channels: int,
    num_training_voxels: int,
    gpu_memory_gb: float,
) -> PatchChoice:
    """Return the largest patch that can be trained by the smallest batch, then the largest batch.

    The patch starts isotropic in mm, no larger than the median image. While it does not fit, the
    axis that covers most of the median image is shortened.

    Args:
        median_shape: of the training images at `spacing_mm`, 2 or 3 axes.
        spacing_mm: of the images as trained on.
        num_label_channels: channels of x_t.
        num_training_voxels: of all training images together, at `spacing_mm`.
        gpu_memory_gb: GiB of the GPU that shall suffice.

    Raises:
        PlansError: not even the smallest patch fits.
    """
    dimensions = len(median_shape)
    search = _Search(
        median_shape=tuple(median_shape),
        spacing_mm=tuple(spacing_mm),
        batch_size=MIN_BATCH_SIZE[dimensions],
        budget=int((gpu_memory_gb - RESERVED_GB) * GIB),
    )

    def plan_and_measure(patch: Sequence[int]) -> tuple[Topology, TrainingMemory]:
        topology = plan_network(patch, spacing_mm, num_label_channels=num_label_channels)
        memory = measure_training_memory(
            topology.network,
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
        )
        return topology, memory

    start = search.start()
    _, estimate = plan_and_measure([min(edge, _ESTIMATE_EDGE) for edge in start])
    patch = search.shrunk_to_fit(start, estimate)
    topology, memory = plan_and_measure(patch)
    while not search.fits(patch, memory):
        patch = search.shrunk_to_fit(patch, memory)
        topology, memory = plan_and_measure(patch)
    batch_size, batch_reason = choose_batch_size(
        memory,
        smallest=search.batch_size,
        budget=search.budget,
        num_voxels=math.prod(patch),
        num_training_voxels=num_training_voxels,
    )
    return PatchChoice(
        patch_size=patch,
        batch_size=batch_size,
        network=topology.network,
        reasons={
            "patch_size": search.reason(patch, start=start, gpu_memory_gb=gpu_memory_gb),
            "batch_size": batch_reason,
            "network": topology.reasons,
        },
    )


def initial_patch(median_shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return LARGEST_NUM_VOXELS voxels, isotropic in mm, no axis longer than the median image."""
    dimensions = len(median_shape)
    voxel_mm = math.prod(spacing_mm)
    edge_mm = (LARGEST_NUM_VOXELS[dimensions] * voxel_mm) ** (1 / dimensions)
    return tuple(
        min(max(round(edge_mm / spacing), 1), length)
        for length, spacing in zip(median_shape, spacing_mm, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class _Search:
    """The search for a patch of which `batch_size` fit into `budget` bytes."""

    median_shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    batch_size: int
    budget: int

    def start(self) -> tuple[int, ...]:
        """Return the largest patch worth trying, as multiples of its network's strides."""
        patch = initial_patch(self.median_shape, self.spacing_mm)
        divisors = plan_pooling(patch, self.spacing_mm).divisors
        return tuple(
            math.ceil(edge / divisor) * divisor
            for edge, divisor in zip(patch, divisors, strict=True)
        )

    def fits(self, patch: tuple[int, ...], memory: TrainingMemory) -> bool:
        return memory.total(self.batch_size, num_voxels=math.prod(patch)) <= self.budget

    def shrunk_to_fit(self, patch: tuple[int, ...], memory: TrainingMemory) -> tuple[int, ...]:
        """Return a smaller patch that fits, if smaller networks cost as much as `memory` says."""
        while not self.fits(patch, memory):
            shorter = self._shortened(patch)
            if shorter is None:
                needed = memory.total(self.batch_size, num_voxels=math.prod(patch))
                raise PlansError(
                    f"{self.batch_size} patches of {list(patch)} voxels, the smallest worth "
                    f"training, need {needed / GIB + RESERVED_GB:.2f} GB of GPU memory, expected "
                    f"at most {self.budget / GIB + RESERVED_GB:.2f}; raise -gpu_memory_target"
                )
            patch = shorter
        return patch

    def _shortened(self, patch: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return `patch` with that axis shortened that covers most of the median image.

        By one multiple of the strides; among equals, the axis that is longest in mm.
        """
        divisors = plan_pooling(patch, self.spacing_mm).divisors
        axes = [
            axis
            for axis, divisor in enumerate(divisors)
            if patch[axis] - divisor >= min(SMALLEST_EDGE, self.median_shape[axis])
        ]
        if not axes:
            return None
        longest = max(axes, key=lambda axis: self._coverage(patch, axis))
        shorter = list(patch)
        shorter[longest] -= divisors[longest]
        return self._rounded_down(shorter)

    def _coverage(self, patch: tuple[int, ...], axis: int) -> tuple[float, float]:
        edge_mm = patch[axis] * self.spacing_mm[axis]
        return patch[axis] / self.median_shape[axis], edge_mm

    def _rounded_down(self, patch: Sequence[int]) -> tuple[int, ...]:
        """Return multiples of the strides of the network for the returned patch itself."""
        while True:
            divisors = plan_pooling(patch, self.spacing_mm).divisors
            rounded = [
                edge // divisor * divisor for edge, divisor in zip(patch, divisors, strict=True)
            ]
            if rounded == list(patch):
                return tuple(rounded)
            patch = rounded

    def reason(
        self, patch: tuple[int, ...], *, start: tuple[int, ...], gpu_memory_gb: float
    ) -> str:
        """Return why the patch is as it is."""
        if patch == start and all(
            edge >= length for edge, length in zip(patch, self.median_shape, strict=True)
        ):
            return "the median image as a whole, rounded up to multiples of the network's strides"
        if patch == start:
            return "isotropic in mm; the network could not use the context of a larger patch"
        return (
            f"the largest of which {self.batch_size} fit into {gpu_memory_gb:g} GB of GPU memory; "
            f"the median image has {list(self.median_shape)} voxels"
        )


def choose_batch_size(
    memory: TrainingMemory,
    *,
    smallest: int,
    budget: int,
    num_voxels: int,
    num_training_voxels: int,
) -> tuple[int, str]:
    """Return the largest batch worth training, and why.

    Args:
        smallest: what is taken if all limits are lower.
        budget: bytes.
        num_voxels: of a patch.
        num_training_voxels: of all training images together.
    """
    limits = {
        "the GPU's memory": memory.largest_batch(budget, num_voxels=num_voxels),
        f"{MAX_BATCH_SHARE:.0%} of the training voxels": int(
            MAX_BATCH_SHARE * num_training_voxels / num_voxels
        ),
        "more iterations serve better than larger batches": MAX_BATCH_SIZE,
    }
    reason = min(limits, key=lambda each: limits[each])
    if limits[reason] < smallest:
        return smallest, f"the minimum; otherwise limited by {reason}"
    return limits[reason], f"limited by: {reason}"
