"""The U-Net's shape for a patch: how often each axis is halved, kernels, widths.

Halving and kernels follow nnU-Net's rules (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z): an
axis is halved once its voxels are about as fine as the finest, and convolved along from then on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffunet.plans import NetworkPlan

# An axis is halved only if this many voxels are left of it: attention and the middle see the whole
# patch, so there is no need to go down to nnU-Net's 4.
MIN_COARSEST_EDGE = 8

# With this many stages the coarsest is a 16th of the patch; more are added only where attention
# would be over more positions than MAX_ATTENTION_POSITIONS.
USUAL_NUM_STAGES = 5
MAX_ATTENTION_POSITIONS = 4096

# Voxel sizes along two axes count as alike below this ratio (nnU-Net).
MAX_SPACING_RATIO = 2.0

# Widths of the image encoder, doubled from stage to stage up to the largest: 5 to 9 million
# parameters for a patch of usual size. The network of the sampling steps has half of them.
IMAGE_BASE_CHANNELS = 32
MAX_IMAGE_CHANNELS = {2: 192, 3: 96}

# Widths of an image diffusion, which runs whole at every step: half of the image encoder's at the
# finest stage, where nearly all of its work is. On 64 x 64 pixels one CPU core trains 75 images a
# second, and about half as many with twice that width.
FINEST_IMAGE_MODEL_CHANNELS = IMAGE_BASE_CHANNELS // 2
MAX_IMAGE_MODEL_CHANNELS = 128

# Attention of an image diffusion over more positions costs more than it was seen to give.
MAX_IMAGE_MODEL_ATTENTION_POSITIONS = 256

# Normalising a group of one channel (P1: 32 groups of 32 channels) removes the channel's mean; in a
# group of several channels, the differences between their means stay.
NUM_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How the resolution falls; one entry per stage, finest first, each with one value per axis.

    Attributes:
        strides: 1 or 2; at the first stage ones, or the edges of a cell where voxels are folded.
        kernel_sizes: 1 or 3.
    """

    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]

    @property
    def divisors(self) -> tuple[int, ...]:
        """What each axis of a patch must be a multiple of."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))

    def coarsest(self, patch_size: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a patch at the last stage."""
        return tuple(
            -(-edge // divisor) for edge, divisor in zip(patch_size, self.divisors, strict=True)
        )

    def folded(self) -> "Pooling":
        """Return the same without the finest stage: its cells become channels of the next one."""
        if len(self.strides) == 1:
            return self
        finest, next_one, *others = self.strides
        cell = tuple(edge * step for edge, step in zip(finest, next_one, strict=True))
        return Pooling(strides=(cell, *others), kernel_sizes=self.kernel_sizes[1:])

    def network(
        self, channels: Sequence[int], *, has_attention: bool, num_groups: int, **others: Any
    ) -> NetworkPlan:
        """Return a network with one block a stage, and attention at the last one alone, or none."""
        num_stages = len(self.strides)
        return NetworkPlan(
            conditioning="encoded",
            channels=tuple(channels),
            strides=self.strides,
            kernel_sizes=self.kernel_sizes,
            num_blocks=(1,) * num_stages,
            num_decoder_blocks=(1,) * num_stages,
            num_middle_blocks=1,
            has_attention=(False,) * (num_stages - 1) + (has_attention,),
            num_groups=num_groups,
            **others,
        )


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A network for a patch, with the reasons for its values.

    Attributes:
        network: the plan.
        divisors: what each axis of a patch must be a multiple of.
        reasons: a sentence for each chosen field of `network`.
    """

    network: NetworkPlan
    divisors: tuple[int, ...]
    reasons: dict[str, str]


def plan_pooling(
    patch_size: Sequence[int], spacing_mm: Sequence[float], *, num_foldings: int = 0
) -> Pooling:
    """Return how the resolution falls from stage to stage.

    A stage halves every axis that keeps at least MIN_COARSEST_EDGE voxels, unless its voxels are
    MAX_SPACING_RATIO times as large as the smallest among the axes that could be halved. Along an
    axis the kernel is 1 until its voxels are less than that ratio times the finest ones.

    Args:
        patch_size: voxels per axis.
        spacing_mm: of these voxels.
        num_foldings: how many of the finest stages are left out. All but the first of these come
            back at the coarse end, where attention would be over too many positions for a laptop.
    """
    edges, spacing = list(patch_size), list(spacing_mm)
    strides = [(1,) * len(edges)]
    kernels = [_kernel((1,) * len(edges), spacing)]
    num_stages = USUAL_NUM_STAGES + max(0, num_foldings - 1)
    while len(strides) < num_stages or math.prod(edges) > MAX_ATTENTION_POSITIONS:
        stride = _stride(edges, spacing)
        if stride is None:
            break
        edges = [-(-edge // step) for edge, step in zip(edges, stride, strict=True)]
        spacing = [size * step for size, step in zip(spacing, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(kernels[-1], spacing))
    pooling = Pooling(strides=tuple(strides), kernel_sizes=tuple(kernels))
    for _ in range(num_foldings):
        pooling = pooling.folded()
    return pooling


def plan_network(
    patch_size: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    num_label_channels: int,
    width: float = 1.0,
    num_foldings: int = 0,
) -> Topology:
    """Return diffunet's default network: an image encoder, and a light network for the steps.

    Args:
        patch_size: voxels per axis, 2 or 3 of them.
        spacing_mm: of these voxels.
        num_label_channels: channels of x_t.
        width: factor of all channels.
        num_foldings: how many of the finest stages to leave out; widths begin with those of the
            finest, and twice as wide where cells have more than two voxels along an axis.
    """
    pooling = plan_pooling(patch_size, spacing_mm, num_foldings=num_foldings)
    num_stages = len(pooling.strides)
    smallest = IMAGE_BASE_CHANNELS * 2 ** max(0, num_foldings - 1)
    largest = MAX_IMAGE_CHANNELS[len(patch_size)]
    image_channels = tuple(
        round(width * min(max(smallest, IMAGE_BASE_CHANNELS * 2**stage), largest))
        for stage in range(num_stages)
    )
    num_values = num_label_channels * max(2, math.prod(pooling.strides[0]))
    narrowest = NUM_GROUPS * math.ceil(num_values / NUM_GROUPS)
    if num_foldings:  # half the width is too little for all voxels of a cell (log.md)
        narrowest = max(narrowest, image_channels[0])
    network = pooling.network(
        [max(channels // 2, narrowest) for channels in image_channels],
        has_attention=True,
        num_groups=_num_groups(width),
        has_pooled_input=True,
        image_channels=image_channels,
        num_image_blocks=tuple(1 if stage < 2 else 2 for stage in range(num_stages)),
    )
    reasons = _reasons(pooling.coarsest(patch_size), num_label_channels=num_label_channels)
    return Topology(network=network, divisors=pooling.divisors, reasons=reasons)


def plan_image_model_network(
    patch_size: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    num_channels: int = 1,
    width: float = 1.0,
    num_foldings: int = 0,
) -> Topology:
    """Return the network of a diffusion of images that is conditioned on labels alone.

    Args:
        patch_size: voxels per axis, 2 or 3 of them.
        spacing_mm: of these voxels.
        num_channels: of the images.
        width: factor of all channels.
        num_foldings: how many of the finest stages to leave out; widths then begin as wide as that
            number of doublings.
    """
    pooling = plan_pooling(patch_size, spacing_mm, num_foldings=num_foldings)
    num_stages = len(pooling.strides)
    num_positions = math.prod(pooling.coarsest(patch_size))
    narrowest = 0
    if num_foldings:  # all pixels of a cell pass through it
        num_values = num_channels * math.prod(pooling.strides[0])
        narrowest = NUM_GROUPS * math.ceil(num_values / NUM_GROUPS)
    doublings = [max(num_foldings, stage + min(num_foldings, 1)) for stage in range(num_stages)]
    widths = [
        min(FINEST_IMAGE_MODEL_CHANNELS * 2**number, MAX_IMAGE_MODEL_CHANNELS)
        for number in doublings
    ]
    network = pooling.network(
        [max(narrowest, round(width * each)) for each in widths],
        num_groups=_num_groups(width),
        has_attention=num_positions <= MAX_IMAGE_MODEL_ATTENTION_POSITIONS,
        has_final_tanh=False,
    )
    reasons = {
        "conditioning": "the lighter U-Net with added skips; there is no image to encode, since "
        "only labels condition it",
        "channels": f"doubled from {FINEST_IMAGE_MODEL_CHANNELS} up to {MAX_IMAGE_MODEL_CHANNELS}: "
        "full resolution takes most of the time, and the whole network runs twice at every step "
        "of a map",
        "strides": "those of the other network: one patch serves both",
        "kernel_sizes": "those of the other network",
        "has_pooled_input": "of networks with an image encoder alone",
        "num_blocks": "one per stage, for the same reason as channels",
        "num_decoder_blocks": "as num_blocks",
        "num_middle_blocks": "as num_blocks",
        "has_attention": f"the coarsest stage has {num_positions} positions; attention is taken up "
        f"to {MAX_IMAGE_MODEL_ATTENTION_POSITIONS}, at that stage only",
        "num_heads": "P1's",
        "num_groups": f"{NUM_GROUPS} groups of several channels each",
        "image_channels": "none: there is no image encoder",
        "num_image_blocks": "none: there is no image encoder",
        "has_final_tanh": "none: v and images have no bounds",
        "dropout": "none, as P1",
    }
    return Topology(network=network, divisors=pooling.divisors, reasons=reasons)


def _num_groups(width: float) -> int:
    """Return NUM_GROUPS, or fewer for narrow networks, whose groups keep several channels too."""
    return max(1, round(min(1.0, width) * NUM_GROUPS))


def _stride(edges: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...] | None:
    """Return the next stage's stride, or None where no axis can be halved."""
    can_be_halved = [edge >= 2 * MIN_COARSEST_EDGE for edge in edges]
    if not any(can_be_halved):
        return None
    finest = min(size for size, can in zip(spacing, can_be_halved, strict=True) if can)
    return tuple(
        2 if can and size < MAX_SPACING_RATIO * finest else 1
        for size, can in zip(spacing, can_be_halved, strict=True)
    )


def _kernel(before: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the kernel of a stage; an axis that was convolved along once stays so."""
    finest = min(spacing)
    return tuple(
        3 if size == 3 or step < MAX_SPACING_RATIO * finest else 1
        for size, step in zip(before, spacing, strict=True)
    )


def _reasons(coarsest: Sequence[int], *, num_label_channels: int) -> dict[str, str]:
    left = " x ".join(str(edge) for edge in coarsest)
    largest = MAX_IMAGE_CHANNELS[len(coarsest)]
    return {
        "conditioning": "the image is encoded once and serves all samples and sampling steps",
        "strides": f"axes are halved while {MIN_COARSEST_EDGE} voxels are left and spacings are "
        f"alike; the coarsest stage has {left} voxels",
        "kernel_sizes": "3 along an axis once its spacing is less than twice the finest, else 1",
        "image_channels": f"doubled from {IMAGE_BASE_CHANNELS} up to {largest}",
        "num_image_blocks": "most of the capacity where resolution is low and work is cheap",
        "channels": "half of image_channels, at least twice the "
        f"{num_label_channels} channels of x_t: this part runs at every sampling step",
        "num_blocks": "one per stage, since this part runs at every sampling step",
        "num_decoder_blocks": "one per stage, since this part runs at every sampling step",
        "num_middle_blocks": "one, since this part runs at every sampling step",
        "has_attention": f"at the coarsest stage only, over {math.prod(coarsest)} positions",
        "has_pooled_input": "what a region's voxels have in common stands out from noise where one "
        "voxel covers them",
        "num_groups": f"{NUM_GROUPS} groups of several channels each",
    }
