"""Images of the user's own, with masks that people drew: how they are read and written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.conversion.binary import MaskRule
from diffunet.conversion.case import ConvertedCase, Shares
from diffunet.conversion.photographs import COLOURS, read_photographed
from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io import (
    META_HEADER_ENDING,
    ImageGeometry,
    file_ending_of,
    read_image,
)
from diffunet.data.image_io.photograph import has_colours, photograph_ending_of
from diffunet.data.raw.tables import read_patients
from diffunet.errors import DatasetError, UsageError
from diffunet.workspace import PATIENTS_FILE

DEFAULT_LABELS = ("foreground",)
"""Of masks whose labels the user does not name."""

_WRITTEN = {META_HEADER_ENDING: ".mha"}  # of images that are only read
_PART = "/"  # in no name of a rater
_TIFF = (".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class ImageKind:
    """How all images of a folder are read and written.

    Attributes:
        num_channels: of an image of other than photographs, or 3 of colours.
    """

    file_ending: str
    num_channels: int
    is_photograph: bool = False
    is_colour: bool = False


def kind_of(images: Sequence[Path]) -> ImageKind:
    """Return what the images are: photographs, or what diffunet reads itself.

    Raises:
        DatasetError: they are of both kinds, or none of them can be read.
    """
    are_photographs = [photograph_ending_of(path) is not None for path in images]
    if any(are_photographs) and not all(are_photographs):
        odd = [images[are_photographs.index(each)].name for each in (True, False)]
        raise DatasetError(
            f"'{images[0].parent}': expected images of one kind, found photographs, such as "
            f"'{odd[0]}', and others, such as '{odd[1]}'; make a dataset of each"
        )
    endings = {file_ending_of(path) or _WRITTEN.get(ending_of(path) or "") for path in images}
    if not any(are_photographs) or (endings <= {*_TIFF} and not _is_picture(*_first(images))):
        array, _ = _first(images)
        ending = endings.pop() if len(endings) == 1 else None
        return ImageKind(file_ending=ending or ".nii.gz", num_channels=len(array))
    is_colour = any(map(has_colours, images))
    return ImageKind(
        file_ending=".png",
        num_channels=len(COLOURS) if is_colour else 1,
        is_photograph=True,
        is_colour=is_colour,
    )


def _first(images: Sequence[Path]) -> tuple[np.ndarray, ImageGeometry]:
    """Return the first image that can be read; those before it are the faults of their cases."""
    for path in images[:-1]:
        with suppress(DatasetError):
            return read_image([path])
    return read_image([images[-1]])


def _is_picture(array: np.ndarray, geometry: ImageGeometry) -> bool:
    """Whether a TIFF is one that PNG can hold."""
    kinds = (np.uint8, np.uint16) if len(array) == 1 else (np.uint8,)
    return geometry.num_dimensions == 2 and len(array) in (1, 3) and array.dtype in kinds


def dataset_json(
    kind: ImageKind, *, wishes: Wishes, description: str, has_raters: bool
) -> dict[str, Any]:
    """Return the `dataset.json` of such images.

    Raises:
        UsageError: `wishes` names another number of channels than the images have.
    """
    labels = wishes.labels or DEFAULT_LABELS
    return {
        "description": description,
        "channel_names": _channel_names(wishes.channels, kind),
        "labels": {"background": 0} | {name: number for number, name in enumerate(labels, start=1)},
        "file_ending": kind.file_ending,
        **({"raters": True} if has_raters else {}),
    }


def _channel_names(asked: tuple[str, ...], kind: ImageKind) -> dict[str, str]:
    default = COLOURS if kind.is_colour else ("image",)
    if kind.num_channels != len(default):
        default = tuple(f"image {number}" for number in range(1, kind.num_channels + 1))
    if asked and len(asked) != kind.num_channels:
        raise UsageError(
            f"--channels: expected a name for each of the {kind.num_channels} channel(s) of the "
            f"images, got {len(asked)}: {', '.join(asked)}"
        )
    return {str(index): name for index, name in enumerate(asked or default)}


def patients_of(root: Path, read: Sequence[str], unread: Sequence[str]) -> Mapping[str, str]:
    """Return the patient of each case, as the user's table in `root` says; "" without one.

    Args:
        read: cases for training.
        unread: those for testing.

    Raises:
        DatasetError: the table does not fit the cases.
    """
    table = root / PATIENTS_FILE
    if not table.is_file():
        return dict.fromkeys((*read, *unread), "")
    return read_patients(table, training_cases=read, test_cases=unread)


def reading(
    name: str,
    images: Sequence[Path],
    masks: Mapping[str, Sequence[Path]],
    *,
    kind: ImageKind,
    rule: MaskRule,
    patient: str,
    tags: Shares | None = None,
) -> Callable[[], Iterator[ConvertedCase]]:
    """Return what reads a case; it can be pickled.

    Args:
        images: the one of a photograph, or of other kinds a file for each channel.
        masks: rater, "" where there is one, to the files that are parts of his mask.
        tags: 1 or 0 for each image-level label of the case; none where they are not known.
    """
    parts = {
        f"{rater}{_PART}{number}": path
        for rater, paths in masks.items()
        for number, path in enumerate(paths)
    }
    read = _reading(name, images, parts, kind=kind, rule=rule, patient=patient)
    return partial(_joined, read, parts, tags or {})


def _joined(
    read: Callable[[], Iterator[ConvertedCase]], parts: Mapping[str, Path], tags: Shares
) -> Iterator[ConvertedCase]:
    """Yield a case with the parts of each rater's mask as one, and with its image-level labels."""
    for case in read():
        masks: dict[str, np.ndarray] = {}
        for key, part in case.masks.items():
            rater = key.partition(_PART)[0]
            mask = masks.setdefault(rater, part)
            if ((mask != part) & (mask != 0) & (part != 0)).any():
                raise DatasetError(
                    f"'{parts[key]}': expected a part of a mask, found pixels that another part "
                    "marks with another label; correct one of them"
                )
            masks[rater] = np.maximum(mask, part)
        yield replace(case, masks=masks, shares={None: tags} if tags else {})


def _reading(
    name: str,
    images: Sequence[Path],
    masks: Mapping[str, Path],
    *,
    kind: ImageKind,
    rule: MaskRule,
    patient: str,
) -> Callable[[], Iterator[ConvertedCase]]:
    if kind.is_photograph:
        return partial(
            read_photographed,
            name,
            images[0],
            masks,
            rule=rule,
            is_colour=kind.is_colour,
            patient=patient,
        )
    return partial(
        read_volume,
        name,
        images,
        masks,
        num_channels=kind.num_channels,
        rule=rule,
        patient=patient,
    )
