"""The supervised network: the same blocks, no noise."""

from jaxtyping import Float
from torch import Tensor, nn

from diffunet.networks.task import NetworkTask
from diffunet.networks.unet import Head, UNetShape, unet_body


class SegmentationNetwork(nn.Module):
    """Image to logits, with the bodies of the denoising networks: the supervised bound.

    Args:
        task: with at least one image channel.
        shape: the topology; its embedding_dim is None.
        has_concatenated_skips: take P1's body, otherwise the lighter one.
    """

    def __init__(self, task: NetworkTask, *, shape: UNetShape, has_concatenated_skips: bool):
        super().__init__()
        self.body = unet_body(
            task.num_image_channels, shape=shape, has_concatenated_skips=has_concatenated_skips
        )
        self.head = Head(shape.channels[0], task.num_label_channels, shape=shape)

    def forward(
        self, image: Float[Tensor, "batch channel *spatial"]
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return logits, float32."""
        return self.head(self.body(image, None)[0])
