"""The state of a raw dataset when something was made from it, and the changes since.

A file is known by its name, size, time and first and last bytes: those hold the header, and in
compressed formats the checksum of all the content.
"""

import functools
import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet.data.image_io import files_of_image
from diffunet.data.raw.case_files import CaseFiles, listing
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.image_labels import ImageLabels
from diffunet.errors import DatasetError
from diffunet.jsonio import as_json, hash_of, read_json, write_json
from diffunet.records import record_from_json
from diffunet.workspace import IMAGES_FOLDER, LABELS_FOLDER

_DECLARED = ("channel_names", "labels", "regions_class_order", "file_ending", "raters")
_NUM_END_BYTES = 2**11


@dataclass(frozen=True, kw_only=True)
class DatasetState:
    """The training cases of a raw dataset, in digests.

    Attributes:
        declared: what `dataset.json` says of all cases; None for keys that are not there.
        cases: for each a digest of its files, its patient, its raters and its image-level labels.
            Masks are left out where image-level labels are declared: nothing is made from them.
    """

    declared: dict[str, Any]
    cases: dict[str, str]

    @classmethod
    def of(cls, dataset: RawDataset) -> "DatasetState":
        """Return the state of `dataset` now.

        Raises:
            DatasetError: a file cannot be read.
        """
        declared = {key: dataset.content.get(key) for key in _DECLARED}
        tags = dataset.image_labels
        declared["image_labels"] = None if tags is None else list(tags.names)
        return cls(
            declared=as_json(declared),
            cases={
                files.case: hash_of(case_state(files, dataset, with_masks=tags is None))
                for files in dataset.training_cases
            },
        )

    @classmethod
    def load(cls, path: Path) -> "DatasetState | None":
        """Return what `save` wrote; None where that is missing or cannot be read."""
        try:
            content = read_json(path, DatasetError)
            return record_from_json(cls, content, where=path.name, error=DatasetError)
        except DatasetError:
            return None

    def save(self, path: Path) -> None:
        """Write the state as JSON, atomically."""
        write_json(path, self)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that depend on all of it."""
        return hash_of([self.declared, sorted(self.cases.items())])

    def changes_since(self, before: "DatasetState") -> tuple[str, ...]:
        """Return in words what has changed since `before`; nothing if nothing has."""
        keys = [key for key in self.declared if self.declared[key] != before.declared.get(key)]
        added = [case for case in self.cases if case not in before.cases]
        removed = [case for case in before.cases if case not in self.cases]
        changed = [
            case for case, digest in self.cases.items() if before.cases.get(case, digest) != digest
        ]
        return (
            *(f"'{key}' of dataset.json" for key in keys),
            *_counted(added, "added"),
            *_counted(removed, "removed"),
            *_counted(changed, "with other files, patient, raters or image-level labels"),
        )


def may_have_changed(raw_folder: Path, *, since: Path) -> bool:
    """Whether a file of the training cases was written after the file `since`, without opening any.

    False where one of them cannot be found, and for files elsewhere that `dataset.json` names.
    """
    try:
        then = since.stat().st_mtime_ns
        entries = [raw_folder, *(raw_folder / name for name in (IMAGES_FOLDER, LABELS_FOLDER))]
        return any(
            max(status.st_mtime_ns, status.st_ctime_ns) > then
            for folder in entries
            if folder.is_dir()
            for entry in os.scandir(folder)
            if entry.is_file()
            for status in [entry.stat()]
        )
    except OSError:
        return False


def case_state(files: CaseFiles, dataset: RawDataset, *, with_masks: bool) -> dict[str, Any]:
    """Return, as JSON can hold it, all that a case's stored or measured data depend on.

    Raises:
        DatasetError: a file cannot be read; with the name of the case.
    """
    tags, slice_tags = tags_of(files.case, dataset.image_labels)
    state: dict[str, Any] = {
        "images": _states(files.images, case=files.case),
        "patient": dataset.patients.get(files.case, files.case),
        "raters": sorted(files.labels),
        "image_labels": tags,
        "slice_image_labels": sorted(slice_tags.items()),
    }
    if with_masks:
        state["masks"] = [
            (rater, _states([path], case=files.case))
            for rater, path in sorted(files.labels.items())
        ]
    return state


def tags_of(
    case: str, image_labels: ImageLabels | None
) -> tuple[tuple[int, ...] | None, dict[int, tuple[int, ...]]]:
    """Return the image-level labels of a case, and of its slices by their index."""
    if image_labels is None:
        return None, {}
    slices = image_labels.slices.get(case, ())
    tags = {index: image_labels.of(case, index) for index in slices}
    return image_labels.of(case), {index: tag for index, tag in tags.items() if tag is not None}


def _states(paths: Iterable[Path], *, case: str) -> list[tuple[str, int, int, str]]:
    return [_file_state(each, case=case) for path in paths for each in files_of_image(path)]


def _file_state(path: Path, *, case: str) -> tuple[str, int, int, str]:
    """Return name, size in bytes, time of change in ns, and a digest of both ends of a file."""
    try:
        status = path.stat()
        ends = _digest_of_ends(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as cause:
        raise DatasetError(
            f"case '{case}': '{path}' cannot be read: {cause.strerror}; make it readable, or "
            "remove the case"
        ) from None
    return path.name, status.st_size, status.st_mtime_ns, ends


@functools.lru_cache(maxsize=2**17)
def _digest_of_ends(path: Path, num_bytes: int, *times_ns: int) -> str:
    """Return a digest of a file's ends; read once, since each step asks for all files again."""
    del times_ns  # part of the key alone: the second is set by the system whenever a file changes
    with path.open("rb") as file:
        ends = file.read(_NUM_END_BYTES)
        file.seek(max(0, num_bytes - _NUM_END_BYTES))
        ends += file.read(_NUM_END_BYTES)
    return hashlib.blake2b(ends, digest_size=8).hexdigest()


def _counted(cases: Collection[str], what: str) -> list[str]:
    if not cases:
        return []
    number = "1 case" if len(cases) == 1 else f"{len(cases)} cases"
    return [f"{number} {what}: {listing(cases)}"]
