"""The records of a folder of predictions: `records/CASE.json`, written when a case is whole."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet.data.file_state import FileState
from diffunet.data.image_io import files_of_image
from diffunet.data.raw.case_files import CaseFiles
from diffunet.errors import DiffunetError
from diffunet.jsonio import read_json
from diffunet.records import value_from_json

RECORDS_FOLDER = "records"
_DIGEST = "_sha256"
"""Ending of the names of settings that stand for the content of a file."""


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """What is known about a whole case.

    Attributes:
        settings: all settings that decided about the output.
        input: the images that it was made from, in the order of the channels; None in records
            that do not tell.
        files: what was written, by its path in the folder; None in records that do not tell.
        content: all other content.
    """

    settings: dict[str, Any]
    input: tuple[FileState, ...] | None
    files: dict[str, FileState] | None
    content: dict[str, Any]

    @property
    def digest(self) -> str | None:
        """16 hexadecimal digits of what was written, which copies keep; None if it is not told."""
        if not self.files:
            return None
        parts = sorted(f"{name} {state.digest}" for name, state in self.files.items())
        return hashlib.blake2b("\n".join(parts).encode("utf-8"), digest_size=8).hexdigest()

    def is_made_from(self, files: CaseFiles) -> bool:
        """Whether the images of a case are those that the prediction was made from."""
        return self.input is not None and are_images_of(files, self.input)

    def as_json(self) -> dict[str, Any]:
        """Return what stands in the file."""
        return {
            "settings": self.settings,
            **self.content,
            "input": self.input,
            "files": self.files,
        }


def are_images_of(files: CaseFiles, states: Sequence[FileState]) -> bool:
    """Whether the images of a case are still what they were."""
    paths = files_read(files)
    return len(states) == len(paths) and all(
        state.is_of(path) for state, path in zip(states, paths, strict=True)
    )


def files_read(files: CaseFiles) -> list[Path]:
    """Return the files that are opened when the images of a case are read."""
    return [each for path in files.images for each in files_of_image(path)]


def record_path(folder: Path, case: str) -> Path:
    """Return where the record of a case lies in a folder of predictions."""
    return folder / RECORDS_FOLDER / f"{case}.json"


def read_record(folder: Path, case: str) -> PredictionRecord | None:
    """Return the record of a case; None if it is missing or damaged: then the case is not whole."""
    path = record_path(folder, case)
    try:
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
            return None
        states = {
            name: value_from_json(hint, content.pop(name, None), where=name, error=DiffunetError)
            for name, hint in _STATES.items()
        }
    except DiffunetError:
        return None
    return PredictionRecord(settings=content.pop("settings"), content=content, **states)


def read_records(folder: Path) -> dict[str, PredictionRecord]:
    """Return the records of all whole cases in a folder, sorted; none where there is no folder."""
    found = {case: read_record(folder, case) for case in recorded_cases(folder)}
    return {case: record for case, record in found.items() if record is not None}


def recorded_cases(folder: Path) -> list[str]:
    """Return the cases that have a record, sorted; it may be damaged."""
    paths = (folder / RECORDS_FOLDER).glob("*.json")
    return sorted(path.stem for path in paths if path.name[0] != ".")


def setting_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words each setting that differs, by its path within settings of settings."""
    old, new = dict(_leaves(old)), dict(_leaves(new))
    names = sorted({*old, *new})
    return [
        _difference(name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    ]


def _difference(name: str, old: Any, new: Any) -> str:
    """Return a difference in words; the digests of a file's content would say nothing."""
    if not name.endswith(_DIGEST):
        return f"{name}: {old!r}, now {new!r}"
    of_what = name.removesuffix(_DIGEST)
    if old is not None and new is not None:
        return f"{of_what}: of other content"
    return (
        f"{of_what}: {'none' if old is None else 'given'}, now {'none' if new is None else 'given'}"
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything in mappings, and in lists of mappings."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple) and value and all(isinstance(x, Mapping) for x in value):
        for number, below in enumerate(value):
            yield from _leaves(below, f"{path}[{number}]")
    else:
        yield path, value


_STATES: dict[str, Any] = {
    "input": tuple[FileState, ...] | None,
    "files": dict[str, FileState] | None,
}
