"""A lower bound of the memory that a network needs, checked before any is taken.

A refused run cannot work on this machine; a run that passes may still be too large. The planner
measures instead (`diffunet.planning.memory`).
"""

import math
import os
from typing import TYPE_CHECKING

from diffunet.backbones.size import NetworkSize, encoder_size, image_encoder_sizes, unet_size
from diffunet.cgroups import memory_limit_bytes
from diffunet.errors import PlansError
from diffunet.methods import METHODS
from diffunet.plans import ConfigurationPlan

if TYPE_CHECKING:
    import torch

_FLOAT32, _HALF = 4, 2  # bytes
_NUM_STATES = 5  # weight, gradient, AdamW's two moments, the averaged weight
_GIB = 2**30


def require_memory_to_train(
    configuration: ConfigurationPlan, *, method: str, device: "torch.device", num_ranks: int = 1
) -> None:
    """Check that a training can fit into the memory of the device.

    Raises:
        PlansError: it cannot; the message says what it needs, and what there is.
    """
    sizes = METHODS[method].network_sizes(configuration)
    patches = math.ceil(configuration.training.batch_size / num_ranks)
    asked = configuration.training.precision
    is_half = asked == "bfloat16" or (asked == "auto" and device.type == "cuda")
    item_bytes = _HALF if is_half else _FLOAT32
    weights = _NUM_STATES * _FLOAT32 * sum(size.num_weights for size in sizes)
    values = sum(size.num_values(configuration.patch_size) for size in sizes)
    _require(
        {
            "the weights and their optimiser": weights,
            f"{patches} patches of {list(configuration.patch_size)}": item_bytes * patches * values,
        },
        device,
        remedy="make patch_size, training.batch_size or the network smaller",
    )


def require_memory_for_weights(configuration: ConfigurationPlan, *, method: str) -> None:
    """Check that the weights of a model can fit into the memory of this machine.

    Raises:
        PlansError: they cannot.
    """
    weights = _FLOAT32 * sum(
        size.num_weights for size in METHODS[method].network_sizes(configuration)
    )
    _require({"the weights": weights}, None, remedy="make the network smaller")


def _require(needs: dict[str, int], device: "torch.device | None", *, remedy: str) -> None:
    available = _memory_of(device)
    needed = sum(needs.values())
    if needed > available:
        parts = ", ".join(f"{name} {num / _GIB:.3g} GB" for name, num in needs.items())
        raise PlansError(
            f"these plans need at least {needed / _GIB:.3g} GB of memory ({parts}), there are "
            f"{available / _GIB:.3g} GB; {remedy}"
        )


def denoiser_sizes(configuration: ConfigurationPlan) -> list[NetworkSize]:
    """Return the sizes of what `build_denoiser` makes."""
    plan = configuration.network
    return [unet_size(plan), *image_encoder_sizes(plan)]


def segmentation_network_sizes(configuration: ConfigurationPlan) -> list[NetworkSize]:
    """Return the size of what `build_segmentation_network` makes."""
    plan = configuration.network
    return image_encoder_sizes(plan) or [unet_size(plan)]


def image_model_sizes(configuration: ConfigurationPlan) -> list[NetworkSize]:
    """Return the sizes of what `build_image_model` makes; nothing without a plan of it."""
    classifier = classifier_sizes(configuration)
    return [*classifier, *(unet_size(each.plan) for each in classifier)]


def classifier_sizes(configuration: ConfigurationPlan) -> list[NetworkSize]:
    """Return the size of what `build_classifier` makes; nothing without a plan of it."""
    if configuration.weak is None:
        return []
    return [encoder_size(configuration.weak.network)]


def _memory_of(device: "torch.device | None") -> float:
    """Return the bytes of a GPU, or of this machine, container or job."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[1]
    known = [memory_limit_bytes()]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(known)
