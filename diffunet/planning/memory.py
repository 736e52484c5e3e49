"""How much memory a training step needs, measured on the network itself.

A forward pass of two tiny patches runs on the CPU, and what autograd keeps for the backward pass is
counted. All of it is proportional to the voxels of a patch that is a multiple of the strides, fused
attention included, so one measurement serves every patch and batch size. The meta device would give
the same numbers (a test compares them), but its first operation imports modules for a second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from diffunet.build import build_denoising_network, build_image_networks
from diffunet.plans import NetworkPlan, WeakPlan

GIB = 2**30

_FLOAT32 = 4  # bytes

# Per parameter in float32: weight, gradient, AdamW's two moments, the averaged weight (EMA).
_NUM_STATES = 5

# Layers whose every output value is a sum of as many products as a row of their weights has.
_MULTIPLYING = (nn.Conv2d, nn.Conv3d, nn.Linear)

# Of the measurement: for one sample torch takes its slow convolutions.
_BATCH_SIZE = 2

# Of a measured patch: enough for what is kept per sample, not per voxel, to weigh nothing.
_MIN_MEASURED_VOXELS = 1024

# Float32 volumes of label channels that live through a training step besides what the network
# keeps: x_0, noise, x_t, the output, its target, their difference, and the output's gradient.
_NUM_LABEL_VOLUMES = 7

# The same of a diffusion of images, and what the classifier sees: some images have no noise there.
_NUM_IMAGE_VOLUMES = 8


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Bytes that a training step needs at its peak.

    Attributes:
        fixed: weights, gradients, optimiser, averaged weights, weights in the training dtype.
        per_voxel: of all patches of the batch together: activations kept for the backward pass,
            inputs, and gradients in flight at the largest layer.
    """

    fixed: int
    per_voxel: float

    def total(self, batch_size: int, *, num_voxels: int) -> int:
        """Return the bytes for `batch_size` patches of `num_voxels` voxels."""
        return self.fixed + math.ceil(self.per_voxel * num_voxels * batch_size)

    def or_more(self, other: "TrainingMemory") -> "TrainingMemory":
        """Return the memory that is enough for either of two trainings."""
        return TrainingMemory(
            fixed=max(self.fixed, other.fixed), per_voxel=max(self.per_voxel, other.per_voxel)
        )

    def largest_batch(self, budget: int, *, num_voxels: int) -> int:
        """Return how many patches of `num_voxels` voxels fit into `budget` bytes; may be 0."""
        return max(int((budget - self.fixed) / (self.per_voxel * num_voxels)), 0)


@dataclass(frozen=True, kw_only=True)
class ForwardCost:
    """What a forward pass computes, and what it leaves behind.

    Attributes:
        multiply_adds: of convolutions and linear layers.
        attention_multiply_adds: of the products of attention, which grow with the square of the
            number of positions.
        kept: distinct storages saved for the backward pass, parameters left out.
        transient: gradients with respect to output and input of the layer where they are largest
            together; what the backward pass needs besides.
    """

    multiply_adds: int
    attention_multiply_adds: int
    kept: int
    transient: int


def measure_training_memory(
    plan: NetworkPlan,
    *,
    num_image_channels: int,
    num_label_channels: int,
    dtype: torch.dtype = torch.bfloat16,
) -> TrainingMemory:
    """Return the memory of a training step of the denoising network of `plan`.

    Args:
        num_label_channels: channels of x_t.
        dtype: of activations; the default is that of autocast in training on a GPU.

    Raises:
        PlansError: the plan describes no network.
    """
    with torch.device("meta"):
        network = build_denoising_network(
            plan,
            num_image_channels=num_image_channels,
            num_label_channels=num_label_channels,
            is_output_bounded=True,
        )
    module = cast("nn.Module", network)
    fill_with_zeros(module)
    patch = measured_patch(plan)
    image = torch.zeros(_BATCH_SIZE, num_image_channels, *patch)
    x_t = torch.zeros(_BATCH_SIZE, num_label_channels, *patch)
    return _training_memory(
        module,
        lambda: network(x_t, torch.zeros(_BATCH_SIZE), network.encode_image(image), None),
        num_voxels=_BATCH_SIZE * math.prod(patch),
        num_volumes=num_image_channels + _NUM_LABEL_VOLUMES * num_label_channels,
        dtype=dtype,
    )


def measure_image_model_memory(
    plan: WeakPlan,
    *,
    num_image_channels: int,
    num_classes: int,
    dtype: torch.dtype = torch.bfloat16,
) -> TrainingMemory:
    """Return the memory of a training step of the image diffusion and its classifier together.

    Args:
        num_classes: image-level labels.
        dtype: of activations; the default is that of autocast in training on a GPU.

    Raises:
        PlansError: the plan describes no network.
    """
    with torch.device("meta"):
        denoiser, classifier = build_image_networks(
            plan, num_image_channels=num_image_channels, num_classes=num_classes
        )
    networks = nn.ModuleList([cast("nn.Module", denoiser), classifier])
    fill_with_zeros(networks)
    patch = measured_patch(plan.network)
    image = torch.zeros(_BATCH_SIZE, num_image_channels, *patch)
    t, tags = torch.zeros(_BATCH_SIZE), torch.zeros(_BATCH_SIZE, num_classes)

    def forward() -> Tensor:
        v = denoiser(image, t, None, denoiser.embed_labels(tags))
        return v.sum() + classifier(image, t).sum()

    return _training_memory(
        networks,
        forward,
        num_voxels=_BATCH_SIZE * math.prod(patch),
        num_volumes=_NUM_IMAGE_VOLUMES * num_image_channels,
        dtype=dtype,
    )


def state_bytes(network: nn.Module, *, dtype: torch.dtype) -> int:
    """Return what the parameters take in training, whatever the batch.

    Args:
        dtype: of activations; if it is not float32, autocast keeps a copy of the weights in it.
    """
    copies = 0 if dtype == torch.float32 else dtype.itemsize
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return num_parameters * (_NUM_STATES * _FLOAT32 + copies)


def forward_cost(network: nn.Module, forward: Callable[[], Tensor]) -> ForwardCost:
    """Return what `forward` computes, and the bytes it leaves behind, attention taken as fused.

    Args:
        network: on any device; its parameters are not counted.
        forward: one forward pass through it.
    """
    kept: dict[int, int] = {}
    largest = multiply_adds = 0

    def keep(tensor: Tensor) -> Tensor:
        kept[_identity_of(tensor)] = tensor.untyped_storage().nbytes()
        # the tensor itself may be the output of what keeps it: nothing would ever free the two
        return tensor.detach()

    def compare(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest, multiply_adds
        if isinstance(module, _MULTIPLYING):
            multiply_adds += output.numel() * module.weight[0].numel()
        tensors = [each for each in (*inputs, output) if isinstance(each, Tensor)]
        largest = max(largest, sum(each.numel() * each.itemsize for each in tensors))

    leaves = [module for module in network.modules() if not any(module.children())]
    handles = [module.register_forward_hook(compare) for module in leaves]
    try:
        attention = _FusedAttention()
        with torch.autograd.graph.saved_tensors_hooks(keep, keep), attention:
            output = forward()
    finally:
        for handle in handles:
            handle.remove()
    for parameter in network.parameters():
        kept.pop(_identity_of(parameter), None)
    del output  # until here it kept alive what was counted, and so the identity of each storage
    return ForwardCost(
        multiply_adds=multiply_adds,
        attention_multiply_adds=attention.multiply_adds,
        kept=sum(kept.values()),
        transient=largest,
    )


def fill_with_zeros(network: nn.Module) -> None:
    """Give real parameters to a network that was built on the meta device, in place."""
    zeros = {name: torch.zeros(each.shape) for name, each in network.state_dict().items()}
    network.load_state_dict(zeros, assign=True)


def _training_memory(
    network: nn.Module,
    forward: Callable[[], Tensor],
    *,
    num_voxels: int,
    num_volumes: int,
    dtype: torch.dtype,
) -> TrainingMemory:
    """Return the memory of a step whose forward pass takes `num_voxels` voxels of all patches."""
    measured = forward_cost(network, forward)
    in_dtype = dtype.itemsize / _FLOAT32 * (measured.kept + measured.transient)
    return TrainingMemory(
        fixed=state_bytes(network, dtype=dtype),
        per_voxel=in_dtype / num_voxels + _FLOAT32 * num_volumes,
    )


def measured_patch(plan: NetworkPlan) -> list[int]:
    """Return the smallest multiples of the strides with _MIN_MEASURED_VOXELS voxels."""
    patch = [math.prod(steps) for steps in zip(*plan.strides, strict=True)]
    patch[-1] *= math.ceil(_MIN_MEASURED_VOXELS / math.prod(patch))
    return patch


def _identity_of(tensor: Tensor) -> int:
    """Return a number of the tensor's storage that no other living storage has, meta or not."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]  # no public one


class _FusedAttention(TorchFunctionMode):
    """Count the work of attention, and let it keep what the fused kernels keep, no whole matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        self.multiply_adds += key.shape[-2] * (
            query.numel() + value.shape[-1] * query[..., 0].numel()
        )
        return _fused_attention(query, key, value)


def _fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return cast("Tensor", _AttentionShapes.apply(query, key, value))  # type: ignore[no-untyped-call]  # torch


class _AttentionShapes(torch.autograd.Function):
    """Fused attention without arithmetic: keeps query, key, value, output and log-sum-exp."""

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, num_heads, length, _ = query.shape
        output = value.new_zeros(batch, length, num_heads, value.shape[-1]).transpose(1, 2)
        log_sum_exp = query.new_zeros(batch, num_heads, length)
        ctx.save_for_backward(query, key, value, output, log_sum_exp)
        return output
