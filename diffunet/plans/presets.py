"""Presets: values of plans that belong together, chosen by one word.

`--set network=p1` takes one group of a preset, `--set p1` all of them. A size is a preset that
follows from the plans of the dataset (`diffunet.planning.sizes`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from diffunet.plans.model import NetworkPlan

Size = Literal["laptop", "default", "large"]
"""How large a training is."""

SIZES: dict[Size, str] = {
    "laptop": "half an hour on two cores of a CPU: narrow networks, small patches and batches",
    "default": "as planned",
    "large": "networks twice as wide and up to twice the iterations, for a GPU of 24 GB or more",
}
"""What each size is."""

Groups = dict[str, dict[str, Any]]
"""Per group of a configuration the values of its fields."""


def p1_network(dimensions: int) -> NetworkPlan:
    """Return the network of P1 (Christensen et al. 2025, arXiv:2504.05977): 6.9 million parameters.

    The image is concatenated at every step. Patches are multiples of 8 along each axis.

    Args:
        dimensions: 2 as published, or 3.
    """
    return NetworkPlan(
        conditioning="concatenated",
        channels=(32, 32, 64, 128),
        strides=((1,) * dimensions, *((2,) * dimensions,) * 3),
        kernel_sizes=((3,) * dimensions,) * 4,
        num_blocks=(1, 2, 3, 4),
        num_decoder_blocks=(2, 3, 4, 5),
        num_middle_blocks=4,
        has_attention=(False, False, False, True),
        num_heads=4,
        num_groups=32,
    )


def p1(dimensions: int) -> Groups:
    """Return P1's network, diffusion, loss and sampling (Christensen 2025, arXiv:2504.05977).

    The weighting is that of the published checkpoint; the released code names another one. Values
    that depend on the dataset stay as planned: the number of samples, tiles, the encoding of
    labels.

    Args:
        dimensions: 2 as published, or 3.
    """
    return {
        "network": dataclasses.asdict(p1_network(dimensions)),
        "diffusion": {
            "schedule": "cosine",
            "input_scale": 0.1,
            "log_snr_limit": 20.0,
            "prediction": "x_0",
            "loss_weighting": "snr_truncated",
            "is_weighting_decoupled": False,
        },
        "sampling": {
            "sampler": "ddpm",
            "variance": "large",
            "num_steps": 10,
            "step_spacing": "t",
        },
        "training": {"has_stable_target": False},
    }


def monai_network(dimensions: int) -> NetworkPlan:
    """Return MONAI's DiffusionModelUNet as it comes, but for attention and groups.

    MONAI attends at the two coarsest stages, which takes most of the time of a large patch; here it
    is one. Groups are those of our own networks. Patches are multiples of 8 along each axis.

    Args:
        dimensions: 2 or 3.
    """
    return NetworkPlan(
        conditioning="monai",
        channels=(32, 64, 64, 64),
        strides=((1,) * dimensions, *((2,) * dimensions,) * 3),
        kernel_sizes=((3,) * dimensions,) * 4,
        num_blocks=(2,) * 4,
        num_decoder_blocks=(3,) * 4,
        num_middle_blocks=2,
        has_attention=(False, False, False, True),
        num_heads=8,
        num_groups=8,
    )


def monai(dimensions: int) -> Groups:
    """Return MONAI's DiffusionModelUNet; of the extra `diffunet[monai]`.

    Args:
        dimensions: 2 or 3.
    """
    return {"network": dataclasses.asdict(monai_network(dimensions))}


PRESETS: dict[str, Callable[[int], Groups]] = {"p1": p1, "monai": monai}
"""By name: a function from the number of axes of a patch to what is set."""


def presets_of(group: str, *, dimensions: int) -> Mapping[str, dict[str, Any]]:
    """Return what each preset sets in one group; presets that leave it alone are left out.

    Args:
        group: of a configuration. "weak.network" takes the presets of "network"; the bound on x_0
            stays as planned, since images have none.
    """
    is_of_images = group == "weak.network"
    name, kept = ("network", "has_final_tanh") if is_of_images else (group, None)
    made = {preset: make(dimensions).get(name) for preset, make in PRESETS.items()}
    return {
        preset: {field: value for field, value in values.items() if field != kept}
        for preset, values in made.items()
        if values is not None
    }
