"""MONAI's DiffusionModelUNet as a backbone; it comes with `pip install "diffunet[monai]"`."""

import importlib.util
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from diffunet.diffusion.denoiser import LabelledNetwork
    from diffunet.networks.task import NetworkTask
    from diffunet.plans import NetworkPlan

_PACKAGES = ("monai", "einops")


class Monai:
    """MONAI's DiffusionModelUNet; the image is more channels of the input, at every step.

    Of the extra `diffunet[monai]`.
    """

    has_image_encoder = False

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse what MONAI's network cannot be told."""
        stages, axes = len(plan.channels), plan.dimensions
        for name, wanted in (
            ("strides", ((1,) * axes, *((2,) * axes,) * (stages - 1))),
            ("kernel_sizes", ((3,) * axes,) * stages),
            ("num_decoder_blocks", tuple(count + 1 for count in plan.num_blocks)),
            ("num_middle_blocks", 2),
            ("has_attention", (*plan.has_attention[:-1], True)),  # of its middle
            ("dropout", 0.0),
        ):
            if (found := getattr(plan, name)) != wanted:
                raise ValueError(f"{name} can only be {_text(wanted)} here, got {_text(found)}")
        if 0 in plan.num_blocks:
            raise ValueError(f"num_blocks can only be 1 or more, got {_text(plan.num_blocks)}")
        if any(width % plan.num_groups for width in plan.channels):
            raise ValueError(
                f"channels can only be multiples of num_groups = {plan.num_groups}, "
                f"got {_text(plan.channels)}"
            )

    def denoising(self, plan: "NetworkPlan", task: "NetworkTask") -> "LabelledNetwork":
        """Return MONAI's network."""
        _require_packages()
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.monai import MonaiNetwork

        return MonaiNetwork(task, shape=unet_shape(plan))

    def supervised(self, plan: "NetworkPlan", task: "NetworkTask") -> "nn.Module":
        """Return the same network, which sees the image alone and is told that t = 0."""
        _require_packages()
        from diffunet.backbones.shape import unet_shape
        from diffunet.networks.monai import MonaiSegmentationNetwork

        return MonaiSegmentationNetwork(task, shape=unet_shape(plan))


def _require_packages() -> None:
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"conditioning 'monai' needs {' and '.join(missing)}, which are not installed here; "
            'install them with: pip install "diffunet[monai]"'
        )


def _text(value: Any) -> str:
    return json.dumps(value)
