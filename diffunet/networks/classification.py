"""The classifiers of image-level labels: a U-Net's encoder, and one logit per label at its end."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffunet.networks.blocks import GroupNorm
from diffunet.networks.denoising import Conditioning
from diffunet.networks.unet import Encoder, Features, UNetShape


class ClassificationNetwork(nn.Module):
    """Image to one logit per image-level label; labels do not exclude each other.

    Args:
        num_image_channels: at least 1.
        num_classes: image-level labels, at least 1.
        shape: the topology, without embedding_dim; its decoder is not built.
        has_time: the image is noised, and the network is told the time of the noise.
    """

    def __init__(
        self, *, num_image_channels: int, num_classes: int, shape: UNetShape, has_time: bool
    ):
        super().__init__()
        self.num_classes = num_classes
        self.conditioning = Conditioning(shape, num_classes=0) if has_time else None
        dim = self.conditioning.dim if self.conditioning is not None else None
        shape = dataclasses.replace(shape, embedding_dim=dim)
        self.body = Encoder(num_image_channels, shape=shape)
        self.norm = GroupNorm(shape.channels[-1], num_groups=shape.num_groups)
        self.head = nn.Linear(shape.channels[-1], num_classes)

    def feature_maps(
        self,
        image: Float[Tensor, "batch channel *spatial"],
        t: Float[Tensor, " batch"] | None = None,
    ) -> Features:
        """Return what each resolution stage puts out, finest first.

        Raises:
            ValueError: `t` is missing, or given to a network that knows no time.
        """
        if (t is None) != (self.conditioning is None):
            raise ValueError(f"this classifier takes {'no' if t is not None else 'a'} time")
        embedding = None
        if self.conditioning is not None and t is not None:
            embedding = self.conditioning(t.to(image.dtype), None)
        return self.body(image, embedding)

    def logits_of(self, maps: Features) -> Float[Tensor, "batch class"]:
        """Return the logits that follow from the coarsest feature map, float32."""
        pooled = self.norm.silu(maps[-1]).flatten(2).mean(dim=2)
        return self.head(pooled).float()

    def forward(
        self,
        image: Float[Tensor, "batch channel *spatial"],
        t: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch class"]:
        """Return one logit per image-level label, float32.

        Args:
            image: normalised; at noise level t, if t is given.
            t: time of the noise in [0, 1].
        """
        return self.logits_of(self.feature_maps(image, t))


def log_probability_of(
    logits: Float[Tensor, "batch class"], tags: Float[Tensor, "batch class"], *, label: int
) -> Float[Tensor, " batch"]:
    """Return log p of the state of one label: `tags[:, label]` in [0, 1] mixes both states."""
    state = tags[:, label]
    present = nn.functional.logsigmoid(logits[:, label])
    absent = nn.functional.logsigmoid(-logits[:, label])
    return torch.lerp(absent, present, state.to(present))
