"""From fingerprint to plans."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from diffunet.errors import PlansError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.labels import LabelScheme
from diffunet.planning.choice import Choice
from diffunet.planning.configuration import plan_configuration
from diffunet.planning.geometry import choose_recommended_configuration, plan_grid
from diffunet.plans import Plans

logger = logging.getLogger(__name__)

DEFAULT_GPU_MEMORY_GB = 8.0

MOST_VOXELS = 2**31
"""Of a case at a spacing that the user chose: eight times a CT scan of 512 x 512 x 1024."""


def plan_experiment(
    fingerprint: Fingerprint,
    dataset_content: Mapping[str, Any],
    *,
    gpu_memory_gb: float = DEFAULT_GPU_MEMORY_GB,
    overwrite_target_spacing: Sequence[float] | None = None,
    plans_name: str = Plans.plans_name,
) -> Plans:
    """Choose everything for a dataset, each value with its reason.

    2d always, 3d_fullres for volumes of more than one slice.

    Args:
        dataset_content: of dataset.json.
        gpu_memory_gb: GiB that a training step may take.
        overwrite_target_spacing: mm per file axis (z, y, x), in place of the rule's.

    Raises:
        DatasetError: `dataset_content` has no valid labels.
        PlansError: the target spacing does not fit, or no patch fits into the memory.
    """
    labels = LabelScheme.from_dataset_json(dataset_content)
    has_image_labels = fingerprint.image_labels is not None
    try:
        grid = plan_grid(
            fingerprint.geometry,
            has_image_labels=has_image_labels,
            overwrite_spacing_mm=overwrite_target_spacing,
        )
    except ValueError as cause:
        raise PlansError(f"-overwrite_target_spacing: {cause}") from None
    if overwrite_target_spacing is not None:
        _require_possible_cases(grid.largest_shape)
    is_volume = len(grid.median_shape) == 3 and grid.median_shape[0] > 1
    planned = {
        name: plan_configuration(
            name,
            data_identifier=name if plans_name == Plans.plans_name else f"{plans_name}_{name}",
            fingerprint=fingerprint,
            labels=labels,
            grid=grid,
            gpu_memory_gb=gpu_memory_gb,
        )
        for name in ("2d", *(("3d_fullres",) if is_volume else ()))
    }
    recommended = choose_recommended_configuration(grid, has_image_labels=has_image_labels)
    method = choose_method(has_image_labels=has_image_labels)
    warnings = [method.warning] if method.warning else []
    if len(fingerprint.geometry.orientations) > 1:
        warnings.append(
            "training volumes lie in several orientations "
            f"({', '.join(fingerprint.geometry.orientations)}); axes are used as they are in the "
            "file: bring all volumes to one orientation; diffunet_verify_dataset names the cases"
        )
    for configuration in planned.values():
        warnings.extend(configuration.warnings)
    for warning in warnings:
        logger.warning(warning)
    return Plans(
        dataset_name=fingerprint.dataset_name,
        plans_name=plans_name,
        method=method.value,
        recommended_configuration=recommended.value,
        transpose_forward=grid.axis_order.value,
        orientations=fingerprint.geometry.orientations,
        configurations={name: each.plan for name, each in planned.items()},
        reasons={
            "method": method.reason,
            "recommended_configuration": recommended.reason,
            "transpose_forward": grid.axis_order.reason,
            "configurations": {name: each.reasons for name, each in planned.items()},
        },
    )


def _require_possible_cases(largest_shape: Sequence[int]) -> None:
    """Refuse a spacing set by the user at which no memory holds the cases."""
    num_voxels = math.prod(largest_shape)
    if num_voxels > MOST_VOXELS:
        raise PlansError(
            f"-overwrite_target_spacing: cases would have up to "
            f"{' x '.join(map(str, largest_shape))} voxels, {4 * num_voxels / 2**30:.3g} GB for "
            f"each channel; at most {4 * MOST_VOXELS / 2**30:.3g} GB are possible: choose a larger "
            "spacing"
        )


def choose_method(*, has_image_labels: bool) -> Choice[str]:
    """Choose the default method of `diffunet_train`."""
    if not has_image_labels:
        return Choice(
            "diffusion",
            "The dataset has masks: a diffusion on them learns the distribution that raters "
            "draw from. 'supervised' is the baseline.",
        )
    return Choice(
        "cdm",
        "The dataset declares image-level labels: masks are learned from them alone, and "
        "labelsTr is never opened. 'classifier' trains the network for class activation maps; "
        "'supervised' and 'diffusion' learn from labelsTr, if it exists, and show what training "
        "on masks would reach.",
    )
