"""diffunet's own backbone: the image is encoded once, and a light network draws."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffunet.networks.denoising import ConcatenatedNetwork, EncodedNetwork
    from diffunet.networks.segmentation import SegmentationNetwork
    from diffunet.networks.task import NetworkTask
    from diffunet.networks.unet import UNetShape
    from diffunet.plans import NetworkPlan

# Residual blocks of an image encoder that no plan field sets, per decoder stage and in the middle:
# as light as in nnU-Net's residual encoder presets (Isensee et al. 2024, arXiv:2404.09556).
_NUM_IMAGE_DECODER_BLOCKS = 1
_NUM_IMAGE_MIDDLE_BLOCKS = 1


class Encoded:
    """A separate image encoder runs once per image, a lighter network at every step.

    Skips are added. Where labels alone condition, there is no image encoder.
    """

    has_image_encoder = True

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse nothing: all fields may be anything."""

    def denoising(
        self, plan: "NetworkPlan", task: "NetworkTask"
    ) -> "EncodedNetwork | ConcatenatedNetwork":
        """Return the image encoder and the light network of the steps, or that alone."""
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.denoising import ConcatenatedNetwork, EncodedNetwork

        shape = unet_shape(plan)
        if task.num_image_channels:
            return EncodedNetwork(
                task,
                shape=shape,
                image_shape=_image_shape(plan),
                has_pooled_input=plan.has_pooled_input,
            )
        return ConcatenatedNetwork(task, shape=shape, has_concatenated_skips=False)

    def supervised(self, plan: "NetworkPlan", task: "NetworkTask") -> "SegmentationNetwork":
        """Return the image encoder with a head."""
        from diffunet.networks.segmentation import SegmentationNetwork

        return SegmentationNetwork(task, shape=_image_shape(plan), has_concatenated_skips=False)


def _image_shape(plan: "NetworkPlan") -> "UNetShape":
    from diffunet.backbones.shape import unet_shape

    return dataclasses.replace(
        unet_shape(plan),
        channels=plan.image_channels,
        num_blocks=plan.num_image_blocks,
        num_decoder_blocks=(_NUM_IMAGE_DECODER_BLOCKS,) * len(plan.strides),
        num_middle_blocks=_NUM_IMAGE_MIDDLE_BLOCKS,
    )
