"""The supervised network: the same blocks, no noise."""

from jaxtyping import Float
from torch import Tensor, nn

from diffunet.networks.unet import Head, ResidualUNet, UNet, UNetShape


class SegmentationNetwork(nn.Module):
    """Image to logits, with the bodies of the denoising networks: the supervised bound.

    Args:
        num_image_channels: at least 1.
        num_label_channels: logits per voxel.
        shape: the topology; its embedding_dim is None.
        has_concatenated_skips: take P1's body, otherwise the lighter one.
    """

    def __init__(
        self,
        *,
        num_image_channels: int,
        num_label_channels: int,
        shape: UNetShape,
        has_concatenated_skips: bool,
    ):
        super().__init__()
        body = UNet if has_concatenated_skips else ResidualUNet
        self.body = body(num_image_channels, shape=shape)
        self.head = Head(shape.channels[0], num_label_channels, shape=shape)

    def forward(
        self, image: Float[Tensor, "batch channel *spatial"]
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return logits, float32."""
        return self.head(self.body(image, None)[0])
