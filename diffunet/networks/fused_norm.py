"""Group normalisation and SiLU in one pass over channels-last memory, as Triton kernels.

torch's own group norm needs contiguous memory. Between two channels-last convolutions it copies the
values there and back, in the forward and in the backward pass. Here memory stays as it is. The
backward pass computes what it needs from the input again, so nothing else is kept.

An array (batch, channel, *spatial) in channels-last order is (batch, position, channel) in memory.
A program takes some positions of one sample, with all their channels. What is summed over
positions is summed per program first (`parts`: batch, chunk, 2, channel), then per group.
"""
# pyright: basic, reportMissingImports=false, reportIndexIssue=false
# Triton comes with torch for CUDA alone, and its kernels are not the Python that they look like.

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from diffunet.networks.memory_order import CHANNELS_LAST

_TILE_VALUES = 4096  # positions times channels that a program has in registers
_MOST_CHUNKS = 1024  # of a sample, each a program that takes at least as many positions


@triton.jit
def _tile(
    tile, num_positions,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Return where the values of a tile of this program's chunk lie, and which of them exist."""
    channel = tl.arange(0, BLOCK)
    start = tl.program_id(0).to(tl.int64) * num_positions * CHANNELS
    position = tl.program_id(1) * CHUNK + tile + tl.arange(0, TILE)
    where = start + position[:, None] * CHANNELS + channel[None, :]
    return where, (position < num_positions)[:, None] & (channel < CHANNELS)[None, :]


@triton.jit
def _store_part(parts, first, second, num_chunks, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Store both sums of this program's chunk, per channel."""
    channel = tl.arange(0, BLOCK)
    chunk = tl.program_id(0) * num_chunks + tl.program_id(1)
    part = parts + chunk * 2 * CHANNELS + channel
    tl.store(part, first, mask=channel < CHANNELS)
    tl.store(part + CHANNELS, second, mask=channel < CHANNELS)


@triton.jit
def _parts_of_group(
    num_chunks,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Return where the first sums of this program's group lie, and which of them exist."""
    width: tl.constexpr = CHANNELS // GROUPS
    chunk, channel = tl.arange(0, CHUNKS), tl.arange(0, BLOCK)
    where = (tl.program_id(0) * num_chunks + chunk)[:, None] * 2 * CHANNELS
    where += (tl.program_id(1) * width + channel)[None, :]
    return where, (chunk < num_chunks)[:, None] & (channel < width)[None, :]


@triton.jit
def _of_channels(pairs, CHANNELS: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    """Return the two numbers of each channel's group, of this program's sample."""
    channel = tl.arange(0, BLOCK)
    group = tl.program_id(0) * GROUPS + channel // (CHANNELS // GROUPS)
    first = tl.load(pairs + 2 * group, mask=channel < CHANNELS, other=0.0)
    return first, tl.load(pairs + 2 * group + 1, mask=channel < CHANNELS, other=0.0)


@triton.jit
def _before_silu(x, dy, mask, mean, inverse, scale, shift, HAS_SILU: tl.constexpr):
    """Return the normalised input and the gradient before SiLU."""
    value = tl.load(x, mask=mask, other=0.0).to(tl.float32)
    gradient = tl.load(dy, mask=mask, other=0.0).to(tl.float32)
    normalized = (value - mean[None, :]) * inverse[None, :]
    if HAS_SILU:
        before = normalized * scale[None, :] + shift[None, :]
        share = tl.sigmoid(before)
        gradient = gradient * share * (1.0 + before * (1.0 - share))
    return normalized, gradient


@triton.jit
def _sums_kernel(
    x, parts, num_positions, num_chunks,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Sum x and x^2 over the positions of a chunk."""
    first = tl.zeros([BLOCK], tl.float32)
    second = tl.zeros([BLOCK], tl.float32)
    for tile in range(0, CHUNK, TILE):
        where, mask = _tile(tile, num_positions, CHANNELS, BLOCK, TILE, CHUNK)
        value = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
        first += tl.sum(value, axis=0)
        second += tl.sum(value * value, axis=0)
    _store_part(parts, first, second, num_chunks, CHANNELS, BLOCK)


@triton.jit
def _moments_kernel(
    parts, moments, num_chunks, num_values, eps,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Take the mean and the inverse deviation of a group."""
    where, mask = _parts_of_group(num_chunks, CHANNELS, GROUPS, BLOCK, CHUNKS)
    mean = tl.sum(tl.load(parts + where, mask=mask, other=0.0)) / num_values
    square = tl.sum(tl.load(parts + where + CHANNELS, mask=mask, other=0.0)) / num_values
    variance = tl.maximum(square - mean * mean, 0.0)
    out = moments + (tl.program_id(0) * GROUPS + tl.program_id(1)) * 2
    tl.store(out, mean)
    tl.store(out + 1, 1.0 / tl.sqrt(variance + eps))


@triton.jit
def _apply_kernel(
    x, weight, bias, moments, y, num_positions,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, HAS_SILU: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Normalise, scale and shift, then apply SiLU."""
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    mean, inverse = _of_channels(moments, CHANNELS, GROUPS, BLOCK)
    scale = inverse * tl.load(weight + channel, mask=is_channel, other=0.0)
    shift = tl.load(bias + channel, mask=is_channel, other=0.0) - mean * scale
    for tile in range(0, CHUNK, TILE):
        where, mask = _tile(tile, num_positions, CHANNELS, BLOCK, TILE, CHUNK)
        value = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
        value = value * scale[None, :] + shift[None, :]
        if HAS_SILU:
            value = value * tl.sigmoid(value)
        tl.store(y + where, value.to(y.dtype.element_ty), mask=mask)


@triton.jit
def _backward_sums_kernel(
    x, dy, weight, bias, moments, parts, num_positions, num_chunks,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, HAS_SILU: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Sum the gradient before SiLU, and that times the normalised input, over a chunk."""
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    mean, inverse = _of_channels(moments, CHANNELS, GROUPS, BLOCK)
    scale = tl.load(weight + channel, mask=is_channel, other=0.0)
    shift = tl.load(bias + channel, mask=is_channel, other=0.0)
    first = tl.zeros([BLOCK], tl.float32)
    second = tl.zeros([BLOCK], tl.float32)
    for tile in range(0, CHUNK, TILE):
        where, mask = _tile(tile, num_positions, CHANNELS, BLOCK, TILE, CHUNK)
        normalized, gradient = _before_silu(
            x + where, dy + where, mask, mean, inverse, scale, shift, HAS_SILU
        )
        first += tl.sum(gradient, axis=0)
        second += tl.sum(gradient * normalized, axis=0)
    _store_part(parts, first, second, num_chunks, CHANNELS, BLOCK)


@triton.jit
def _backward_moments_kernel(
    parts, weight, means, num_chunks, num_values,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Take the means of both sums over a group, each channel times its weight."""
    where, mask = _parts_of_group(num_chunks, CHANNELS, GROUPS, BLOCK, CHUNKS)
    width: tl.constexpr = CHANNELS // GROUPS
    group, channel = tl.program_id(1), tl.arange(0, BLOCK)
    scale = tl.load(weight + group * width + channel, mask=channel < width, other=0.0)[None, :]
    out = means + (tl.program_id(0) * GROUPS + group) * 2
    tl.store(out, tl.sum(tl.load(parts + where, mask=mask, other=0.0) * scale) / num_values)
    where += CHANNELS
    tl.store(out + 1, tl.sum(tl.load(parts + where, mask=mask, other=0.0) * scale) / num_values)


@triton.jit
def _backward_apply_kernel(
    x, dy, weight, bias, moments, means, dx, num_positions,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, HAS_SILU: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Return the gradient of the input."""
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    mean, inverse = _of_channels(moments, CHANNELS, GROUPS, BLOCK)
    first, second = _of_channels(means, CHANNELS, GROUPS, BLOCK)
    scale = tl.load(weight + channel, mask=is_channel, other=0.0)
    shift = tl.load(bias + channel, mask=is_channel, other=0.0)
    for tile in range(0, CHUNK, TILE):
        where, mask = _tile(tile, num_positions, CHANNELS, BLOCK, TILE, CHUNK)
        normalized, gradient = _before_silu(
            x + where, dy + where, mask, mean, inverse, scale, shift, HAS_SILU
        )
        gradient = gradient * scale[None, :] - first[None, :] - normalized * second[None, :]
        tl.store(dx + where, (gradient * inverse[None, :]).to(dx.dtype.element_ty), mask=mask)


class _GroupNormSilu(torch.autograd.Function):
    """The two passes; see `group_norm_silu`."""

    @staticmethod
    def forward(ctx, x, weight, bias, num_groups, eps, has_silu):
        shape = _Shape(x, num_groups)
        parts = x.new_empty((shape.batch, shape.num_chunks, 2, shape.channels), dtype=torch.float32)
        moments = x.new_empty((shape.batch, num_groups, 2), dtype=torch.float32)
        y = torch.empty_like(x)
        _sums_kernel[shape.chunks](x, parts, shape.positions, shape.num_chunks, **shape.tile)
        _moments_kernel[shape.groups](
            parts, moments, shape.num_chunks, shape.values_per_group, eps, **shape.group
        )
        _apply_kernel[shape.chunks](
            x, weight, bias, moments, y, shape.positions,
            GROUPS=num_groups, HAS_SILU=has_silu, **shape.tile,
        )  # fmt: skip
        ctx.save_for_backward(x, weight, bias, moments)
        ctx.num_groups, ctx.has_silu = num_groups, has_silu
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, bias, moments = ctx.saved_tensors
        shape = _Shape(x, ctx.num_groups)
        dy = dy.contiguous(memory_format=_memory_format(x))
        parts = x.new_empty((shape.batch, shape.num_chunks, 2, shape.channels), dtype=torch.float32)
        means = torch.empty_like(moments)
        dx = torch.empty_like(x)
        options = {"GROUPS": ctx.num_groups, "HAS_SILU": ctx.has_silu, **shape.tile}
        _backward_sums_kernel[shape.chunks](
            x, dy, weight, bias, moments, parts, shape.positions, shape.num_chunks, **options
        )
        _backward_moments_kernel[shape.groups](
            parts, weight, means, shape.num_chunks, shape.values_per_group, **shape.group
        )
        _backward_apply_kernel[shape.chunks](
            x, dy, weight, bias, moments, means, dx, shape.positions, **options
        )
        sums = parts.sum(dim=(0, 1))
        return dx, sums[1].to(weight.dtype), sums[0].to(bias.dtype), None, None, None


class _Shape:
    """Sizes of an input, and how programs divide it."""

    def __init__(self, x: Tensor, num_groups: int):
        self.batch, self.channels = x.shape[:2]
        self.positions = x.shape[2:].numel()
        positions = triton.next_power_of_2(self.positions)
        chunk = max(min(_MOST_CHUNKS, positions), positions // _MOST_CHUNKS)
        self.num_chunks = triton.cdiv(self.positions, chunk)
        self.values_per_group = self.positions * (self.channels // num_groups)
        self.chunks = (self.batch, self.num_chunks)
        self.groups = (self.batch, num_groups)
        block = triton.next_power_of_2(self.channels)
        tile = min(chunk, max(1, _TILE_VALUES // block))
        self.tile = {
            "CHANNELS": self.channels,
            "BLOCK": block,
            "TILE": tile,
            "CHUNK": chunk,
        }
        self.group = {
            "CHANNELS": self.channels,
            "GROUPS": num_groups,
            "BLOCK": triton.next_power_of_2(self.channels // num_groups),
            "CHUNKS": triton.next_power_of_2(self.num_chunks),
        }


def is_applicable(x: Tensor) -> bool:
    """Whether `group_norm_silu` takes `x`: channels-last, two or three spatial axes."""
    return x.ndim in (4, 5) and x.is_contiguous(memory_format=_memory_format(x))


def try_on(device: torch.device) -> None:
    """Compile the kernels of the forward pass for `device` and run them once.

    Raises:
        Exception: whatever Triton, its compiler or the driver say where they cannot.
    """
    x = torch.ones(1, 2, 4, 4, device=device).contiguous(memory_format=torch.channels_last)
    one = torch.ones(2, device=device)
    with torch.no_grad():
        group_norm_silu(x, one, one, num_groups=2, eps=1e-5, has_silu=True).sum().item()


def group_norm_silu(
    x: Float[Tensor, "batch channel *spatial"],
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    *,
    num_groups: int,
    eps: float,
    has_silu: bool,
) -> Float[Tensor, "batch channel *spatial"]:
    """Return silu(group_norm(x)), or without SiLU, in the dtype and memory order of `x`.

    Sums are float32, whatever `x` is; weight and bias stay in their own dtype.

    Args:
        x: as `is_applicable` has it, on a GPU.
    """
    return _GroupNormSilu.apply(x, weight, bias, num_groups, eps, has_silu)


def _memory_format(x: Tensor) -> torch.memory_format:
    return CHANNELS_LAST[x.ndim - 2]
