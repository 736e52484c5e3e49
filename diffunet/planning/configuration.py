"""One configuration of the plans: every rule applied in turn, every value with its reason."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffunet.build import build_encoding
from diffunet.fingerprint.fingerprint import Fingerprint, LabelFingerprint
from diffunet.fingerprint.traps import is_centred
from diffunet.labels import LabelScheme
from diffunet.planning.augmentation import choose_augmentation
from diffunet.planning.blocks import plan_masks, plan_training
from diffunet.planning.choice import Choice, sentence
from diffunet.planning.crop import choose_crop
from diffunet.planning.defaults import DEFAULT_REASONS
from diffunet.planning.diffusion import choose_encoding
from diffunet.planning.geometry import DatasetGrid, PatchGrid, patch_grid
from diffunet.planning.normalization import choose_normalizations
from diffunet.planning.patch import PatchChoice, choose_patch
from diffunet.planning.topology import Topology
from diffunet.planning.weak import PlannedWeak, plan_weak
from diffunet.planning.whole_image import GridChoice, choose_whole_images
from diffunet.plans import (
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NormalizationPlan,
    PreprocessingPlan,
)

_SCALING_OF_TAGGED_IMAGES = (
    "nnU-Net's. Scaling or rotation may push a finding at the border out of an image that keeps "
    "its label; this affects few images."
)
_NOT_WORTH_TILES = 1.5  # largest over median image: up to it a patch may cover every image


@dataclass(frozen=True, kw_only=True)
class PlannedConfiguration:
    """A configuration, the reasons under its keys, and what the user should be told.

    Attributes:
        reasons: nested as the plan, with a sentence for each value.
    """

    plan: ConfigurationPlan
    reasons: dict[str, Any]
    warnings: tuple[str, ...]


def plan_configuration(
    name: str,
    *,
    data_identifier: str,
    fingerprint: Fingerprint,
    labels: LabelScheme,
    grid: DatasetGrid,
    gpu_memory_gb: float,
) -> PlannedConfiguration:
    """Plan "2d" or "3d_fullres".

    Raises:
        PlansError: no patch fits into the memory.
    """
    axes = patch_grid(grid, dimensions=2 if name == "2d" else 3)
    encoding = choose_encoding(len(labels.names), is_regions=labels.is_regions)
    chosen = _choose_grid(
        axes,
        fingerprint,
        labels=labels,
        encoding=encoding,
        spacing_mm=Choice(axes.spacing_mm, grid.spacing_mm.reason),
        gpu_memory_gb=gpu_memory_gb,
    )
    axes, patch = chosen.axes, chosen.patch
    preprocessing, preprocessing_reasons, warnings = _plan_preprocessing(
        chosen.spacing_mm, fingerprint
    )
    crop = _choose_crop(patch.patch_size, axes=axes, labels=fingerprint.labels or {})
    warnings += _larger_than_patch(patch.patch_size, crop.value, axes=axes, fingerprint=fingerprint)
    augmentation, augmentation_reasons = choose_augmentation(
        label_names=labels.names, patch_size=patch.patch_size, spacing_mm=axes.spacing_mm
    )
    masks = plan_masks(chosen, fingerprint, encoding=encoding)
    training, training_reasons = plan_training(chosen, num_cases=fingerprint.num_cases)
    weak = _plan_weak(chosen.image_model, fingerprint, normalization=preprocessing.normalization)
    if weak is not None:
        augmentation_reasons["scaling_range"] = _SCALING_OF_TAGGED_IMAGES
        warnings.extend(weak.warnings)
    plan = ConfigurationPlan(
        dimensions=2 if axes.dimensions == 2 else 3,
        data_identifier=data_identifier,
        median_shape=axes.median_shape,
        patch_size=patch.patch_size,
        preprocessing=preprocessing,
        crop=crop.value,
        augmentation=augmentation,
        network=patch.network,
        diffusion=masks.diffusion,
        sampling=masks.sampling,
        training=training,
        weak=weak.plan if weak is not None else None,
    )
    reasons = {
        **_grid_reasons(axes, patch),
        "preprocessing": preprocessing_reasons,
        "crop": {"policy": crop.reason, "foreground_share": "See the reason of the policy."},
        "augmentation": augmentation_reasons,
        "network": {key: sentence(text) for key, text in patch.reasons["network"].items()},
        **masks.reasons,
        "training": training_reasons,
        "weak": weak.reasons if weak is not None else _no_weak_reason(fingerprint),
    }
    return PlannedConfiguration(
        plan=plan,
        reasons=_with_defaults(reasons),
        warnings=tuple(f"{name}: {warning}" for warning in (*warnings, *masks.warnings)),
    )


def _grid_reasons(axes: PatchGrid, patch: PatchChoice) -> dict[str, Any]:
    dimensions = "Patches are images." if axes.dimensions == 2 else "Patches are volumes."
    if axes.is_slicewise:
        dimensions = "Patches are slices of the volumes."
    return {
        "dimensions": dimensions,
        "data_identifier": "Folder of the preprocessed cases; other plans have their own.",
        "median_shape": "Of the training cases at this spacing; for information.",
        "patch_size": patch.reasons["patch_size"],
    }


def _plan_preprocessing(
    spacing_mm: Choice[tuple[float, ...]], fingerprint: Fingerprint
) -> tuple[PreprocessingPlan, dict[str, Any], list[str]]:
    normalization = choose_normalizations(
        fingerprint.channels,
        relative_size_after_crop=fingerprint.geometry.relative_size_after_crop.median,
    )
    plan = PreprocessingPlan(
        spacing_mm=spacing_mm.value, normalization=tuple(each.value for each in normalization)
    )
    reasons = {
        "spacing_mm": spacing_mm.reason,
        "normalization": [each.reason for each in normalization],
    }
    warnings = [spacing_mm.warning, *(each.warning for each in normalization)]
    return plan, reasons, [warning for warning in warnings if warning]


def _choose_grid(
    axes: PatchGrid,
    fingerprint: Fingerprint,
    *,
    labels: LabelScheme,
    encoding: Choice[str],
    spacing_mm: Choice[tuple[float, ...]],
    gpu_memory_gb: float,
) -> GridChoice:
    """Choose whole images for image-level labels, else the largest patches that fit."""
    if fingerprint.image_labels is None or axes.dimensions == 3:
        patch = _choose_patch(
            axes, fingerprint, labels=labels, encoding=encoding, gpu_memory_gb=gpu_memory_gb
        )
        return GridChoice(axes=axes, spacing_mm=spacing_mm, patch=patch, image_model=None)
    return choose_whole_images(
        axes,
        geometry=fingerprint.geometry,
        spacing_reason=spacing_mm.reason,
        num_cases=fingerprint.num_cases,
        num_image_channels=len(fingerprint.channels),
        num_label_channels=_num_label_channels(labels, encoding),
        num_classes=len(labels.names),
        gpu_memory_gb=gpu_memory_gb,
    )


def _choose_patch(
    axes: PatchGrid,
    fingerprint: Fingerprint,
    *,
    labels: LabelScheme,
    encoding: Choice[str],
    gpu_memory_gb: float,
) -> PatchChoice:
    covered = axes.median_shape
    if all(
        largest <= _NOT_WORTH_TILES * median
        for largest, median in zip(axes.largest_shape, axes.median_shape, strict=True)
    ):
        # Cutting a rim off every second image would cost tiles and gain nothing.
        covered = axes.largest_shape
    choice = choose_patch(
        covered,
        axes.spacing_mm,
        num_image_channels=len(fingerprint.channels),
        num_label_channels=_num_label_channels(labels, encoding),
        num_training_voxels=fingerprint.num_cases * axes.num_slices * math.prod(axes.median_shape),
        gpu_memory_gb=gpu_memory_gb,
    )
    reason = sentence(choice.reasons["patch_size"])
    if covered != axes.median_shape:
        reason += (
            f" The largest image, {list(covered)} voxels, is used instead of the median one, "
            "which is not much smaller: a patch that covers every image needs no tiles."
        )
    return dataclasses.replace(choice, reasons=choice.reasons | {"patch_size": reason})


def _num_label_channels(labels: LabelScheme, encoding: Choice[str]) -> int:
    plan = DiffusionPlan(encoding="signed" if encoding.value == "signed" else "analog_bits")
    return build_encoding(labels, plan).num_channels


def _choose_crop(
    patch_size: Sequence[int], *, axes: PatchGrid, labels: Mapping[str, LabelFingerprint]
) -> Choice[CropPlan]:
    objects = [
        found
        for label in labels.values()
        if (found := label.objects_of_slice if axes.is_slicewise else label.objects) is not None
    ]
    diameter = None
    if objects:
        diameter = sum(each.diameter_mm.mean for each in objects) / len(objects)
        diameter /= axes.voxel_edge_mm
    return choose_crop(
        patch_size=patch_size,
        median_shape=axes.median_shape,
        largest_shape=axes.largest_shape,
        num_slices=axes.num_slices,
        object_diameter=diameter,
        objects_per_image=sum(each.per_mask.mean for each in objects),
        is_centred=any(is_centred(label) for label in labels.values()),
    )


def _larger_than_patch(
    patch_size: Sequence[int], crop: CropPlan, *, axes: PatchGrid, fingerprint: Fingerprint
) -> Iterator[str]:
    """Yield a warning for the label whose objects hardly any patch shows whole."""
    if crop.policy == "whole":
        return
    diameters = {
        name: objects.diameter_mm.mean / axes.voxel_edge_mm
        for name, label in (fingerprint.labels or {}).items()
        if (objects := label.objects_of_slice if axes.is_slicewise else label.objects) is not None
    }
    edge = math.prod(patch_size) ** (1 / len(patch_size))
    name = max(diameters, key=lambda each: diameters[each], default=None)
    if name is None or diameters[name] <= edge:
        return
    factor = math.ceil(2 * diameters[name] / edge)
    spacing = " ".join(f"{factor * size:.3g}" for size in axes.spacing_mm)
    is_image = len(fingerprint.geometry.spacing_mm) == 2
    yield (
        f"Objects of '{name}' are {diameters[name]:.0f} voxels across on average, the patch is "
        f"{edge:.0f}: the network sees no whole one. Where their surroundings matter, not their "
        f"texture alone, plan with voxels {factor} times as long (-overwrite_target_spacing"
        + (f" {spacing})" if is_image else ", mm of z y x)")
    )


def _plan_weak(
    image_model: Topology | None,
    fingerprint: Fingerprint,
    *,
    normalization: Sequence[NormalizationPlan],
) -> PlannedWeak | None:
    if image_model is None or fingerprint.image_labels is None:
        return None
    names = [channel.name for channel in fingerprint.channels]
    planned = plan_weak(
        image_model,
        image_labels=fingerprint.image_labels,
        normalization=dict(zip(names, normalization, strict=True)),
    )
    network = {key: sentence(text) for key, text in image_model.reasons.items()}
    return dataclasses.replace(planned, reasons=planned.reasons | {"network": network})


def _no_weak_reason(fingerprint: Fingerprint) -> str:
    if fingerprint.image_labels is None:
        return "None: the dataset declares no image-level labels."
    return "None: image-level labels are learned from slices; take the configuration 2d."


def _with_defaults(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return `chosen` with the reasons of the values that no rule chooses."""
    return {
        key: DEFAULT_REASONS.get(key, {}) | reasons if isinstance(reasons, dict) else reasons
        for key, reasons in chosen.items()
    }
