"""The networks that denoise: one interface, two ways of conditioning on the image.

    features = network.encode_image(image)         once per image
    network(x_t, t, features, condition)           once per sampling step and sample
    condition = network.embed_labels(tags)         image-level labels, mixed outside at will

Features are a tuple of tensors, batch first, so that they can be selected, expanded and stored
without knowing what they are. A batch of one serves many samples of one image.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffunet.networks.blocks import GroupNorm, convolution
from diffunet.networks.embeddings import LabelEmbedding, TimeEmbedding
from diffunet.networks.unet import Features, Head, ResidualUNet, UNet, UNetShape


class ConcatenatedNetwork(nn.Module):
    """P1's network: the image is more channels of the input, at every step.

    Args:
        num_image_channels: 0 for a diffusion of images that nothing but labels conditions.
        num_label_channels: channels of x_t.
        shape: the topology, without embedding_dim.
        has_final_tanh: bound the output to (-1, 1).
        num_classes: image-level labels that `embed_labels` takes; 0 for none.
        has_concatenated_skips: take P1's body, otherwise the lighter one.
    """

    def __init__(
        self,
        *,
        num_image_channels: int,
        num_label_channels: int,
        shape: UNetShape,
        has_final_tanh: bool,
        num_classes: int,
        has_concatenated_skips: bool = True,
    ):
        super().__init__()
        self.num_image_channels = num_image_channels
        self.has_final_tanh = has_final_tanh
        self.conditioning = Conditioning(shape, num_classes=num_classes)
        self.condition_dim = self.conditioning.dim
        shape = dataclasses.replace(shape, embedding_dim=self.condition_dim)
        body = UNet if has_concatenated_skips else ResidualUNet
        self.body = body(num_image_channels + num_label_channels, shape=shape)
        self.head = Head(shape.channels[0], num_label_channels, shape=shape)

    def encode_image(self, image: Float[Tensor, "batch channel *spatial"]) -> Features:
        """Return the image itself."""
        return (image,)

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for image-level labels, each 0 or 1."""
        return self.conditioning.embed_labels(tags)

    def forward(
        self,
        x_t: Float[Tensor, "batch label *spatial"],
        t: Float[Tensor, " batch"],
        features: Features | None = None,
        condition: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return the network's prediction for noised labels `x_t` at time `t` in [0, 1].

        Raises:
            ValueError: `features` are missing, or given to a network without image channels.
        """
        if (len(features) if features else 0) != min(self.num_image_channels, 1):
            raise ValueError(
                f"expected the features of encode_image for {self.num_image_channels} image "
                f"channels, got {None if features is None else len(features)}"
            )
        if features:
            image = features[0].to(x_t.dtype).expand(len(x_t), *features[0].shape[1:])
            x_t = torch.cat([x_t, image], dim=1)
        output = self.head(self.body(x_t, self.conditioning(t, condition))[0])
        return output.tanh() if self.has_final_tanh else output


class EncodedNetwork(nn.Module):
    """A U-Net that sees the image once, and a light one that runs at every sampling step.

    Each stage of the image encoder's decoder is projected to the light network's width, so that a
    step only adds it to its own state.

    Args:
        num_image_channels: at least 1.
        num_label_channels: channels of x_t.
        shape: topology of the light network, without embedding_dim.
        image_shape: topology of the image encoder; the same strides.
        has_final_tanh: bound the output to (-1, 1).
        num_classes: image-level labels that `embed_labels` takes; 0 for none.
    """

    def __init__(
        self,
        *,
        num_image_channels: int,
        num_label_channels: int,
        shape: UNetShape,
        image_shape: UNetShape,
        has_final_tanh: bool,
        num_classes: int,
    ):
        super().__init__()
        self.has_final_tanh = has_final_tanh
        self.conditioning = Conditioning(shape, num_classes=num_classes)
        self.condition_dim = self.conditioning.dim
        self.image_encoder = ResidualUNet(num_image_channels, shape=image_shape)
        self.projections = nn.ModuleList(
            Projection(image_width, width, shape=image_shape)
            for image_width, width in zip(image_shape.channels, shape.channels, strict=True)
        )
        shape = dataclasses.replace(shape, embedding_dim=self.condition_dim)
        self.body = ResidualUNet(num_label_channels, shape=shape)
        self.head = Head(shape.channels[0], num_label_channels, shape=shape)

    def encode_image(self, image: Float[Tensor, "batch channel *spatial"]) -> Features:
        """Return one feature map per stage of the light network."""
        maps = self.image_encoder(image, None)
        return tuple(project(each) for project, each in zip(self.projections, maps, strict=True))

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for image-level labels, each 0 or 1."""
        return self.conditioning.embed_labels(tags)

    def forward(
        self,
        x_t: Float[Tensor, "batch label *spatial"],
        t: Float[Tensor, " batch"],
        features: Features | None = None,
        condition: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch label *spatial"]:
        """Return the network's prediction for noised labels `x_t` at time `t` in [0, 1].

        Raises:
            ValueError: there are not as many `features` as stages.
        """
        if features is None or len(features) != len(self.projections):
            raise ValueError(
                f"expected the {len(self.projections)} features of encode_image, "
                f"got {None if features is None else len(features)}"
            )
        embedding = self.conditioning(t, condition)
        output = self.head(self.body(x_t, embedding, features)[0])
        return output.tanh() if self.has_final_tanh else output


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

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for `tags`.

        Raises:
            ValueError: the network was built without image-level labels.
        """
        if self.labels is None:
            raise ValueError("this network was built without image-level labels (num_classes 0)")
        return self.labels(tags)

    def forward(
        self, t: Float[Tensor, " batch"], condition: Float[Tensor, "..."] | None
    ) -> Float[Tensor, "batch dim"]:
        """Return what the residual blocks take: the SiLU is theirs, but computed once."""
        embedding = self.time(t)
        return functional.silu(embedding if condition is None else embedding + condition)


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


DenoisingNetwork = ConcatenatedNetwork | EncodedNetwork
