"""A case as the networks see it, from a file, an array or the preprocessed data."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.data.batches.places import Store
from diffunet.data.image_io import ImageGeometry, read_input
from diffunet.data.image_io.geometry import in_words
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.store.case import CaseProperties, FilePlace
from diffunet.errors import DatasetError
from diffunet.inference.model import TrainedModel
from diffunet.preprocessing.case import preprocess_case

logger = logging.getLogger(__name__)

_OTHER_UNIT = 8.0
"""How much larger or smaller than the model's the side of a voxel may be: centimetres are ten."""
_FLAT = 0.01
"""Of the intensities that the model learned: what fills less of them looks flat to it."""


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """A normalised image on the grid of training, and the way back to its own.

    Attributes:
        image: float32 (channel, *properties.shape).
    """

    image: Float[Tensor, "channel *spatial"]
    properties: CaseProperties

    def staying_on_stored_grid(self) -> "PreparedImage":
        """Return the image with the grid of training for its own: answers are not resampled."""
        return dataclasses.replace(self, properties=self.properties.staying_on_stored_grid())


def read_case(files: CaseFiles, *, model: TrainedModel) -> tuple[PreparedImage, ImageGeometry]:
    """Read a case and prepare it, and return it with the geometry of its files.

    Doubts about the files are logged with the case's name.

    Raises:
        DatasetError: it cannot be read, or is no image as the model was trained on.
    """
    image, geometry = read_input(files.images, num_channels=model.num_channels)
    _require_dimensions(image, files.images[0], model=model)
    for doubt in geometry.doubts:
        logger.warning("case '%s': %s", files.case, doubt)
    known = model.plans.orientations
    if known and geometry.orientation is not None and geometry.orientation not in known:
        logger.warning(
            "case '%s' lies in the orientation %s (the directions in which x, y and z of the file "
            "rise), the training volumes in %s; axes are used as they are in the file, so the "
            "model sees this case in an orientation that it was never trained on: reorient it "
            "to one of these",
            files.case,
            geometry.orientation,
            ", ".join(known),
        )
    if geometry.has_spacing:
        _warn_of_other_unit(geometry.spacing_mm, model=model, case=files.case)
    prepared = prepare(image, geometry.spacing_mm, model=model, case=files.case)
    placed = dataclasses.replace(prepared.properties, place=FilePlace.of(geometry))
    return dataclasses.replace(prepared, properties=placed), geometry


def prepare(
    image: np.ndarray, spacing_mm: Sequence[float], *, model: TrainedModel, case: str
) -> PreparedImage:
    """Check an image and bring it to the grid and the intensities of the training.

    Args:
        image: (channel, y, x) or (channel, z, y, x), intensities as in the files.
        spacing_mm: voxel size in the order of the array's axes; 1.0 for photographs.

    Raises:
        DatasetError: its axes, channels or spacing are not those that the model was trained on.
    """
    image = _array_of(image, case=case)
    check_image(image, spacing_mm, model=model, case=case)
    preprocessed = preprocess_case(
        image,
        None,
        spacing_mm=spacing_mm,
        configuration=model.configuration,
        transpose_forward=model.plans.transpose_forward,
        case=case,
    )
    properties = preprocessed.properties
    _warn_of_flat_channels(image, properties, model=model, case=case)
    normalized = properties.normalized(preprocessed.image)
    return PreparedImage(image=torch.from_numpy(normalized), properties=properties)


def _warn_of_other_unit(spacing_mm: Sequence[float], *, model: TrainedModel, case: str) -> None:
    """Warn of voxels so much larger or smaller than the model's that their unit must be another."""
    trained_mm = model.configuration.preprocessing.spacing_mm
    stored_mm = [spacing_mm[axis] for axis in model.plans.transpose_forward][-len(trained_mm) :]
    ratio = math.prod(stored_mm) / math.prod(trained_mm)
    if abs(math.log(ratio)) > len(trained_mm) * math.log(_OTHER_UNIT):
        logger.warning(
            "case '%s' has voxels of %s mm, the model was trained at %s mm, another order of size: "
            "it sees everything so much larger or smaller; if the header counts in metres, "
            "centimetres or micrometres, correct it",
            case,
            in_words(tuple(stored_mm)),
            in_words(tuple(trained_mm)),
        )


def _warn_of_flat_channels(
    image: np.ndarray, properties: CaseProperties, *, model: TrainedModel, case: str
) -> None:
    """Warn of channels in which the model can see nothing."""
    names = model.channel_names
    for name, channel, each in zip(names, image, properties.normalization, strict=True):
        lowest, highest = float(channel.min()), float(channel.max())
        if lowest == highest:
            logger.warning(
                "case '%s', channel '%s': every voxel is %g, so nothing can be seen in it; check "
                "the file",
                *(case, name, lowest),
            )
        elif each.lower is not None and each.upper is not None:
            seen = np.clip([lowest, highest], each.lower, each.upper)
            if seen[1] - seen[0] < _FLAT * (each.upper - each.lower):
                logger.warning(
                    "case '%s', channel '%s': intensities lie between %g and %g, where the model "
                    "learned from %g to %g: it sees a flat image; bring them into the unit of the "
                    "training images (of a CT, Hounsfield units)",
                    *(case, name, lowest, highest, each.lower, each.upper),
                )


def _array_of(image: Any, *, case: str) -> np.ndarray:
    """Return an image as an array of numpy, if it is one or holds the same.

    Raises:
        DatasetError: it is something else, holds no real numbers, or hides some of them.
    """
    try:
        array = np.asarray(image)
    except Exception:  # what arrays of other libraries raise is not documented
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        kind = getattr(image, "dtype", None) or type(image).__name__
        raise DatasetError(
            f"case '{case}': expected a numpy array of integers or real numbers, found {kind}; "
            "read a file with nibabel or SimpleITK, bring a tensor to the CPU, take the magnitude"
        )
    if isinstance(image, np.ma.MaskedArray) and np.ma.is_masked(image):
        raise DatasetError(
            f"case '{case}': expected an array, found a masked one; say what its masked voxels "
            "hold (image.filled(VALUE))"
        )
    return array


def stored_image(images: Store, case: str) -> PreparedImage:
    """Return a preprocessed case."""
    properties = images.properties(case)
    stored = np.asarray(images.array(case, "image")[:])
    return PreparedImage(
        image=torch.from_numpy(properties.normalized(stored)), properties=properties
    )


def _require_dimensions(image: np.ndarray, path: Path, *, model: TrainedModel) -> None:
    """Check that a file holds a volume if the model was trained on volumes, or else an image.

    Raises:
        DatasetError: it holds the other.
    """
    if image.ndim == model.dimensions + 1:
        return
    shape = " x ".join(map(str, image.shape[1:]))
    kinds = {2: "an image (y, x)", 3: "a volume (z, y, x)"}
    found = kinds.get(image.ndim - 1, f"an array of {image.ndim - 1} axes")
    remedy = "save each slice as an image of its own, as those of the training"
    if model.dimensions == 3:
        remedy = "join the slices of a patient into one volume, in their order"
    raise DatasetError(
        f"'{path}': expected {kinds[model.dimensions]}, as those that the model was trained on, "
        f"found {found} of {shape} voxels; {remedy}"
    )


def check_image(
    image: np.ndarray, spacing_mm: Sequence[float], *, model: TrainedModel, case: str
) -> None:
    """Check that an image in memory is of the kind that a model was trained on.

    Raises:
        DatasetError: its axes, its channels or its spacing are not.
    """
    expected = model.num_channels
    dimensions = model.dimensions
    axes = "(channel, z, y, x)" if dimensions == 3 else "(channel, y, x)"
    if image.ndim != dimensions + 1:
        raise DatasetError(
            f"case '{case}': expected an array {axes}, as the model was trained on, found the "
            f"shape {image.shape}"
        )
    if len(image) != expected:
        names = ", ".join(model.channel_names)
        raise DatasetError(
            f"case '{case}': expected {expected} channel(s) ({names}) along the first axis, "
            f"found {len(image)} in the shape {image.shape}"
        )
    if image.size == 0:
        raise DatasetError(f"case '{case}': expected voxels, found the shape {image.shape}")
    if len(spacing_mm) != dimensions or not all(size > 0 for size in spacing_mm):
        raise DatasetError(
            f"case '{case}': expected {dimensions} positive voxel sizes in mm, in the order of "
            f"the array's axes, found {tuple(spacing_mm)}"
        )
