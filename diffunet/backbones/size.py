"""How large a network is, as far as a plan tells without building it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffunet.plans import NetworkPlan


@dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """Encoder and decoder of one network, as far as their size goes."""

    plan: "NetworkPlan"
    channels: tuple[int, ...]
    num_blocks: tuple[int, ...]

    @property
    def num_weights(self) -> int:
        """Of the second convolution of each block, which has as many inputs as outputs."""
        per_stage = zip(self.channels, self.num_blocks, self.plan.kernel_sizes, strict=True)
        return sum(count * width**2 * math.prod(kernel) for width, count, kernel in per_stage)

    def num_values(self, patch_size: tuple[int, ...]) -> int:
        """What two convolutions in each block keep for the backward pass, for one patch."""
        voxels = math.prod(patch_size)
        total = 0
        per_stage = zip(self.channels, self.num_blocks, self.plan.strides, strict=True)
        for width, count, stride in per_stage:
            voxels //= math.prod(stride)
            total += 2 * count * width * voxels
        return total


def unet_size(plan: "NetworkPlan") -> NetworkSize:
    """Return the size of a plan's encoder and decoder, without its image encoder."""
    blocks = zip(plan.num_blocks, plan.num_decoder_blocks, strict=True)
    return NetworkSize(plan=plan, channels=plan.channels, num_blocks=tuple(map(sum, blocks)))


def encoder_size(plan: "NetworkPlan") -> NetworkSize:
    """Return the size of a plan's encoder alone."""
    return NetworkSize(plan=plan, channels=plan.channels, num_blocks=plan.num_blocks)


def image_encoder_sizes(plan: "NetworkPlan") -> list[NetworkSize]:
    """Return the size of a plan's image encoder, or nothing where there is none."""
    if not plan.image_channels:
        return []
    return [NetworkSize(plan=plan, channels=plan.image_channels, num_blocks=plan.num_image_blocks)]
