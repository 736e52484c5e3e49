"""A task of the Medical Segmentation Decathlon: channels are the fourth axis of one file."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.description import new_description, read_description, task_of
from diffunet.conversion.tree import refuse_all, subfolder, visible
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io.nifti import FILE_ENDINGS as NIFTI_ENDINGS
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError
from diffunet.workspace import DATASET_FILE


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """The files of an entry; `mask` is None for a test case."""

    image: Path
    mask: Path | None

    @property
    def name(self) -> str:
        return _without_ending(self.image.name)

    @property
    def missing(self) -> list[Path]:
        return [path for path in (self.image, self.mask) if path and not path.is_file()]


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases that `training` and `test` of its dataset.json list.

    Raises:
        DatasetError: the list is not as the Decathlon writes it, or names files that are missing.
    """
    del wishes  # there is nothing to choose
    content = read_description(source)
    described = new_description(source, content)
    number, name = task_of(source)
    training = [_listed(source, entry) for entry in _entries(source, content)]
    test = content.get("test", [])
    tested = [
        _listed(source, entry, is_test=True) for entry in (test if isinstance(test, list) else [])
    ]
    has_test = not tested or not all(each.missing for each in tested)
    _check(source, [*training, *(tested if has_test else [])])
    remarks = list(_unlisted([*training, *tested]))
    if not has_test:
        remarks.append(f"of the {len(tested)} test images that dataset.json lists none is there")
    read = partial(_source_case, num_channels=len(described["channel_names"]))
    return Conversion(
        dataset_json=described,
        cases=(*map(read, training), *(map(read, tested) if has_test else ())),
        suggested_name=name,
        suggested_number=number,
        remarks=tuple(remarks),
    )


def _entries(source: Path, content: Mapping[str, Any]) -> list[Any]:
    entries = content.get("training")
    if isinstance(entries, list) and entries:
        return entries
    raise DatasetError(
        f"'{source / DATASET_FILE}': expected 'training' to list the cases, as the Decathlon "
        f"does, found {entries!r:.80}; for a dataset of nnU-Net v1 choose the format nnunet_v1"
    )


def _listed(source: Path, entry: Any, *, is_test: bool = False) -> _Listed:
    """Return an entry: {"image": PATH, "label": PATH}, or, of a test case, PATH."""
    files = {"image": entry} if isinstance(entry, str) else entry
    wanted = ("image",) if is_test else ("image", "label")
    if not isinstance(files, dict) or not all(_is_path(files.get(key)) for key in wanted):
        raise DatasetError(
            f'\'{source / DATASET_FILE}\': expected {{"image": PATH, "label": PATH}} for a case, '
            f"found {entry!r:.80}; correct it there"
        )
    return _Listed(
        image=_file(source, files["image"]),
        mask=None if is_test else _file(source, files["label"]),
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(_parts(value))


def _parts(listed: str) -> tuple[str, ...]:
    """Return the parts of a path, which Windows may have written."""
    return PurePosixPath(listed.replace("\\", "/")).parts


def _file(source: Path, listed: str) -> Path:
    """Return the file that an entry names: where it says, or in the folder that it names last.

    So paths of another machine do no harm, nor do folders in other case, or files unpacked to .nii.
    """
    parts = _parts(listed)
    for place in (source.joinpath(*parts), subfolder(source, *parts[-2:-1]) / parts[-1]):
        bare = _without_ending(place.name)
        for name in (place.name, *(bare + ending for ending in NIFTI_ENDINGS)):
            if place.with_name(name).is_file():
                return place.with_name(name)
    return source.joinpath(*parts)


def _check(source: Path, listed: Sequence[_Listed]) -> None:
    """Check that each case is listed once, and that its files are there."""
    problems = [
        f"'{source / DATASET_FILE}': expected each case once, found '{name}' {number} times"
        for name, number in Counter(each.name for each in listed).items()
        if number > 1
    ]
    problems += [
        f"'{path}': expected this file, which dataset.json lists, found none"
        for each in listed
        for path in each.missing
    ]
    refuse_all(problems, remedy="unpack the download again, or correct 'training' and 'test' there")


def _unlisted(listed: Sequence[_Listed]) -> Iterator[str]:
    """Yield what else lies in the folders of the images."""
    known = {path for each in listed for path in (each.image, each.mask)}
    for folder in sorted({each.image.parent for each in listed if each.image.is_file()}):
        others = {path.name for path in visible(folder) if path.name.endswith(NIFTI_ENDINGS)}
        others -= {path.name for path in known if path and path.parent == folder}
        if others:
            yield f"left out of '{folder.name}': {listing(others)}, not in dataset.json's lists"


def _source_case(listed: _Listed, *, num_channels: int) -> SourceCase:
    read = partial(
        read_volume,
        listed.name,
        [listed.image],
        {"": listed.mask} if listed.mask else {},
        num_channels=num_channels,
    )
    return SourceCase(name=listed.name, read=read, is_test=listed.mask is None)


def _without_ending(name: str) -> str:
    ending = next((each for each in NIFTI_ENDINGS if name.endswith(each)), "")
    return name.removesuffix(ending)
