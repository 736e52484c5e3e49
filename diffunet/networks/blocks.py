"""What every network here is made of: convolutions, normalisation, residual blocks, attention.

2D and 3D are one code path; the classes that differ are picked once, in `convolution`.
"""

import functools
import importlib.util
import logging
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

logger = logging.getLogger(__name__)

_WITH_AUTOCAST = ("cpu", "cuda", "mps", "xpu")

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


def convolution(
    in_channels: int, out_channels: int, *, kernel_size: Sequence[int], stride: Sequence[int] = ()
) -> nn.Conv2d | nn.Conv3d:
    """Return a convolution of as many dimensions as `kernel_size` has, which keeps the size.

    With a stride the size is divided by it (rounded up). Kernel sizes are odd; along an axis with a
    stride the kernel is at least as large as 2 * (stride // 2) + 1, so that no voxel is skipped.
    """
    stride = tuple(stride) or (1,) * len(kernel_size)
    kernel = tuple(
        max(size, 2 * (step // 2) + 1) for size, step in zip(kernel_size, stride, strict=True)
    )
    return CONVOLUTIONS[len(kernel)](
        in_channels,
        out_channels,
        kernel_size=kernel,  # type: ignore[arg-type]  # as long as the class has dimensions
        stride=stride,  # type: ignore[arg-type]  # the same
        padding=tuple(size // 2 for size in kernel),  # type: ignore[arg-type]  # the same
    )


def folded(
    x: Float[Tensor, "batch channel *spatial"], cell: Sequence[int]
) -> Float[Tensor, "batch folded *cells"]:
    """Return `x` with the voxels of each cell as channels (space to depth).

    Args:
        cell: voxels per axis; divides the axis.
    """
    if math.prod(cell) == 1:
        return x
    axes, cells = len(cell), [edge // step for edge, step in zip(x.shape[2:], cell, strict=True)]
    x = x.reshape(*x.shape[:2], *(size for pair in zip(cells, cell, strict=True) for size in pair))
    within = [3 + 2 * axis for axis in range(axes)]
    of_cells = [2 + 2 * axis for axis in range(axes)]
    return x.permute(0, 1, *within, *of_cells).flatten(1, 1 + axes)


def unfolded(
    x: Float[Tensor, "batch folded *cells"], cell: Sequence[int]
) -> Float[Tensor, "batch channel *spatial"]:
    """Return what `folded` made `x` of."""
    if math.prod(cell) == 1:
        return x
    axes, cells = len(cell), x.shape[2:]
    x = x.reshape(len(x), -1, *cell, *cells)
    order = [place for axis in range(axes) for place in (2 + axes + axis, 2 + axis)]
    edges = [edge * step for edge, step in zip(cells, cell, strict=True)]
    return x.permute(0, 1, *order).reshape(*x.shape[:2], *edges)


def initialized_with_zeros(module: nn.Module) -> nn.Module:
    """Set all parameters to 0, so that the module adds nothing to its residual stream at first."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of `number` that is at most `limit`."""
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)


class GroupNorm(nn.GroupNorm):
    """Group normalisation that stays in its input's dtype under autocast.

    Autocast would run it in float32, and store ten bytes for each value on the way to the next
    convolution instead of six. The kernels sum up in float32 either way.

    Args:
        num_channels: channels of the input.
        num_groups: lowered to the largest divisor of `num_channels`.
    """

    def __init__(self, num_channels: int, *, num_groups: int):
        super().__init__(largest_divisor(num_channels, num_groups), num_channels)

    def silu(self, input: Tensor) -> Tensor:
        """Return the SiLU of `input` normalised, scaled and shifted."""
        return self._fused(input, has_silu=True) if _is_fused(input) else silu(self(input))

    def _fused(self, input: Tensor, *, has_silu: bool) -> Tensor:
        from diffunet.networks import fused_norm  # needs Triton, which comes with torch for CUDA

        return fused_norm.group_norm_silu(
            input,
            self.weight,
            self.bias,
            num_groups=self.num_groups,
            eps=self.eps,
            has_silu=has_silu,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` normalised, scaled and shifted."""
        if _is_fused(input):
            return self._fused(input, has_silu=False)
        if not _is_under_autocast(input):
            return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        with torch.autocast(input.device.type, enabled=False):
            return functional.group_norm(input, self.num_groups, weight, bias, self.eps)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, plus embedding; norm, SiLU, dropout, convolution (zero at first).

    The residual block of the denoising U-Nets (Ho et al. 2020, arXiv:2006.11239, appendix B).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; where they differ, the residual stream passes a 1x1
            convolution.
        kernel_size: per axis, 1 or 3.
        embedding_dim: length of the embedding of time and condition; None: the block takes none.
        num_groups: of group normalisation.
        dropout: probability.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sequence[int],
        embedding_dim: int | None,
        num_groups: int,
        dropout: float,
    ):
        super().__init__()
        self.first_norm = GroupNorm(in_channels, num_groups=num_groups)
        self.first_convolution = convolution(in_channels, out_channels, kernel_size=kernel_size)
        self.embedding = None if embedding_dim is None else nn.Linear(embedding_dim, out_channels)
        self.second_norm = GroupNorm(out_channels, num_groups=num_groups)
        self.dropout = nn.Dropout(dropout)
        self.second_convolution = initialized_with_zeros(
            convolution(out_channels, out_channels, kernel_size=kernel_size)
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = convolution(
                in_channels, out_channels, kernel_size=(1,) * len(kernel_size)
            )

    def forward(
        self,
        x: Float[Tensor, "batch channel_in *spatial"],
        embedding: Float[Tensor, "batch dim"] | None,
    ) -> Float[Tensor, "batch channel_out *spatial"]:
        """Return the next state of the residual stream; `embedding` has passed its SiLU."""
        y = self.first_convolution(self.first_norm.silu(x))
        if self.embedding is not None:
            if embedding is None:
                raise ValueError("this residual block needs an embedding, got None")
            shift = self.embedding(embedding)
            y += shift.reshape(*shift.shape, *(1,) * (y.ndim - 2))
        y = self.second_convolution(self.dropout(self.second_norm.silu(y)))
        y += self.shortcut(x)
        return y


class SelfAttention(nn.Module):
    """Residual self-attention over all positions, by the fused kernels where there are any.

    Args:
        channels: of input and output.
        num_heads: lowered to the largest divisor of `channels`.
        num_groups: of group normalisation.
    """

    def __init__(self, channels: int, *, num_heads: int, num_groups: int):
        super().__init__()
        self.num_heads = largest_divisor(channels, num_heads)
        self.norm = GroupNorm(channels, num_groups=num_groups)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.projection = initialized_with_zeros(nn.Linear(channels, channels))

    def forward(
        self, x: Float[Tensor, "batch channel *spatial"]
    ) -> Float[Tensor, "batch channel *spatial"]:
        """Return `x` plus what each position gathers from all others."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        heads = self.query_key_value(tokens).unflatten(2, (3, self.num_heads, -1))
        # backwards, bfloat16 takes a CPU four times as long as float32
        learns_on_cpu = heads.device.type == "cpu" and heads.requires_grad
        dtype = torch.float32 if learns_on_cpu else heads.dtype
        query, key, value = heads.to(dtype).permute(2, 0, 3, 1, 4).unbind()
        gathered = functional.scaled_dot_product_attention(query, key, value).to(heads.dtype)
        projected = self.projection(gathered.transpose(1, 2).flatten(2))
        return x + projected.transpose(1, 2).unflatten(2, x.shape[2:])


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return x * sigmoid(x), in the memory of `x` where no gradient needs it."""
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def upsample(
    x: Float[Tensor, "batch channel *coarse"], stride: Sequence[int]
) -> Float[Tensor, "batch channel *fine"]:
    """Repeat every voxel `stride` times along each axis, in the input's dtype."""
    if not _is_under_autocast(x):
        return functional.interpolate(x, scale_factor=[float(step) for step in stride])
    with torch.autocast(x.device.type, enabled=False):
        return functional.interpolate(x, scale_factor=[float(step) for step in stride])


def _is_fused(x: Tensor) -> bool:
    """Whether the Triton kernels take `x`; torch.compile makes its own of the plain operations."""
    if not x.is_cuda or torch.compiler.is_compiling() or not _runs_triton(x.device):
        return False
    from diffunet.networks import fused_norm

    return fused_norm.is_applicable(x)


@functools.cache
def _runs_triton(device: torch.device) -> bool:
    """Whether the kernels run there: Triton needs a C compiler, and a GPU that is not too old."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from diffunet.networks import fused_norm

        fused_norm.try_on(device)
    except Exception as cause:  # whatever a compiler or a driver may say
        logger.warning(
            "Triton's kernels do not run on '%s' (%s: %s); torch's group norm is used, which takes "
            "more time and memory. Triton needs a C compiler (such as gcc) and a GPU from 2017 on",
            device,
            type(cause).__name__,
            f"{cause}".partition("\n")[0],
        )
        return False
    return True


def _is_under_autocast(x: Tensor) -> bool:
    # a list, not torch.amp.is_autocast_available, at which torch.compile would split the network
    device_type = x.device.type
    return device_type in _WITH_AUTOCAST and torch.is_autocast_enabled(device_type)
