"""diffunet's own backbone: the image is encoded once, and a light network draws."""

import dataclasses
from typing import TYPE_CHECKING

from diffunet.backbones.size import NetworkSize, unet_size

if TYPE_CHECKING:
    from diffunet.networks.denoising import ConcatenatedNetwork, EncodedNetwork
    from diffunet.networks.segmentation import SegmentationNetwork
    from diffunet.networks.unet import UNetShape
    from diffunet.plans import NetworkPlan

# Residual blocks of an image encoder that the plan does not name: per decoder stage, and in the
# middle: as light as nnU-Net's residual encoder presets have them (Isensee et al. 2024,
# arXiv:2404.09556).
_NUM_IMAGE_DECODER_BLOCKS = 1
_NUM_IMAGE_MIDDLE_BLOCKS = 1


class Encoded:
    """A separate image encoder runs once per image, a lighter network at every step.

    Skips are added. Where labels alone condition, there is no image encoder.
    """

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse an image encoder that has not one entry per stage."""
        if not plan.image_channels and not plan.num_image_blocks:
            return
        for name in ("image_channels", "num_image_blocks"):
            if len(getattr(plan, name)) != len(plan.channels):
                raise ValueError(_wrong_length(plan, name))

    def check_conditioned(self, plan: "NetworkPlan") -> None:
        """Refuse a plan without an image encoder."""
        if not plan.image_channels:
            raise ValueError(_wrong_length(plan, "image_channels"))

    def denoising(
        self,
        plan: "NetworkPlan",
        *,
        num_image_channels: int,
        num_label_channels: int,
        has_final_tanh: bool,
    ) -> "EncodedNetwork":
        """Return the image encoder and the light network of the steps."""
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.denoising import EncodedNetwork

        return EncodedNetwork(
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
            shape=unet_shape(plan),
            image_shape=_image_shape(plan),
            has_final_tanh=has_final_tanh,
            num_classes=0,
        )

    def supervised(
        self, plan: "NetworkPlan", *, num_image_channels: int, num_label_channels: int
    ) -> "SegmentationNetwork":
        """Return the image encoder with a head."""
        from diffunet.networks.segmentation import SegmentationNetwork

        return SegmentationNetwork(
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
            shape=_image_shape(plan),
            has_concatenated_skips=False,
        )

    def image_denoising(
        self, plan: "NetworkPlan", *, num_image_channels: int, num_classes: int
    ) -> "ConcatenatedNetwork":
        """Return the light network alone."""
        from diffunet.backbones.shape import image_denoising_network

        return image_denoising_network(
            plan,
            num_image_channels=num_image_channels,
            num_classes=num_classes,
            has_concatenated_skips=False,
        )

    def denoising_sizes(self, plan: "NetworkPlan") -> list[NetworkSize]:
        """Return the sizes of both networks."""
        return [unet_size(plan), *self.supervised_sizes(plan)]

    def supervised_sizes(self, plan: "NetworkPlan") -> list[NetworkSize]:
        """Return the size of the image encoder."""
        return [
            NetworkSize(plan=plan, channels=plan.image_channels, num_blocks=plan.num_image_blocks)
        ]


def _image_shape(plan: "NetworkPlan") -> "UNetShape":
    from diffunet.backbones.shape import unet_shape

    return dataclasses.replace(
        unet_shape(plan),
        channels=plan.image_channels,
        num_blocks=plan.num_image_blocks,
        num_decoder_blocks=(_NUM_IMAGE_DECODER_BLOCKS,) * len(plan.strides),
        num_middle_blocks=_NUM_IMAGE_MIDDLE_BLOCKS,
    )


def _wrong_length(plan: "NetworkPlan", name: str) -> str:
    num_stages, found = len(plan.channels), len(getattr(plan, name))
    return f"{name} should have {num_stages} entries, as channels; found {found}"
