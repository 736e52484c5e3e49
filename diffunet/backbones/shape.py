"""From the fields of a plan to our own U-Nets, for the backbones that are made of them."""

from typing import TYPE_CHECKING

from diffunet.networks.denoising import ConcatenatedNetwork
from diffunet.networks.unet import UNetShape

if TYPE_CHECKING:
    from diffunet.plans import NetworkPlan


def unet_shape(plan: "NetworkPlan") -> UNetShape:
    """Return the shape of the U-Net that a plan describes, without its image encoder."""
    return UNetShape(
        channels=plan.channels,
        strides=plan.strides,
        kernel_sizes=plan.kernel_sizes,
        num_blocks=plan.num_blocks,
        num_decoder_blocks=plan.num_decoder_blocks,
        num_middle_blocks=plan.num_middle_blocks,
        has_attention=plan.has_attention,
        num_heads=plan.num_heads,
        num_groups=plan.num_groups,
        dropout=plan.dropout,
        embedding_dim=None,
    )


def image_denoising_network(
    plan: "NetworkPlan", *, num_image_channels: int, num_classes: int, has_concatenated_skips: bool
) -> ConcatenatedNetwork:
    """Return a U-Net that denoises images; labels alone condition it."""
    return ConcatenatedNetwork(
        num_image_channels=0,
        num_label_channels=num_image_channels,
        shape=unet_shape(plan),
        has_final_tanh=False,
        num_classes=num_classes,
        has_concatenated_skips=has_concatenated_skips,
    )
