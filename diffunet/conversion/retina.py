"""Photographs of the retina: names of files alone tell images, observers and parts apart.

So it does not matter in which folders they lie: as they were packed, or one level deeper.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffunet.conversion.binary import binary_mask
from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.photographs import COLOURS, read_photographed, require_lossless
from diffunet.conversion.tree import files_below, for_each, nothing_found, only_one
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io.photograph import photograph_ending_of
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError

_TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Download:
    """Colour photographs with the masks of several observers, by their names without ending.

    Upper and lower case do not count in patterns.

    Attributes:
        layout: the files that are expected.
        name: of the new dataset.
        key: pattern of what an image and its masks share in their names.
        image: pattern of what follows it in the name of an image; its group `part`, if it has one,
            is `_TEST` in that of a test image.
        masks: rater to what follows the key in the name of a mask, no pattern.
        required: raters who drew every training image.
        patient: pattern of the beginning of a key that is one for each patient; "" where nothing
            tells.
        about: for dataset.json.
        others_left_out: the download may hold images that nobody drew; otherwise that is a fault.
        remarks: what the user should know.
    """

    layout: str
    name: str
    key: str
    image: str = ""
    masks: Mapping[str, str]
    required: tuple[str, ...]
    patient: str = ""
    about: Mapping[str, Any]
    others_left_out: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Image:
    path: Path
    name: str
    patient: str
    is_test: bool


def scan_retina(source: Path, wishes: Wishes, *, download: Download) -> Conversion:
    """Return the photographs in a folder, with their masks.

    Raises:
        DatasetError: there are none, files are missing, or there are several for one thing.
    """
    del wishes  # there is nothing to choose
    files = files_below(source)
    images = {
        key: _image_of(path, found, download)
        for key, path, found in _found(files, download.key, download.image)
    }
    if not images:
        raise nothing_found(source, files, layout=download.layout)
    masks = {
        rater: {key: path for key, path, _ in _found(files, download.key, re.escape(suffix))}
        for rater, suffix in download.masks.items()
    }
    for_each((path for drawn in masks.values() for path in drawn.values()), require_lossless)
    undrawn = [key for key in images if not any(key in drawn for drawn in masks.values())]
    left_out = undrawn if download.others_left_out and len(undrawn) < len(images) else []
    images = {key: image for key, image in images.items() if key not in left_out}
    if problems := list(_missing(images, masks, download)):
        raise DatasetError(
            f"'{source}': expected {download.layout}; {'; '.join(problems)}; copy them from the "
            "download"
        )
    remarks = [f"{len(left_out)} images that nobody drew are left out"] if left_out else []
    return Conversion(
        dataset_json={
            **download.about,
            "channel_names": {str(index): colour for index, colour in enumerate(COLOURS)},
            "labels": {"background": 0, "vessel": 1},
            "file_ending": ".png",
            "raters": True,
        },
        cases=tuple(_case(key, images[key], masks) for key in sorted(images)),
        suggested_name=download.name,
        is_colour=True,
        remarks=(*download.remarks, *remarks),
    )


def _found(
    files: Sequence[Path], key_pattern: str, rest: str
) -> Iterator[tuple[str, Path, re.Match[str]]]:
    """Yield (key, file, match) for the files whose names, without ending, have these patterns."""
    pattern = re.compile(f"(?P<key>{key_pattern}){rest}", re.IGNORECASE)
    by_key: dict[str, list[tuple[Path, re.Match[str]]]] = defaultdict(list)
    for path in files:
        ending = photograph_ending_of(path)
        matched = pattern.fullmatch(path.name[: -len(ending)]) if ending else None
        if matched:
            by_key[matched["key"].lower()].append((path, matched))
    for key, found in by_key.items():
        path = only_one([path for path, _ in found], what=f"'{found[0][1][0]}'")
        yield key, path, found[0][1]


def _image_of(path: Path, found: re.Match[str], download: Download) -> _Image:
    patient = re.match(download.patient, found["key"], re.IGNORECASE)
    return _Image(
        path=path,
        name=found[0],
        patient=patient[0] if patient else "",
        is_test=found.groupdict().get("part", "").lower() == _TEST,
    )


def _missing(
    images: Mapping[str, _Image], masks: Mapping[str, Mapping[str, Path]], download: Download
) -> Iterator[str]:
    """Yield what is missing: an observer drew all images of a part, or none."""
    for rater, drawn in masks.items():
        for is_test in (False, True):
            part = {key: image for key, image in images.items() if image.is_test == is_test}
            lacking = {image.name for key, image in part.items() if key not in drawn}
            is_required = rater in download.required and not is_test
            if lacking and (is_required or len(lacking) < len(part)):
                suffix = download.masks[rater]
                yield f"found no mask NAME{suffix} of observer {rater} for {listing(lacking)}"
        if alone := {path.name for key, path in drawn.items() if key not in images}:
            yield f"found no image for the masks {listing(alone)}"


def _case(key: str, image: _Image, masks: Mapping[str, Mapping[str, Path]]) -> SourceCase:
    drawn = {rater: files[key] for rater, files in masks.items() if key in files}
    read = partial(
        read_photographed, image.name, image.path, drawn, rule=binary_mask, patient=image.patient
    )
    return SourceCase(name=image.name, read=read, is_test=image.is_test)
