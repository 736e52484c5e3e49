"""P1's backbone: one U-Net that sees the image at every step (Christensen et al. 2025)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffunet.networks.denoising import ConcatenatedNetwork
    from diffunet.networks.segmentation import SegmentationNetwork
    from diffunet.networks.task import NetworkTask
    from diffunet.plans import NetworkPlan


class Concatenated:
    """The image is more channels of the input, at every step (P1); skips are concatenated."""

    has_image_encoder = False

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse stages without a block."""
        if 0 in plan.num_blocks + plan.num_decoder_blocks:
            raise ValueError(
                "num_blocks and num_decoder_blocks should be at least 1 with conditioning "
                f"'concatenated', got {list(plan.num_blocks)} and {list(plan.num_decoder_blocks)}"
            )

    def denoising(self, plan: "NetworkPlan", task: "NetworkTask") -> "ConcatenatedNetwork":
        """Return the U-Net."""
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.denoising import ConcatenatedNetwork

        return ConcatenatedNetwork(task, shape=unet_shape(plan))

    def supervised(self, plan: "NetworkPlan", task: "NetworkTask") -> "SegmentationNetwork":
        """Return the same U-Net from image to logits."""
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.segmentation import SegmentationNetwork

        return SegmentationNetwork(task, shape=unet_shape(plan), has_concatenated_skips=True)
