"""All measurements of one case for the fingerprint, made in a worker process."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.case_files import CaseFiles
from diffunet.errors import DatasetError
from diffunet.fingerprint.intensity import ChannelMeasurement, measure_channel
from diffunet.fingerprint.masks import LabelMeasurement, coarse_axis, measure_masks
from diffunet.labels import LabelScheme
from diffunet.preprocessing.crop import crop_box


@dataclass(frozen=True, kw_only=True)
class CaseTask:
    """What a worker needs to measure a case.

    Attributes:
        reads_masks: False where image-level labels are declared: no file of labels is opened.
        slices_first_axis: slice volumes across the first axis rather than the coarse one.
        num_drawn: intensities to draw per channel.
    """

    files: CaseFiles
    labels: LabelScheme
    num_channels: int
    reads_masks: bool
    slices_first_axis: bool
    num_drawn: int


@dataclass(frozen=True, kw_only=True)
class CaseMeasurement:
    """One case.

    Attributes:
        slice_axis: across which the volume was sliced; None for images.
        has_spacing, orientation: see `ImageGeometry`.
        content: share of voxels brighter than the image's mean, of each slice along the first axis;
            of an image a single number.
        marked: whether each rater marked anything at all; empty where no mask was read.
        labels: one per label; empty where no mask was read.
    """

    case: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    shape_after_crop: tuple[int, ...]
    slice_axis: int | None
    channels: tuple[ChannelMeasurement, ...]
    has_spacing: bool
    orientation: str | None
    content: Float[np.ndarray, " slice"]
    marked: dict[str, bool]
    labels: tuple[LabelMeasurement, ...]


def measure_case(task: CaseTask) -> CaseMeasurement:
    """Measure one case.

    Raises:
        DatasetError: a file cannot be read, holds NaN or infinity, or shapes differ.
    """
    case = task.files.case
    image, geometry = read_image(task.files.images, num_channels=task.num_channels)
    if np.issubdtype(image.dtype, np.inexact) and not np.isfinite(image).all():
        raise DatasetError(
            f"case '{case}': expected finite intensities, found NaN or infinity; replace them"
        )
    raters = tuple(task.files.labels) if task.reads_masks else ()
    label_maps = _read_label_maps(task.files, raters, image.shape[1:]) if raters else None
    slice_axis = None
    if len(geometry.shape) == 3:
        slice_axis = 0 if task.slices_first_axis else coarse_axis(geometry.spacing_mm)
    foreground = _foreground(image, label_maps, task.labels)
    return CaseMeasurement(
        case=case,
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        shape_after_crop=crop_box(image).shape,
        slice_axis=slice_axis,
        has_spacing=geometry.has_spacing,
        orientation=geometry.orientation,
        channels=tuple(
            measure_channel(channel, foreground, case=case, num_drawn=task.num_drawn)
            for channel in image
        ),
        content=_content(image[0]),
        marked={} if label_maps is None else _marked(raters, label_maps, task.labels),
        labels=()
        if label_maps is None
        else measure_masks(
            label_maps,
            labels=task.labels,
            spacing_mm=geometry.spacing_mm,
            slice_axis=slice_axis,
            case=case,
        ),
    )


def _read_label_maps(
    files: CaseFiles, raters: Sequence[str], shape: tuple[int, ...]
) -> Integer[np.ndarray, "rater *spatial"]:
    label_maps = []
    for rater in raters:
        label_map, _ = read_label_map(files.labels[rater])
        if label_map.shape != shape:
            raise DatasetError(
                f"case '{files.case}': '{files.labels[rater].name}' should have the image's shape "
                f"{shape}, found {label_map.shape}; resample it or remove the case"
            )
        label_maps.append(label_map)
    return np.stack(label_maps)


def _foreground(
    image: Shaped[np.ndarray, "channel *spatial"],
    label_maps: Integer[np.ndarray, "rater *spatial"] | None,
    labels: LabelScheme,
) -> Bool[np.ndarray, "*spatial"]:
    if label_maps is None:
        return (image != 0).any(axis=0)
    return ((label_maps != 0) & ~labels.ignored(label_maps)).any(axis=0)


def _marked(
    raters: Sequence[str], label_maps: Integer[np.ndarray, "rater *spatial"], labels: LabelScheme
) -> dict[str, bool]:
    is_marked = (label_maps != 0) & ~labels.ignored(label_maps)
    found = is_marked.reshape(len(label_maps), -1).any(axis=1)
    return {rater: bool(marked) for rater, marked in zip(raters, found, strict=True)}


def _content(channel: Shaped[np.ndarray, "*spatial"]) -> Float[np.ndarray, " slice"]:
    brighter = channel > channel.mean()
    if channel.ndim == 2:
        return np.array([brighter.mean()])
    return brighter.reshape(len(brighter), -1).mean(axis=1)
