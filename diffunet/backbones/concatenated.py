"""P1's backbone: one U-Net that sees the image at every step (Christensen et al. 2025)."""

from typing import TYPE_CHECKING

from diffunet.backbones.size import NetworkSize, unet_size

if TYPE_CHECKING:
    from diffunet.networks.denoising import ConcatenatedNetwork
    from diffunet.networks.segmentation import SegmentationNetwork
    from diffunet.plans import NetworkPlan


class Concatenated:
    """The image is more channels of the input, at every step (P1); skips are concatenated."""

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse an image encoder, and stages without a block."""
        if plan.image_channels:
            raise ValueError("image_channels are only for conditioning 'encoded'")
        if 0 in plan.num_blocks + plan.num_decoder_blocks:
            raise ValueError(
                "num_blocks and num_decoder_blocks should be at least 1 with conditioning "
                f"'concatenated', got {list(plan.num_blocks)} and {list(plan.num_decoder_blocks)}"
            )

    def check_conditioned(self, plan: "NetworkPlan") -> None:
        """Refuse nothing: the input takes any image."""

    def denoising(
        self,
        plan: "NetworkPlan",
        *,
        num_image_channels: int,
        num_label_channels: int,
        has_final_tanh: bool,
    ) -> "ConcatenatedNetwork":
        """Return the U-Net."""
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.denoising import ConcatenatedNetwork

        return ConcatenatedNetwork(
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
            shape=unet_shape(plan),
            has_final_tanh=has_final_tanh,
            num_classes=0,
        )

    def supervised(
        self, plan: "NetworkPlan", *, num_image_channels: int, num_label_channels: int
    ) -> "SegmentationNetwork":
        """Return the same U-Net from image to logits."""
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.segmentation import SegmentationNetwork

        return SegmentationNetwork(
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
            shape=unet_shape(plan),
            has_concatenated_skips=True,
        )

    def image_denoising(
        self, plan: "NetworkPlan", *, num_image_channels: int, num_classes: int
    ) -> "ConcatenatedNetwork":
        """Return the same U-Net, whose input is the noised image alone."""
        from diffunet.backbones.shape import image_denoising_network

        return image_denoising_network(
            plan,
            num_image_channels=num_image_channels,
            num_classes=num_classes,
            has_concatenated_skips=True,
        )

    def denoising_sizes(self, plan: "NetworkPlan") -> list[NetworkSize]:
        """Return the size of the U-Net."""
        return [unet_size(plan)]

    def supervised_sizes(self, plan: "NetworkPlan") -> list[NetworkSize]:
        """Return the size of the U-Net."""
        return [unet_size(plan)]
