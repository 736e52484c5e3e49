"""Group normalisation and SiLU in one pass over channels-last memory, as Triton kernels.

torch's own group norm works on contiguous memory alone: between two channels-last convolutions it
costs a copy there and a copy back, forward and backward. Here memory stays as it is, and the
backward pass computes again what it needs from the input, so that nothing else is kept.

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
def _sums_kernel(
    x, parts, num_positions, num_chunks,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Sum x and x^2 over the positions of a chunk."""
    sample, chunk = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    first = tl.zeros([BLOCK], tl.float32)
    second = tl.zeros([BLOCK], tl.float32)
    start = sample.to(tl.int64) * num_positions * CHANNELS
    for tile in range(0, CHUNK, TILE):
        position = chunk * CHUNK + tile + tl.arange(0, TILE)
        mask = (position < num_positions)[:, None] & is_channel[None, :]
        where = start + position[:, None] * CHANNELS + channel[None, :]
        value = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
        first += tl.sum(value, axis=0)
        second += tl.sum(value * value, axis=0)
    part = parts + (sample * num_chunks + chunk) * 2 * CHANNELS + channel
    tl.store(part, first, mask=is_channel)
    tl.store(part + CHANNELS, second, mask=is_channel)


@triton.jit
def _moments_kernel(
    parts, moments, num_chunks, num_values, eps,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Take the mean and the inverse deviation of a group."""
    sample, group = tl.program_id(0), tl.program_id(1)
    width: tl.constexpr = CHANNELS // GROUPS
    chunk, channel = tl.arange(0, CHUNKS), tl.arange(0, BLOCK)
    mask = (chunk < num_chunks)[:, None] & (channel < width)[None, :]
    where = (sample * num_chunks + chunk)[:, None] * 2 * CHANNELS
    where += (group * width + channel)[None, :]
    mean = tl.sum(tl.load(parts + where, mask=mask, other=0.0)) / num_values
    square = tl.sum(tl.load(parts + where + CHANNELS, mask=mask, other=0.0)) / num_values
    variance = tl.maximum(square - mean * mean, 0.0)
    out = moments + (sample * GROUPS + group) * 2
    tl.store(out, mean)
    tl.store(out + 1, 1.0 / tl.sqrt(variance + eps))


@triton.jit
def _apply_kernel(
    x, weight, bias, moments, y, num_positions,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, HAS_SILU: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Normalise, scale and shift, then apply SiLU."""
    sample, chunk = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    group = sample * GROUPS + channel // (CHANNELS // GROUPS)
    mean = tl.load(moments + 2 * group, mask=is_channel, other=0.0)
    inverse = tl.load(moments + 2 * group + 1, mask=is_channel, other=0.0)
    scale = inverse * tl.load(weight + channel, mask=is_channel, other=0.0)
    shift = tl.load(bias + channel, mask=is_channel, other=0.0) - mean * scale
    start = sample.to(tl.int64) * num_positions * CHANNELS
    for tile in range(0, CHUNK, TILE):
        position = chunk * CHUNK + tile + tl.arange(0, TILE)
        mask = (position < num_positions)[:, None] & is_channel[None, :]
        where = start + position[:, None] * CHANNELS + channel[None, :]
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
    sample, chunk = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    group = sample * GROUPS + channel // (CHANNELS // GROUPS)
    mean = tl.load(moments + 2 * group, mask=is_channel, other=0.0)
    inverse = tl.load(moments + 2 * group + 1, mask=is_channel, other=0.0)
    scale = tl.load(weight + channel, mask=is_channel, other=0.0)
    shift = tl.load(bias + channel, mask=is_channel, other=0.0)
    first = tl.zeros([BLOCK], tl.float32)
    second = tl.zeros([BLOCK], tl.float32)
    start = sample.to(tl.int64) * num_positions * CHANNELS
    for tile in range(0, CHUNK, TILE):
        position = chunk * CHUNK + tile + tl.arange(0, TILE)
        mask = (position < num_positions)[:, None] & is_channel[None, :]
        where = start + position[:, None] * CHANNELS + channel[None, :]
        value = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
        gradient = tl.load(dy + where, mask=mask, other=0.0).to(tl.float32)
        normalized = (value - mean[None, :]) * inverse[None, :]
        if HAS_SILU:
            before = normalized * scale[None, :] + shift[None, :]
            share = tl.sigmoid(before)
            gradient = gradient * share * (1.0 + before * (1.0 - share))
        first += tl.sum(gradient, axis=0)
        second += tl.sum(gradient * normalized, axis=0)
    part = parts + (sample * num_chunks + chunk) * 2 * CHANNELS + channel
    tl.store(part, first, mask=is_channel)
    tl.store(part + CHANNELS, second, mask=is_channel)


@triton.jit
def _backward_moments_kernel(
    parts, weight, means, num_chunks, num_values,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, BLOCK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Take the means of both sums over a group, each channel times its weight."""
    sample, group = tl.program_id(0), tl.program_id(1)
    width: tl.constexpr = CHANNELS // GROUPS
    chunk, channel = tl.arange(0, CHUNKS), tl.arange(0, BLOCK)
    mask = (chunk < num_chunks)[:, None] & (channel < width)[None, :]
    where = (sample * num_chunks + chunk)[:, None] * 2 * CHANNELS
    where += (group * width + channel)[None, :]
    scale = tl.load(weight + group * width + channel, mask=channel < width, other=0.0)[None, :]
    out = means + (sample * GROUPS + group) * 2
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
    sample, chunk = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, BLOCK)
    is_channel = channel < CHANNELS
    group = sample * GROUPS + channel // (CHANNELS // GROUPS)
    mean = tl.load(moments + 2 * group, mask=is_channel, other=0.0)
    inverse = tl.load(moments + 2 * group + 1, mask=is_channel, other=0.0)
    first = tl.load(means + 2 * group, mask=is_channel, other=0.0)
    second = tl.load(means + 2 * group + 1, mask=is_channel, other=0.0)
    scale = tl.load(weight + channel, mask=is_channel, other=0.0)
    shift = tl.load(bias + channel, mask=is_channel, other=0.0)
    start = sample.to(tl.int64) * num_positions * CHANNELS
    for tile in range(0, CHUNK, TILE):
        position = chunk * CHUNK + tile + tl.arange(0, TILE)
        mask = (position < num_positions)[:, None] & is_channel[None, :]
        where = start + position[:, None] * CHANNELS + channel[None, :]
        value = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
        gradient = tl.load(dy + where, mask=mask, other=0.0).to(tl.float32)
        normalized = (value - mean[None, :]) * inverse[None, :]
        if HAS_SILU:
            before = normalized * scale[None, :] + shift[None, :]
            share = tl.sigmoid(before)
            gradient = gradient * share * (1.0 + before * (1.0 - share))
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
