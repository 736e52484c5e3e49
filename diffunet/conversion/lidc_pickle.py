"""LIDC-IDRI as one pickle of slices, `data_lidc.pickle`, which many papers use."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffunet.conversion.binary import binary_mask
from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.lidc_nodules import nodules
from diffunet.conversion.stored_arrays import StoredArray, read_stored
from diffunet.conversion.tree import refuse_all
from diffunet.data.image_io import ImageGeometry
from diffunet.data.raw.splits import Split
from diffunet.errors import DatasetError

FILE_ENDINGS = (".pickle", ".pkl")

_PATIENT = re.compile(r"LIDC-IDRI-[0-9]{4}")
_TEST_IDS, _VALIDATION_IDS = "test_ids.txt", "vali_ids.txt"  # as published beside the paper's code


def scan(files: Sequence[Path]) -> Conversion:
    """Return a case for each entry of some pickles, which lie in one folder.

    Raises:
        DatasetError: a file holds anything but slices with their masks, or the published ids that
            lie beside it are not of it.
    """
    entries = {path: _entries(path) for path in files}
    refuse_all(
        [fault for path, found in entries.items() for fault in _faults(path, found)],
        remedy="download the file again",
    )
    patients = {
        key: _patient_of(key, entry) for found in entries.values() for key, entry in found.items()
    }
    test = _published(files[0].parent / _TEST_IDS, patients)
    validation = _published(files[0].parent / _VALIDATION_IDS, patients) - test
    cases = [
        SourceCase(
            name=key,
            read=partial(_read_case, key, patients[key], entry, f"'{path}', entry '{key}'"),
            is_test=key in test,
        )
        for path, found in entries.items()
        for key, entry in found.items()
    ]
    return nodules(
        cases,
        description="slices around lung nodules, scaled to [0, 1], with the masks of four "
        "radiologists; made from LIDC-IDRI",
        channel="CT slice, min-max scaled",
        file_ending=".tif",
        splits=_splits(patients.keys() - test, validation) if validation else (),
        remarks=_remarks(patients, test, validation),
    )


def _entries(path: Path) -> dict[str, Any]:
    found = read_stored(path)
    if not (isinstance(found, dict) and found and all(isinstance(key, str) for key in found)):
        raise DatasetError(
            f"'{path}': expected a dict of slices by their names, found {type(found).__name__} of "
            f"{len(found) if isinstance(found, dict) else 'other things'}; is it data_lidc.pickle?"
        )
    return found


def _faults(path: Path, entries: Mapping[str, Any]) -> list[str]:
    return [
        f"'{path}', entry '{key}': expected an image (y, x), a list of masks like it, and a "
        "series_uid"
        for key, entry in entries.items()
        if not _is_slice(entry)
    ]


def _is_slice(entry: Any) -> bool:
    """Whether an entry is an image with its masks: a list of them, or an array (rater, y, x)."""
    if not (isinstance(entry, dict) and isinstance(entry.get("series_uid"), str)):
        return False
    image, masks = entry.get("image"), entry.get("masks")
    if not (isinstance(image, StoredArray) and len(image.shape) == 2 and min(image.shape)):
        return False
    if isinstance(masks, StoredArray):
        return masks.shape[1:] == image.shape and masks.shape[0] > 0
    return (
        isinstance(masks, (list, tuple))
        and len(masks) > 0
        and all(isinstance(mask, StoredArray) and mask.shape == image.shape for mask in masks)
    )


def _patient_of(key: str, entry: Mapping[str, Any]) -> str:
    named = _PATIENT.search(key)
    return named[0] if named else entry["series_uid"]


def _published(path: Path, keys: Iterable[str]) -> set[str]:
    """Return the keys that begin with an id which a file lists; none where there is no file."""
    if not path.is_file():
        return set()
    ids = set(path.read_text("utf-8", errors="replace").split())
    found = {key for key in keys if key.partition("_")[0] in ids}
    if not found:
        raise DatasetError(
            f"'{path}': expected ids with which names in the pickle begin, such as "
            f"'{next(iter(keys)).partition('_')[0]}', found none of them; take the file away "
            "to leave the published split aside"
        )
    return found


def _splits(training: Iterable[str], validation: set[str]) -> tuple[Split, ...]:
    train = sorted(set(training) - validation)
    return (Split(train=tuple(train), val=tuple(sorted(validation))),)


def _remarks(patients: Mapping[str, str], test: set[str], validation: set[str]) -> tuple[str, ...]:
    remarks = ["raters are numbered anew in each nodule: r00 is not one radiologist"]
    if not all(_PATIENT.search(key) for key in patients):
        remarks.append(
            "the names tell no patient: each series_uid counts as one; the few who were scanned "
            "twice count as two"
        )
    if test or validation:
        remarks.append(
            f"the published ids beside the file are the split: {len(test)} slices go into "
            f"imagesTs, {len(validation)} are validated in fold 0, the only one"
        )
    return tuple(remarks)


def _read_case(
    name: str, patient: str, entry: Mapping[str, Any], where: str
) -> Iterator[ConvertedCase]:
    image, masks = entry["image"].read(), entry["masks"]
    stack = masks.read() if isinstance(masks, StoredArray) else [mask.read() for mask in masks]
    yield ConvertedCase(
        name=name,
        image=image[None],
        geometry=ImageGeometry(shape=image.shape, spacing_mm=(1.0, 1.0), has_spacing=False),
        masks={f"r{rater:02d}": binary_mask(mask, where=where) for rater, mask in enumerate(stack)},
        patient=patient,
    )
