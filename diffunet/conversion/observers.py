"""Images of anyone, and a folder of masks from each reader: equal names belong together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diffunet.conversion.binary import MaskRule
from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.formats import format_of
from diffunet.conversion.mask_values import mask_rule
from diffunet.conversion.photographs import COLOURS, read_photographed, require_lossless
from diffunet.conversion.reader_files import by_name, common_suffix, ending_of, without_suffix
from diffunet.conversion.tree import (
    files_below,
    folders_of,
    for_each,
    nothing_found,
    only_one,
    refuse_all,
    subfolder,
    visible,
)
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io import (
    META_HEADER_ENDING,
    ImageGeometry,
    file_ending_of,
    read_image,
)
from diffunet.data.image_io.photograph import has_colours, photograph_ending_of
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.tables import read_patients
from diffunet.errors import DatasetError, UsageError
from diffunet.names import file_parts
from diffunet.workspace import PATIENTS_FILE

_IMAGES = "images"
_DEFAULT_LABELS = ("foreground",)
_WRITTEN = {META_HEADER_ENDING: ".mha"}  # of images that are only read
_TIFF = (".tif", ".tiff")
_SEARCHED_LEVELS = 2


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """How all images of a folder are read and written.

    Attributes:
        num_channels: of an image of other than photographs, or 3 of colours.
    """

    file_ending: str
    num_channels: int
    is_photograph: bool = False
    is_colour: bool = False


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the images, each with the masks of the readers who were asked.

    Raises:
        DatasetError: the folders are not as they should be; all masks without an image are named.
        UsageError: `wishes` names another number of channels than the images have.
    """
    root = _root_of(source)
    labels = wishes.labels or _DEFAULT_LABELS
    rule = mask_rule(labels, wishes.values)
    images, others = by_name(subfolder(root, _IMAGES))
    as_named = {
        folder.name: by_name(folder)[0]
        for folder in visible(root)
        if folder.is_dir() and folder.name.lower() != _IMAGES
    }
    suffixes = {name: common_suffix(masks, images) for name, masks in as_named.items()}
    readers = {
        name: without_suffix(masks, suffixes[name], images) for name, masks in as_named.items()
    }
    _check(root, images, readers, needs_lossless=len(labels) > 1 or bool(wishes.values))
    kind = _kind_of(list(images.values()))
    raters = {f"r{number:02d}": name for number, name in enumerate(readers)}
    masks = {
        case: {
            rater: readers[name][case] for rater, name in raters.items() if case in readers[name]
        }
        for case in images
    }
    unread = [case for case in images if not masks[case]]
    patients = _patients(root, images, unread)
    who = "; ".join(f"{rater}: {name}" for rater, name in raters.items())
    cases = [
        SourceCase(
            name=case,
            read=_reading(case, image, masks[case], kind=kind, rule=rule, patient=patients[case]),
            is_test=case in unread,
        )
        for case, image in images.items()
    ]
    return Conversion(
        dataset_json={
            "description": who,
            "channel_names": _channel_names(wishes.channels, kind),
            "labels": {"background": 0}
            | {name: number for number, name in enumerate(labels, start=1)},
            "file_ending": kind.file_ending,
            "raters": True,
        },
        cases=tuple(cases),
        suggested_name=file_parts([root.absolute().name])[0],
        is_colour=kind.is_colour,
        remarks=tuple(_remarks(who, unread, others, suffixes)),
    )


def _root_of(source: Path) -> Path:
    """Return the folder that holds `images`: `source`, or one below."""
    found = [
        folder
        for folder in folders_of(source, most_levels=_SEARCHED_LEVELS)
        if subfolder(folder, _IMAGES).is_dir()
    ]
    if not found:
        if subfolder(source.parent, _IMAGES).is_dir():
            raise DatasetError(
                f"'{source}': expected {format_of('observers').layout}; found one of these "
                f"folders; did you mean '{source.parent}'?"
            )
        raise nothing_found(source, files_below(source), layout=format_of("observers").layout)
    return only_one(found, what=f"a folder '{_IMAGES}'")


def _check(
    root: Path,
    images: Mapping[str, Path],
    readers: Mapping[str, Mapping[str, Path]],
    *,
    needs_lossless: bool,
) -> None:
    if not images or not readers:
        what = "image in 'images'" if not images else "folder of a reader beside 'images'"
        raise DatasetError(
            f"'{root}': expected {format_of('observers').layout}; found no {what}; add it"
        )
    problems = []
    for reader, masks in readers.items():
        alone = {path.name for name, path in masks.items() if name not in images}
        if alone:
            problems.append(
                f"'{root / reader}': expected masks with the names of images, whatever the ending, "
                "or with one addition to all (EYE_mask.png for EYE.jpg), found no image for "
                f"{listing(alone)}; correct the names, and join several masks of one image"
            )
        elif not masks:
            problems.append(
                f"'{root / reader}': expected the masks of a reader, found "
                f"{_in_place_of_masks(root / reader)}, or take the folder away"
            )
    refuse_all(problems)
    if needs_lossless:
        for_each((path for masks in readers.values() for path in masks.values()), require_lossless)


def _in_place_of_masks(folder: Path) -> str:
    """Return what a folder without masks holds, and what to do."""
    inside = visible(folder)
    if folders := {path.name for path in inside if path.is_dir()}:
        return f"folders: {listing(folders)}; move them up, beside '{_IMAGES}'"
    if inside:
        return f"'{inside[0].name}'; export outlines as images"
    return "none; add them"


def _kind_of(images: Sequence[Path]) -> _Kind:
    """Return what the images are: photographs, or what diffunet reads itself."""
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
        return _Kind(file_ending=ending or ".nii.gz", num_channels=len(array))
    is_colour = any(map(has_colours, images))
    return _Kind(
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


def _channel_names(asked: tuple[str, ...], kind: _Kind) -> dict[str, str]:
    default = COLOURS if kind.is_colour else ("image",)
    if kind.num_channels != len(default):
        default = tuple(f"image {number}" for number in range(1, kind.num_channels + 1))
    if asked and len(asked) != kind.num_channels:
        raise UsageError(
            f"--channels: expected a name for each of the {kind.num_channels} channel(s) of the "
            f"images, got {len(asked)}: {', '.join(asked)}"
        )
    return {str(index): name for index, name in enumerate(asked or default)}


def _patients(root: Path, images: Mapping[str, Path], unread: Sequence[str]) -> Mapping[str, str]:
    """Return the patient of each case, as the user's table says; "" without one."""
    table = root / PATIENTS_FILE
    if not table.is_file():
        return dict.fromkeys(images, "")
    read = [case for case in images if case not in unread]
    return read_patients(table, training_cases=read, test_cases=unread)


def _remarks(
    who: str, unread: Sequence[str], others: Sequence[str], suffixes: Mapping[str, str]
) -> Iterator[str]:
    yield f"readers: {who}; a reader who has no file for an image was not asked about it"
    for suffix in sorted({*suffixes.values()} - {""}):
        yield f"masks are named as their images, with '{suffix}' added"
    if unread:
        yield f"images that nobody read go to imagesTs: {listing(unread)}"
    if others:
        yield f"left out of '{_IMAGES}', since they are no images: {listing(others)}"


def _reading(
    name: str,
    image: Path,
    masks: Mapping[str, Path],
    *,
    kind: _Kind,
    rule: MaskRule,
    patient: str,
) -> "partial[Iterator[ConvertedCase]]":
    if kind.is_photograph:
        return partial(
            read_photographed,
            name,
            image,
            masks,
            rule=rule,
            is_colour=kind.is_colour,
            patient=patient,
        )
    return partial(
        read_volume,
        name,
        [image],
        masks,
        num_channels=kind.num_channels,
        rule=rule,
        patient=patient,
    )
