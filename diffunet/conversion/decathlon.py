"""A task of the Medical Segmentation Decathlon: channels are the fourth axis of one file."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.description import new_description, read_description, task_of
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes
from diffunet.errors import DatasetError
from diffunet.workspace import DATASET_FILE

_NIFTI = (".nii.gz", ".nii")


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases that `training` and `test` of its dataset.json list.

    Raises:
        DatasetError: the list is not as the Decathlon writes it, or names files that are missing.
    """
    del wishes  # there is nothing to choose
    content = read_description(source)
    described = new_description(source, content)
    number, name = task_of(source)
    num_channels = len(described["channel_names"])
    training = [
        _case(source, entry, num_channels=num_channels) for entry in _entries(source, content)
    ]
    test = content.get("test", [])
    tested = [
        _case(source, entry, num_channels=num_channels, is_test=True)
        for entry in (test if isinstance(test, list) else [])
    ]
    return Conversion(
        dataset_json=described,
        cases=(*training, *tested),
        suggested_name=name,
        suggested_number=number,
    )


def _entries(source: Path, content: Mapping[str, Any]) -> list[Any]:
    entries = content.get("training")
    if isinstance(entries, list) and entries:
        return entries
    raise DatasetError(
        f"'{source / DATASET_FILE}': expected 'training' to list the cases, as the Decathlon "
        f"does, found {entries!r:.80}; for a dataset of nnU-Net v1 choose the format nnunet_v1"
    )


def _case(source: Path, entry: Any, *, num_channels: int, is_test: bool = False) -> SourceCase:
    """Return the case of an entry: {"image": PATH, "label": PATH}, or, of a test case, PATH."""
    files = {"image": entry} if isinstance(entry, str) else entry
    wanted = ("image",) if is_test else ("image", "label")
    if not isinstance(files, dict) or not all(isinstance(files.get(key), str) for key in wanted):
        raise DatasetError(
            f'\'{source / DATASET_FILE}\': expected {{"image": PATH, "label": PATH}} for a case, '
            f"found {entry!r:.80}; correct it there"
        )
    image, *masks = (_file(source, files[key]) for key in wanted)
    name = _without_ending(image.name)
    read = partial(
        read_volume,
        name,
        [image],
        dict.fromkeys([""], *masks) if masks else {},
        num_channels=num_channels,
    )
    return SourceCase(name=name, read=read, is_test=is_test)


def _file(source: Path, listed: str) -> Path:
    """Return the file that an entry names: unpacked, if that is how it lies there."""
    path = source / listed
    bare = path.with_name(_without_ending(path.name))
    found = [bare.with_name(bare.name + ending) for ending in _NIFTI]
    return next((each for each in (path, *found) if each.is_file()), path)


def _without_ending(name: str) -> str:
    ending = next((each for each in _NIFTI if name.endswith(each)), "")
    return name.removesuffix(ending)
