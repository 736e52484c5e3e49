"""The networks that denoise: one interface, and our two ways of conditioning on the image.

    features = network.encode_image(image)         once per image
    network(x_t, t, features, condition)           once per sampling step and sample
    condition = network.embed_labels(tags)         image-level labels, mixed outside at will

Features are a tuple of tensors, batch first, so that they can be selected, expanded and stored
without knowing what they are. A batch of one serves many samples of one image.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffunet.networks.blocks import GroupNorm, convolution
from diffunet.networks.embeddings import LabelEmbedding, TimeEmbedding, embedded_labels
from diffunet.networks.task import NetworkTask
from diffunet.networks.unet import Features, Head, ResidualUNet, UNetShape, unet_body


class DenoisingModule(nn.Module, ABC):
    """What the networks share: how they are called, and an output that may be bounded."""

    def __init__(self, task: NetworkTask):
        super().__init__()
        self.num_image_channels = task.num_image_channels
        self.has_final_tanh = task.has_final_tanh

    def forward(
        self,
        x_t: Float[Tensor, "batch state *spatial"],
        t: Float[Tensor, " batch"],
        features: Features | None = None,
        condition: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return the network's prediction for noised labels `x_t` at time `t` in [0, 1].

        Args:
            x_t: with an earlier x_0_hat as more channels, if the task says so.

        Raises:
            ValueError: features or a condition are missing, or are not what it was built for.
        """
        output = self._output(x_t, t, features, condition)
        return output.tanh() if self.has_final_tanh else output

    @abstractmethod
    def _output(
        self, x_t: Tensor, t: Tensor, features: Features | None, condition: Tensor | None
    ) -> Tensor:
        """Return the prediction before it is bounded, float32."""


@final
class ConcatenatedNetwork(DenoisingModule):
    """P1's network: the image is more channels of the input, at every step.

    Args:
        task: without image channels for a diffusion of images that nothing but labels conditions.
        shape: the topology, without embedding_dim.
        has_concatenated_skips: take P1's body, otherwise the lighter one.
    """

    def __init__(self, task: NetworkTask, *, shape: UNetShape, has_concatenated_skips: bool = True):
        super().__init__(task)
        self.conditioning = Conditioning(shape, num_classes=task.num_classes)
        self.condition_dim = self.conditioning.dim
        shape = dataclasses.replace(shape, embedding_dim=self.condition_dim)
        in_channels = task.num_image_channels + task.num_state_channels
        self.body = unet_body(
            in_channels, shape=shape, has_concatenated_skips=has_concatenated_skips
        )
        self.head = Head(shape.channels[0], task.num_label_channels, shape=shape)

    def encode_image(self, image: Float[Tensor, "batch channel *spatial"]) -> Features:
        """Return the image itself."""
        return (image,)

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for image-level labels, each 0 or 1."""
        return embedded_labels(self.conditioning.labels, tags)

    def _output(
        self, x_t: Tensor, t: Tensor, features: Features | None, condition: Tensor | None
    ) -> Tensor:
        x = with_image(x_t, features, num_image_channels=self.num_image_channels)
        return self.head(self.body(x, self.conditioning(t, condition))[0])


@final
class EncodedNetwork(DenoisingModule):
    """A U-Net that sees the image once, and a light one that runs at every sampling step.

    Each stage of the image encoder's decoder is projected to the light network's width, so that a
    step only adds it to its own state.

    Args:
        task: with at least one image channel.
        shape: topology of the light network, without embedding_dim.
        image_shape: topology of the image encoder; the same strides.
        has_pooled_input: each coarser stage also sees x_t at its resolution.
    """

    def __init__(
        self,
        task: NetworkTask,
        *,
        shape: UNetShape,
        image_shape: UNetShape,
        has_pooled_input: bool = False,
    ):
        super().__init__(task)
        self.conditioning = Conditioning(shape, num_classes=task.num_classes)
        self.condition_dim = self.conditioning.dim
        self.image_encoder = ResidualUNet(task.num_image_channels, shape=image_shape)
        self.projections = nn.ModuleList(
            Projection(image_width, width, shape=image_shape)
            for image_width, width in zip(image_shape.channels, shape.channels, strict=True)
        )
        shape = dataclasses.replace(shape, embedding_dim=self.condition_dim)
        self.body = ResidualUNet(task.num_state_channels, shape=shape)
        self.num_label_channels = task.num_label_channels
        self.pooled_input = (
            PooledInput(task.num_label_channels, shape=shape) if has_pooled_input else None
        )
        self.head = Head(shape.channels[0], task.num_label_channels, shape=shape)

    def encode_image(self, image: Float[Tensor, "batch channel *spatial"]) -> Features:
        """Return one feature map per stage of the light network."""
        maps = self.image_encoder(image, None)
        return tuple(project(each) for project, each in zip(self.projections, maps, strict=True))

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for image-level labels, each 0 or 1."""
        return embedded_labels(self.conditioning.labels, tags)

    def _output(
        self, x_t: Tensor, t: Tensor, features: Features | None, condition: Tensor | None
    ) -> Tensor:
        if features is None or len(features) != len(self.projections):
            raise ValueError(
                f"expected the {len(self.projections)} features of encode_image, "
                f"got {None if features is None else len(features)}"
            )
        if self.pooled_input is not None:
            finest, *coarser = features
            pooled = self.pooled_input(x_t[:, : self.num_label_channels])
            added = (feature + each for feature, each in zip(coarser, pooled, strict=True))
            features = (finest, *added)
        return self.head(self.body(x_t, self.conditioning(t, condition), features)[0])


def with_image(
    x_t: Float[Tensor, "batch state *spatial"],
    features: Features | None,
    *,
    num_image_channels: int,
) -> Float[Tensor, "batch channel *spatial"]:
    """Return `x_t` with the image as more channels; a batch of one serves every sample.

    Args:
        features: the image alone, or None where there are no image channels.

    Raises:
        ValueError: `features` are missing, or given to a network without image channels.
    """
    if (len(features) if features else 0) != min(num_image_channels, 1):
        raise ValueError(
            f"expected the features of encode_image for {num_image_channels} image "
            f"channels, got {None if features is None else len(features)}"
        )
    if not features:
        return x_t
    image = features[0].to(x_t.dtype).expand(len(x_t), *features[0].shape[1:])
    return torch.cat([x_t, image], dim=1)


class Conditioning(nn.Module):
    """The embedding of time, plus that of image-level labels where there are any.

    Args:
        shape: of the body that takes it; the length is 4 times its first stage's width, P1's 128
            at least.
        num_classes: image-level labels; 0 for none.
    """

    def __init__(self, shape: UNetShape, *, num_classes: int):
        super().__init__()
        self.dim = 4 * max(32, 2 * (shape.channels[0] // 2))
        self.time = TimeEmbedding(self.dim)
        self.labels = LabelEmbedding(num_classes, dim=self.dim) if num_classes else None

    def forward(
        self, t: Float[Tensor, " batch"], condition: Float[Tensor, "..."] | None
    ) -> Float[Tensor, "batch dim"]:
        """Return what the residual blocks take: the SiLU is theirs, but computed once."""
        embedding = self.time(t)
        return functional.silu(embedding if condition is None else embedding + condition)


class PooledInput(nn.Module):
    """x_t at each coarser resolution, as feature maps to be added there.

    Means over voxels times the root of their number: noise keeps its variance, while what the
    voxels have in common grows by that root. Whether a region is marked, which no single voxel
    shows at high noise, stands out where a voxel covers the region, and no layer has to learn it.

    Args:
        in_channels: of x_t.
        shape: topology of the network that takes the maps.
    """

    def __init__(self, in_channels: int, *, shape: UNetShape):
        super().__init__()
        self.cell, *self.strides = shape.strides
        self.convolutions = nn.ModuleList(
            convolution(in_channels, width, kernel_size=kernel)
            for width, kernel in zip(shape.channels[1:], shape.kernel_sizes[1:], strict=True)
        )

    def forward(self, x_t: Float[Tensor, "batch label *spatial"]) -> Features:
        """Return one feature map per stage but the first."""
        maps: list[Tensor] = []
        x_t = pooled(x_t, self.cell)
        for stride, project in zip(self.strides, self.convolutions, strict=True):
            x_t = pooled(x_t, stride)
            maps.append(project(x_t))
        return tuple(maps)


def pooled(
    x: Float[Tensor, "batch channel *spatial"], stride: Sequence[int]
) -> Float[Tensor, "batch channel *coarser"]:
    """Return sums over cells of `stride` voxels, divided by the root of their number."""
    if math.prod(stride) == 1:
        return x
    pool = functional.avg_pool2d if len(stride) == 2 else functional.avg_pool3d
    return pool(x, list(stride)) * math.sqrt(math.prod(stride))


class Projection(nn.Module):
    """Norm, SiLU and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, shape: UNetShape):
        super().__init__()
        self.norm = GroupNorm(in_channels, num_groups=shape.num_groups)
        self.convolution = convolution(
            in_channels, out_channels, kernel_size=(1,) * len(shape.strides[0])
        )

    def forward(
        self, x: Float[Tensor, "batch channel_in *spatial"]
    ) -> Float[Tensor, "batch channel_out *spatial"]:
        """Return the projected feature map."""
        return self.convolution(self.norm.silu(x))
