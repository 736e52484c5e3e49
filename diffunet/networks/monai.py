"""MONAI's DiffusionModelUNet behind the interface of our own denoising networks."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn

from diffunet.networks.blocks import largest_divisor
from diffunet.networks.denoising import DenoisingModule, with_image
from diffunet.networks.embeddings import LabelEmbedding, embedded_labels
from diffunet.networks.task import NetworkTask
from diffunet.networks.unet import Features, UNetShape

_NUM_TIMESTEPS = 1000
"""MONAI's sinusoids are for timesteps from 0 to this (Ho et al. 2020); ours are for t in [0, 1]."""


@final
class MonaiNetwork(DenoisingModule):
    """Denoises masks of an image that is more channels of the input, or images of given labels.

    The embedding of labels is added to that of time, where MONAI adds one of class numbers.

    Args:
        task: channels and classes.
        shape: what MONAI's network can be told of it.
    """

    def __init__(self, task: NetworkTask, *, shape: UNetShape):
        super().__init__(task)
        self.condition_dim = 4 * shape.channels[0]
        self.labels = None
        if task.num_classes:
            self.labels = LabelEmbedding(task.num_classes, dim=self.condition_dim)
        self.body = _unet(
            task.num_image_channels + task.num_state_channels,
            task.num_label_channels,
            shape=shape,
            has_condition=self.labels is not None,
        )

    def encode_image(self, image: Float[Tensor, "batch channel *spatial"]) -> Features:
        """Return the image itself."""
        return (image,)

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for image-level labels, each 0 or 1."""
        return embedded_labels(self.labels, tags)

    def _output(
        self, x_t: Tensor, t: Tensor, features: Features | None, condition: Tensor | None
    ) -> Tensor:
        if (condition is None) != (self.labels is None):
            raise ValueError(f"expected {'no' if self.labels is None else 'a'} condition")
        x = with_image(x_t, features, num_image_channels=self.num_image_channels)
        if condition is not None:
            condition = condition.expand(len(x), -1)
        return self.body(x, _NUM_TIMESTEPS * t, class_labels=condition).float()


class MonaiSegmentationNetwork(nn.Module):
    """Image to logits by the same network, which is told that t = 0: the supervised bound."""

    def __init__(self, task: NetworkTask, *, shape: UNetShape):
        super().__init__()
        self.body = _unet(
            task.num_image_channels, task.num_label_channels, shape=shape, has_condition=False
        )

    def forward(
        self, image: Float[Tensor, "batch channel *spatial"]
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return logits, float32."""
        return self.body(image, image.new_zeros(len(image))).float()


def _unet(
    in_channels: int, out_channels: int, *, shape: UNetShape, has_condition: bool
) -> DiffusionModelUNet:
    network = DiffusionModelUNet(
        spatial_dims=len(shape.strides[0]),
        in_channels=in_channels,
        out_channels=out_channels,
        num_res_blocks=shape.num_blocks,
        channels=shape.channels,
        attention_levels=shape.has_attention,
        norm_num_groups=shape.num_groups,
        num_head_channels=_head_widths(shape.channels, shape.num_heads),
        num_class_embeds=1 if has_condition else None,
        use_flash_attention=True,
    )
    if has_condition:  # comes embedded, and may be mixed
        network.class_embedding = nn.Identity()  # pyright: ignore  # it takes any module
    return network


def _head_widths(channels: Sequence[int], num_heads: int) -> tuple[int, ...]:
    return tuple(width // largest_divisor(width, num_heads) for width in channels)
