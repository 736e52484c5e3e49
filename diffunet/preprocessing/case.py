"""One case, from its files' arrays to the stored grid, and the way back for predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffunet.data.image_io.geometry import in_words
from diffunet.data.store.case import CaseProperties
from diffunet.errors import DatasetError
from diffunet.limits import how_to_allow, max_image_bytes
from diffunet.plans import ConfigurationPlan, PreprocessingPlan
from diffunet.preprocessing.crop import body_mask, crop_box
from diffunet.preprocessing.normalize import case_normalization
from diffunet.preprocessing.resample import (
    resample_image,
    resample_label_map,
    resampled_shape,
    separate_axis,
)

_GB = 2**30


@dataclass(frozen=True, kw_only=True)
class PreprocessedCase:
    """A case on the stored grid.

    Attributes:
        image: (channel, *shape); normalised float32 if `properties.is_normalized`, otherwise the
            source's values in the smallest dtype that holds them (`properties.normalized`
            normalises a patch of it).
        labels: (rater, *shape) uint8 or uint16; None where none were given.
    """

    image: np.ndarray
    labels: np.ndarray | None
    properties: CaseProperties


def preprocess_case(
    image: np.ndarray,
    label_maps: np.ndarray | None,
    *,
    spacing_mm: Sequence[float],
    configuration: ConfigurationPlan,
    transpose_forward: Sequence[int],
    case: str,
    patient: str | None = None,
    raters: Sequence[str] = (),
) -> PreprocessedCase:
    """Transpose, crop, normalise and resample a case, as nnU-Net does.

    Args:
        image: (channel, *spatial), in file order.
        label_maps: (rater, *spatial) integers, in file order; None where there are none.
        spacing_mm: of the files, in file order.
        case: its name, for messages.
        patient: None for the case itself.
        raters: names, in the order of `label_maps`.

    Raises:
        DatasetError: an intensity is not finite or outside of what its scheme expects.
    """
    stored, properties = preprocess_image(
        image,
        spacing_mm,
        plan=configuration.preprocessing,
        transpose_forward=transpose_forward,
        case=case,
    )
    properties = replace(properties, patient=patient or case, raters=tuple(raters))
    labels = None if label_maps is None else preprocess_labels(label_maps, properties)
    return PreprocessedCase(image=stored, labels=labels, properties=properties)


def preprocess_image(
    image: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    plan: PreprocessingPlan,
    transpose_forward: Sequence[int],
    case: str,
) -> tuple[np.ndarray, CaseProperties]:
    """Return the stored image of a case and what is known about it; see `preprocess_case`.

    The image keeps the source's values where it is not resampled, in the smallest dtype that holds
    them, and is normalised when it is read.
    """
    dimensions = image.ndim - 1
    if len(transpose_forward) != dimensions or len(spacing_mm) != dimensions:
        raise ValueError(
            f"case '{case}': transpose_forward {tuple(transpose_forward)} and spacing_mm "
            f"{tuple(spacing_mm)} should have {dimensions} values, as the image has dimensions"
        )
    transposed = image.transpose(0, *(axis + 1 for axis in transpose_forward))
    old_spacing_mm = tuple(float(spacing_mm[axis]) for axis in transpose_forward)
    box = crop_box(transposed)
    cropped = transposed[(slice(None), *box.slices)]
    # A 2d configuration of volumes leaves the slices where they are.
    new_spacing_mm = old_spacing_mm[: dimensions - len(plan.spacing_mm)] + plan.spacing_mm
    shape = resampled_shape(box.shape, spacing_mm=old_spacing_mm, new_spacing_mm=new_spacing_mm)
    _require_room(shape, new_spacing_mm, image=cropped, spacing_mm=old_spacing_mm, case=case)
    uses_mask = any(rule.uses_mask for rule in plan.normalization)
    properties = CaseProperties(
        case=case,
        patient=case,
        original_shape=image.shape[1:],
        original_spacing_mm=tuple(float(size) for size in spacing_mm),
        transpose_forward=tuple(transpose_forward),
        crop_box=box,
        shape=shape,
        spacing_mm=new_spacing_mm,
        nearest_axis=separate_axis(
            old_spacing_mm, new_spacing_mm, anisotropy=plan.separate_axis_anisotropy
        ),
        normalization=(),
        is_normalized=uses_mask or shape != box.shape,
    )
    return _normalized_and_resampled(cropped, properties, plan)


def _require_room(
    shape: Sequence[int],
    new_spacing_mm: Sequence[float],
    *,
    image: np.ndarray,
    spacing_mm: Sequence[float],
    case: str,
) -> None:
    """Check that an image has room where it is resampled: a wrong spacing makes it huge."""
    num_bytes = len(image) * math.prod(shape) * np.dtype(np.float32).itemsize
    if num_bytes > max(max_image_bytes(), image.nbytes):
        raise DatasetError(
            f"case '{case}': expected at most {max_image_bytes() / _GB:.3g} GB, found "
            f"{num_bytes / _GB:.3g} GB: {image.shape[1:]} voxels of {in_words(tuple(spacing_mm))} "
            f"mm are {tuple(shape)} of {in_words(tuple(new_spacing_mm))} mm, the spacing of the "
            "plans; correct the spacing in the file's header, or raise the limit: "
            f"{how_to_allow(num_bytes)}"
        )


def preprocess_labels(
    label_maps: Sequence[np.ndarray] | np.ndarray, properties: CaseProperties
) -> np.ndarray:
    """Return the label maps of the raters, each in file order, on the stored grid.

    Returns:
        (rater, *shape) uint8; uint16 where an integer needs it.

    Raises:
        DatasetError: one does not have the shape of the image, or holds other integers than 0 to
            65535.
    """
    for label_map in label_maps:
        _check_label_map(label_map, properties)
    highest = max(int(label_map.max(initial=0)) for label_map in label_maps)
    stored = np.empty(
        (len(label_maps), *properties.shape), np.uint8 if highest < 256 else np.uint16
    )
    for label_map, target in zip(label_maps, stored, strict=True):
        transposed = label_map.transpose(properties.transpose_forward)
        target[...] = resample_label_map(
            transposed[properties.crop_box.slices].astype(stored.dtype, copy=False),
            properties.shape,
            nearest_axis=properties.nearest_axis,
        )
    return stored


def _check_label_map(label_map: np.ndarray, properties: CaseProperties) -> None:
    if label_map.shape != properties.original_shape:
        raise DatasetError(
            f"case '{properties.case}': a label map has the shape {label_map.shape}, the image "
            f"{properties.original_shape}; resample the label map or remove the case"
        )
    lowest, highest = int(label_map.min(initial=0)), int(label_map.max(initial=0))
    if lowest < 0 or highest > np.iinfo(np.uint16).max:
        raise DatasetError(
            f"case '{properties.case}': expected label integers from 0 to 65535, found {lowest} to "
            f"{highest}; correct the label map"
        )


def restore_x_0(
    x_0: np.ndarray, properties: CaseProperties, *, background: Sequence[float]
) -> np.ndarray:
    """Return channel maps (channel, *shape) of the stored grid on the original grid, float32.

    Takes one channel at a time; see `restore_channel` where even the result is too large.

    Args:
        background: the value of each channel outside of the crop box.
    """
    result = np.empty((len(x_0), *properties.original_shape), np.float32)
    for channel, target, fill in zip(x_0, result, background, strict=True):
        restore_channel(channel, properties, background=fill, out=target)
    return result


def restore_channel(
    channel: np.ndarray, properties: CaseProperties, *, background: float, out: np.ndarray
) -> None:
    """Write a map (*shape) of the stored grid into `out`, (*original_shape) in file order.

    Interpolates linearly (by nearest neighbour along the axis that was resampled so).
    """
    inner = resample_image(
        np.asarray(channel, np.float32),
        properties.cropped_shape,
        order=1,
        nearest_axis=properties.nearest_axis,
    )
    if properties.cropped_shape != properties.original_shape:
        out[...] = background
    in_stored_order = out.transpose(properties.transpose_forward)
    in_stored_order[properties.crop_box.slices] = inner


def _in_small_dtype(image: np.ndarray) -> np.ndarray:
    """Return `image` in the smallest dtype that holds its values; float32 where none else does."""
    lowest, highest = image.min(), image.max()
    for dtype in (np.uint8, np.int16, np.uint16):
        bounds = np.iinfo(dtype)
        if bounds.min <= lowest and highest <= bounds.max:
            small = image.astype(dtype, copy=False)
            if image.dtype.kind in "iu" or np.array_equal(small, image):
                return small
    return image.astype(np.float32, copy=False)


def _normalized_and_resampled(
    cropped: np.ndarray, properties: CaseProperties, plan: PreprocessingPlan
) -> tuple[np.ndarray, CaseProperties]:
    if len(cropped) != len(plan.normalization):
        raise DatasetError(
            f"case '{properties.case}': expected {len(plan.normalization)} channels, as in the "
            f"plans, found {len(cropped)}; plan again or correct the case"
        )
    mask = body_mask(cropped) if any(rule.uses_mask for rule in plan.normalization) else None
    normalization = []
    for index, (channel, rule) in enumerate(zip(cropped, plan.normalization, strict=True)):
        try:
            normalization.append(case_normalization(channel, rule, mask=mask))
        except DatasetError as error:
            raise DatasetError(f"case '{properties.case}', channel {index}: {error}") from None
    properties = replace(properties, normalization=tuple(normalization))
    if not properties.is_normalized:
        return np.ascontiguousarray(_in_small_dtype(cropped)), properties
    stored = np.empty((len(cropped), *properties.shape), np.float32)
    for index, rule in enumerate(plan.normalization):
        normalized = np.empty(properties.cropped_shape, np.float32)
        normalization[index].apply(cropped[index], out=normalized)
        if mask is not None and rule.uses_mask:
            normalized[~mask] = 0
        lowest, highest = normalized.min(), normalized.max()
        resampled = resample_image(
            normalized,
            properties.shape,
            order=plan.image_order,
            nearest_axis=properties.nearest_axis,
        )
        # A cubic spline overshoots at edges; nnU-Net clips it too.
        np.clip(resampled, lowest, highest, out=stored[index])
    return stored, properties
