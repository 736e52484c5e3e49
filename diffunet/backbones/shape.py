"""From the fields of a plan to the shape of a U-Net."""

from typing import TYPE_CHECKING

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
