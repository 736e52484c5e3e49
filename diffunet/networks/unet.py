"""The two U-Net bodies: P1's, and a lighter one whose skip connections are added.

A body turns an input into one feature map per resolution stage; what it is used for (denoising,
encoding an image, segmenting) is in `denoising.py` and `segmentation.py`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffunet.networks.blocks import (
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    convolution,
    folded,
    initialized_with_zeros,
    unfolded,
    upsample,
)

Features = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class UNetShape:
    """The topology of one body; every tuple has one entry per resolution stage, finest first.

    Attributes:
        channels: of the feature maps.
        strides: per stage and axis, the down-sampling on entering the stage. At the first, the
            voxels of each cell of this size become channels, and those of the output voxels again.
        kernel_sizes: per stage and axis.
        num_blocks: residual blocks per stage of the encoder.
        num_decoder_blocks: the same for the decoder.
        num_middle_blocks: residual blocks between the two, with attention between each two of them
            where the last stage has attention.
        has_attention: per stage, after each residual block.
        num_heads: of attention.
        num_groups: of group normalisation.
        dropout: probability, in residual blocks.
        embedding_dim: length of the embedding that each residual block takes; None: there is none.
    """

    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    num_blocks: tuple[int, ...]
    num_decoder_blocks: tuple[int, ...]
    num_middle_blocks: int
    has_attention: tuple[bool, ...]
    num_heads: int
    num_groups: int
    dropout: float
    embedding_dim: int | None

    @property
    def num_stages(self) -> int:
        return len(self.channels)


class Layer(nn.Module):
    """A residual block, and attention after it where `has_attention`."""

    def __init__(self, in_channels: int, *, stage: int, shape: UNetShape, has_attention: bool):
        super().__init__()
        channels = shape.channels[stage]
        self.block = ResidualBlock(
            in_channels,
            channels,
            kernel_size=shape.kernel_sizes[stage],
            embedding_dim=shape.embedding_dim,
            num_groups=shape.num_groups,
            dropout=shape.dropout,
        )
        self.attention: nn.Module = nn.Identity()
        if has_attention:
            self.attention = SelfAttention(
                channels, num_heads=shape.num_heads, num_groups=shape.num_groups
            )

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """Return the next state of the residual stream."""
        return self.attention(self.block(x, embedding))


class UNet(nn.Module):
    """P1's body: an OpenAI-type U-Net whose every decoder block takes one more skip connection.

    Skips are what enters each encoder stage and what each of its blocks returns; decoder blocks
    take them by concatenation, latest first, for as long as there are any (Dhariwal and Nichol
    2021, arXiv:2105.05233). Attention also stands between the middle blocks.

    Args:
        in_channels: channels of the input.
        shape: the topology.
    """

    def __init__(self, in_channels: int, *, shape: UNetShape):
        super().__init__()
        if 0 in (*shape.num_blocks, *shape.num_decoder_blocks):
            raise ValueError(
                "num_blocks and num_decoder_blocks should be at least 1 at every stage of a "
                "network with concatenated skips, got "
                f"{list(shape.num_blocks)} and {list(shape.num_decoder_blocks)}"
            )
        self.shape = shape
        widths = shape.channels
        self.stem = _stem(in_channels, shape)
        entering = (widths[0], *widths[:-1])
        self.downsamplings = _downsamplings(zip(widths[:-1], widths[:-1], strict=True), shape)
        self.encoder = nn.ModuleList(
            _layers((entering[stage], *[widths[stage]] * (count - 1)), stage=stage, shape=shape)
            for stage, count in enumerate(shape.num_blocks)
        )
        self.middle = _middle(shape)
        self.decoder = nn.ModuleList(
            _layers(_decoder_widths(stage, entering[stage], shape), stage=stage, shape=shape)
            for stage in range(shape.num_stages)
        )
        self.upsamplings = nn.ModuleList(
            convolution(width, width, kernel_size=kernel)
            for width, kernel in zip(widths[1:], shape.kernel_sizes[:-1], strict=True)
        )

    def forward(
        self,
        x: Float[Tensor, "batch channel *spatial"],
        embedding: Float[Tensor, "batch dim"] | None,
    ) -> Features:
        """Return the decoder's output at every stage, finest first."""
        x = self.stem(folded(x, self.shape.strides[0]))
        skips: list[list[Tensor]] = []
        for stage, layers in enumerate(self.encoder):
            if stage:
                x = self.downsamplings[stage - 1](x)
            skips.append([x])
            for layer in _modules(layers):
                x = layer(x, embedding)
                skips[-1].append(x)
        x = _through(self.middle, x, embedding)
        outputs: list[Tensor] = []
        for stage in reversed(range(self.shape.num_stages)):
            for layer in _modules(self.decoder[stage]):
                x = torch.cat([x, skips[stage].pop()], dim=1) if skips[stage] else x
                x = layer(x, embedding)
            outputs.append(x)
            if stage:
                stride = self.shape.strides[stage]
                x = self.upsamplings[stage - 1](upsample(x, stride))
        return tuple(reversed(outputs))


class ResidualUNet(nn.Module):
    """A lighter body: each stage has one skip, which is added instead of concatenated.

    As in Myronenko 2018 (arXiv:1810.11654), a decoder stage starts with a 1x1 convolution at the
    coarse resolution, repetition of voxels, and the encoder's output added. Features of another
    network can be added where an encoder stage begins.

    Args:
        in_channels: channels of the input.
        shape: the topology.
    """

    def __init__(self, in_channels: int, *, shape: UNetShape):
        super().__init__()
        self.shape = shape
        widths = shape.channels
        self.stem = _stem(in_channels, shape)
        self.downsamplings = _downsamplings(pairwise(widths), shape)
        self.encoder = _stages(shape.num_blocks, shape)
        self.middle = _middle(shape)
        self.decoder = _stages(shape.num_decoder_blocks, shape)
        self.upsamplings = nn.ModuleList(
            convolution(coarse, fine, kernel_size=(1,) * len(shape.strides[0]))
            for fine, coarse in pairwise(widths)
        )

    def forward(
        self,
        x: Float[Tensor, "batch channel *spatial"],
        embedding: Float[Tensor, "batch dim"] | None,
        features: Features = (),
    ) -> Features:
        """Return the decoder's output at every stage, finest first.

        Args:
            x: the input.
            embedding: of time and condition, or None, as `shape.embedding_dim` says.
            features: one per stage, of the stage's channels and resolution, or none at all; a batch
                of one serves every sample.
        """
        x = self.stem(folded(x, self.shape.strides[0]))
        skips = _encoded(x, embedding, self.encoder, self.downsamplings, features)
        x = _through(self.middle, skips[-1], embedding)
        outputs: list[Tensor] = []
        for stage in reversed(range(self.shape.num_stages)):
            x = _through(self.decoder[stage], x, embedding)
            outputs.append(x)
            if stage:
                stride = self.shape.strides[stage]
                x = skips[stage - 1] + upsample(self.upsamplings[stage - 1](x), stride)
        return tuple(reversed(outputs))


class Encoder(nn.Module):
    """The first half of `ResidualUNet` and its middle, for what needs no resolution at the end.

    Args:
        in_channels: channels of the input.
        shape: the topology; nothing of its decoder is built.
    """

    def __init__(self, in_channels: int, *, shape: UNetShape):
        super().__init__()
        self.shape = shape
        widths = shape.channels
        self.stem = _stem(in_channels, shape)
        self.downsamplings = _downsamplings(pairwise(widths), shape)
        self.stages = _stages(shape.num_blocks, shape)
        self.middle = _middle(shape)

    def forward(
        self,
        x: Float[Tensor, "batch channel *spatial"],
        embedding: Float[Tensor, "batch dim"] | None,
    ) -> Features:
        """Return what each stage puts out, finest first; the last one has passed the middle."""
        x = self.stem(folded(x, self.shape.strides[0]))
        maps = _encoded(x, embedding, self.stages, self.downsamplings)
        return (*maps[:-1], _through(self.middle, maps[-1], embedding))


class Head(nn.Module):
    """Norm, SiLU and a convolution that starts at zero: from feature maps to the output.

    The output is float32 under autocast too.
    """

    def __init__(self, in_channels: int, out_channels: int, *, shape: UNetShape):
        super().__init__()
        self.cell = shape.strides[0]
        self.norm = GroupNorm(in_channels, num_groups=shape.num_groups)
        out_channels *= math.prod(self.cell)
        self.convolution = initialized_with_zeros(
            convolution(in_channels, out_channels, kernel_size=shape.kernel_sizes[0])
        )

    def forward(
        self, x: Float[Tensor, "batch channel_in *cells"]
    ) -> Float[Tensor, "batch channel_out *spatial"]:
        """Return the output, a value for each voxel of a cell."""
        return unfolded(self.convolution(self.norm.silu(x)).float(), self.cell)


def unet_body(
    in_channels: int, *, shape: UNetShape, has_concatenated_skips: bool
) -> UNet | ResidualUNet:
    """Return P1's body, or the lighter one."""
    return (UNet if has_concatenated_skips else ResidualUNet)(in_channels, shape=shape)


def _stem(in_channels: int, shape: UNetShape) -> nn.Module:
    """Return the first convolution, which takes the voxels of a cell as channels."""
    in_channels *= math.prod(shape.strides[0])
    return convolution(in_channels, shape.channels[0], kernel_size=shape.kernel_sizes[0])


def _downsamplings(widths: Iterable[tuple[int, int]], shape: UNetShape) -> nn.ModuleList:
    """Return what leads from each stage to the next; `widths` are its channels in and out."""
    steps = zip(widths, shape.kernel_sizes[1:], shape.strides[1:], strict=True)
    return nn.ModuleList(
        convolution(*pair, kernel_size=kernel, stride=stride) for pair, kernel, stride in steps
    )


def _stages(num_blocks: Sequence[int], shape: UNetShape) -> nn.ModuleList:
    """Return layers of each stage's width that keep it."""
    return nn.ModuleList(
        _layers((shape.channels[stage],) * count, stage=stage, shape=shape)
        for stage, count in enumerate(num_blocks)
    )


def _layers(in_channels: Sequence[int], *, stage: int, shape: UNetShape) -> nn.ModuleList:
    has_attention = shape.has_attention[stage]
    return nn.ModuleList(
        Layer(width, stage=stage, shape=shape, has_attention=has_attention) for width in in_channels
    )


def _middle(shape: UNetShape) -> nn.ModuleList:
    last, count = shape.num_stages - 1, shape.num_middle_blocks
    return nn.ModuleList(
        Layer(
            shape.channels[last],
            stage=last,
            shape=shape,
            has_attention=shape.has_attention[last] and index < count - 1,
        )
        for index in range(count)
    )


def _modules(layers: nn.Module) -> Iterator[nn.Module]:
    return layers.children()


def _through(layers: nn.Module, x: Tensor, embedding: Tensor | None) -> Tensor:
    for layer in _modules(layers):
        x = layer(x, embedding)
    return x


def _encoded(
    x: Tensor,
    embedding: Tensor | None,
    stages: nn.ModuleList,
    downsamplings: nn.ModuleList,
    features: Features = (),
) -> list[Tensor]:
    """Return what each stage of an encoder puts out, finest first."""
    maps: list[Tensor] = []
    for stage, layers in enumerate(stages):
        if stage:
            x = downsamplings[stage - 1](x)
        x = x + features[stage] if features else x
        x = _through(layers, x, embedding)
        maps.append(x)
    return maps


def _decoder_widths(stage: int, entering: int, shape: UNetShape) -> list[int]:
    """Return the input channels of the decoder's blocks at a stage, their skips concatenated."""
    width = shape.channels[stage]
    coarser = shape.channels[min(stage + 1, shape.num_stages - 1)]
    skips = [entering] + [width] * shape.num_blocks[stage]
    return [
        (width if index else coarser) + (skips.pop() if skips else 0)
        for index in range(shape.num_decoder_blocks[stage])
    ]
