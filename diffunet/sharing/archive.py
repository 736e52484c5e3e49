"""The zip file of a model: what it holds, and the checks that come before anything is unpacked.

Every member is one of few known names, is listed in the manifest with its size and SHA-256, and is
stored or deflated. So nothing of the file decides where something is written, or how much.
"""

import contextlib
import hashlib
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from diffunet.errors import CheckpointError, explain, refused_by_the_system
from diffunet.jsonio import atomic_file, parse_json
from diffunet.methods import METHODS
from diffunet.names import name_problem
from diffunet.ranges import Range
from diffunet.records import record_from_json
from diffunet.workspace import DATASET_FILE, RESOLVED_PLANS_FILE, VALIDATION_SUMMARY

FORMAT = "diffunet model"
FORMAT_VERSION = 1

MANIFEST_FILE = "model.json"
CHECKPOINT_FILE = "checkpoint_final.pth"
"""Of each fold, whichever checkpoint it was made from: what prediction takes by default."""

Checkpoint = Literal["final", "best", "latest"]
StoredPrecision = Literal["float32", "bfloat16"]
"""Of the weights in the file; networks have float32 parameters all the same."""

_FOLD_MEMBER = re.compile(
    rf"fold_(?:all|0|[1-9][0-9]{{0,8}})/(?:{re.escape(RESOLVED_PLANS_FILE)}|{CHECKPOINT_FILE}"
    rf"|{re.escape(VALIDATION_SUMMARY.as_posix())})"
)
_HIDDEN_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
_MOST_MEMBERS = 1000
_MOST_JSON_BYTES = 2**24
_MOST_BYTES = 2**34
_MOST_EXPANSION = 8  # weights and JSON shrink to a half or a quarter; a bomb to a thousandth
_SMALL_BYTES = 2**24  # below this, the expansion does not matter
_BLOCK_BYTES = 2**20
_IS_ENCRYPTED = 0x1


@dataclass(frozen=True, kw_only=True)
class MemberFile:
    """Size and content of one file in the archive."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `model.json` says of a model.

    Attributes:
        dataset: name of the folder in `results` that it is installed into.
        folds: "0", "1", ... or "all".
        checkpoint: that the weights were taken from: "final", "best" or "latest".
        precision: in which the weights are stored.
        license: under which the model may be used, in the words of who exported it; "" if unsaid.
        note: anything else, such as the data that it was trained on.
        files: by name in the archive, all but `model.json`.
    """

    dataset: str
    method: str
    plans_name: str
    configuration: str
    folds: tuple[str, ...]
    checkpoint: Checkpoint
    precision: StoredPrecision
    license: str
    note: str
    diffunet_version: str
    files: dict[str, MemberFile]

    def __post_init__(self) -> None:
        for field in ("dataset", "plans_name", "configuration"):
            if problem := name_problem(getattr(self, field)):
                raise ValueError(f"{field} should be a name that a folder can have; {problem}")
        if self.method not in METHODS:
            raise ValueError(f"method should be one of {', '.join(METHODS)}, got '{self.method}'")
        if not self.folds:
            raise ValueError("folds should be at least one")

    @property
    def folder_name(self) -> str:
        """Of the model, below its dataset's in `results`."""
        return f"{self.method}__{self.plans_name}__{self.configuration}"

    @property
    def required_files(self) -> set[str]:
        """Return the names of what prediction needs."""
        per_fold = {
            f"fold_{fold}/{name}"
            for fold in self.folds
            for name in (RESOLVED_PLANS_FILE, CHECKPOINT_FILE)
        }
        return {DATASET_FILE, *per_fold}


@final
class ModelArchive:
    """An open archive of which every name, size and declared length has been checked."""

    def __init__(self, path: Path, opened: zipfile.ZipFile):
        self._path, self._zip = path, opened
        self._members = self._checked_members()
        self.manifest = self._read_manifest()
        self._check_listing()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> "Iterator[ModelArchive]":
        """Yield the archive, having checked what can be known without unpacking it.

        Raises:
            CheckpointError: it is no exported model, or holds what none holds.
        """
        if not path.is_file():
            raise CheckpointError(
                f"'{path}' {'is a folder' if path.is_dir() else 'does not exist'}; expected the "
                "zip file of a model, as diffunet_export_model writes it"
            )
        try:
            opened = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as cause:
            if said := refused_by_the_system(cause, path=path):
                raise CheckpointError(said) from cause
            raise _refused(path, _why_no_zip(path, str(cause))) from None
        with opened:
            yield cls(path, opened)

    def check_content(self) -> None:
        """Read every member once and compare it with the manifest; nothing is written.

        Raises:
            CheckpointError: a member is damaged or another one than was exported.
        """
        for name, listed in self.manifest.files.items():
            found = hashlib.sha256()
            for block in self._blocks(name):
                found.update(block)
            if found.hexdigest() != listed.sha256:
                raise _refused(
                    self._path, f"'{name}' is not what was exported: its SHA-256 differs"
                )

    def extract(self, folder: Path) -> None:
        """Write every member below `folder`, which must be new.

        Raises:
            CheckpointError: a member is damaged, or cannot be read.
            WriteError: the disk is full, or refuses.
        """
        for name in (MANIFEST_FILE, *self.manifest.files):
            with atomic_file(folder / name) as file:
                file.writelines(self._blocks(name))

    @property
    def num_bytes(self) -> int:
        """Of everything, unpacked."""
        return sum(entry.file_size for entry in self._members.values())

    def read_json(self, name: str) -> Any:
        """Return the content of a member; None where there is none of this name.

        Raises:
            CheckpointError: it is damaged.
        """
        if name not in self._members:
            return None
        try:
            return parse_json(b"".join(self._blocks(name)))
        except ValueError as cause:
            raise _refused(self._path, f"'{name}' is not valid JSON: {cause}") from None

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        """Return the members by their names in an export."""
        entries = self._zip.infolist()
        if len(entries) > _MOST_MEMBERS:
            raise _refused(self._path, f"it holds {len(entries)} files")
        found = as_exported(entries)
        names = [name for name, _ in found]
        if MANIFEST_FILE not in names:
            raise _no_export(self._path, names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(self._path, f"it holds '{twice:.80}' twice")
        for name, entry in found:
            if problem := _entry_problem(name, entry):
                raise _refused(self._path, f"'{name:.80}' {problem}")
        declared = sum(entry.file_size for entry in entries)
        size = self._path.stat().st_size
        if declared > _MOST_BYTES or declared > max(_SMALL_BYTES, _MOST_EXPANSION * size):
            raise _refused(
                self._path, f"its {size} bytes would unpack to {declared}, more than a model can"
            )
        return dict(found)

    def _read_manifest(self) -> Manifest:
        content = self.read_json(MANIFEST_FILE)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise _refused(self._path, f"its '{MANIFEST_FILE}' does not say '{FORMAT}'")
        version = content.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"'{self._path}' has format version {version}, expected {FORMAT_VERSION}; use the "
                f"version of diffunet that wrote it ({content.get('diffunet_version')!s:.40})"
            )
        where = f"'{self._path}': {MANIFEST_FILE}"
        return record_from_json(Manifest, content, where=where, error=CheckpointError)

    def _check_listing(self) -> None:
        """Compare the members with those that the manifest lists and those that a model needs."""
        listed, found = self.manifest.files, set(self._members) - {MANIFEST_FILE}
        if missing := sorted((self.manifest.required_files | set(listed)) - found):
            raise _refused(self._path, f"'{missing[0]:.80}' is missing")
        if unlisted := sorted(found - set(listed)):
            raise _refused(self._path, f"'{unlisted[0]:.80}' is not in its list of files")
        for name, file in listed.items():
            if file.num_bytes != self._members[name].file_size:
                raise _refused(
                    self._path,
                    f"'{name}' has {self._members[name].file_size} bytes, {file.num_bytes} were "
                    "exported",
                )

    def _blocks(self, name: str) -> Iterator[bytes]:
        """Yield a member; never more than its declared size, and its checksum is compared."""
        try:
            with self._zip.open(self._members[name]) as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as cause:
            raise _refused(self._path, f"'{name}' is damaged ({cause})") from None
        except OSError as cause:
            raise CheckpointError(explain(cause, path=self._path)) from cause


def as_manifest_json(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `model.json` from the fields of a manifest."""
    return {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest}


def as_exported(entries: Sequence[zipfile.ZipInfo]) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return members with their names in an export, if it was unpacked and packed again.

    Programs add a folder around everything, entries of folders, backslashes, and hidden files of
    macOS and Windows; none of these is a file of a model.
    """
    found = [(entry.filename.replace("\\", "/"), entry) for entry in entries]
    found = [(name, entry) for name, entry in found if not _is_added(name, entry)]
    tops = {name.partition("/")[0] for name, _ in found}
    if len(tops) == 1 and all("/" in name for name, _ in found):
        return [(name.partition("/")[2], entry) for name, entry in found]
    return found


def _is_added(name: str, entry: zipfile.ZipInfo) -> bool:
    *folders, last = name.split("/")
    is_folder = not last and entry.file_size == 0
    return is_folder or "__MACOSX" in folders or last.startswith("._") or last in _HIDDEN_FILES


def _why_no_zip(path: Path, cause: str) -> str:
    """Return why a file is no zip file, by how it begins."""
    with path.open("rb") as file:
        begin = file.read(40)
    if not begin:
        return "it is empty"
    if begin.startswith(b"PK"):
        return f"it is no whole zip file, as after a download that broke off ({cause})"
    return f"it is no zip file, but begins with {begin.decode('ascii', 'replace')!a}"


def _no_export(path: Path, names: Sequence[str]) -> CheckpointError:
    """Return what is wrong with a zip file that holds no manifest."""
    lasts = [name.rpartition("/")[2] for name in names]
    inner = [name for name in names if name.lower().endswith(".zip")]
    if RESOLVED_PLANS_FILE in lasts:
        return CheckpointError(
            f"'{path}' is a model's folder that was zipped by hand: '{MANIFEST_FILE}', by which an "
            "export is checked, is missing; unpack it yourself and give the folder to --model, or "
            "ask for a file that diffunet_export_model wrote"
        )
    if len(names) == len(inner) == 1:
        return CheckpointError(
            f"'{path}' holds nothing but the zip file '{inner[0]:.80}'; unpack it, and give that "
            "file"
        )
    if "plans.json" in lasts:
        return CheckpointError(
            f"'{path}' seems to be a model of nnU-Net, whose networks are others; expected a file "
            "that diffunet_export_model wrote"
        )
    return _refused(path, f"'{MANIFEST_FILE}' is missing at its top")


def _entry_problem(name: str, entry: zipfile.ZipInfo) -> str | None:
    """Return why a member cannot be one of a model; None where it can."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link, a folder or a device, and a model holds files alone"
    if entry.flag_bits & _IS_ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that exports never use"
    is_plans = name.endswith(".json") and name_problem(name) is None
    if not is_plans and _FOLD_MEMBER.fullmatch(name) is None:
        return "is no file of a model, or would lead out of its folder"
    if entry.file_size not in Range(0, _MOST_JSON_BYTES) and name.endswith(".json"):
        return f"would have {entry.file_size} bytes, more than such a file can"
    return None


def _refused(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path}' is not a whole, untouched model that diffunet_export_model wrote: {reason}; "
        "nothing was written. Copy it again from where it came from, or ask for a new export"
    )
