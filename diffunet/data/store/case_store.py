"""A folder of preprocessed cases: named arrays and properties, read slice by slice.

Large cases lie in files of their own (`volumes.py`), small 2D cases in shards (`shards.py`). The
manifest `store.manifest` says where each case is; without it the store is unfinished.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

from diffunet.data.store import shards, volumes
from diffunet.data.store.case import CaseProperties
from diffunet.errors import WorkspaceError
from diffunet.jsonio import hash_of, read_json, write_json
from diffunet.names import require_name
from diffunet.records import record_from_json

MANIFEST = "store.manifest"  # no case can have this name: theirs end in .json
SHARD_SUFFIX = ".shard"
_FORMAT_VERSION = 2
_SHAPES = {
    "image": ("normalization", "shape"),
    "labels": ("raters", "shape"),
    "reference": ("raters", "original_shape"),
}
"""For each array the properties that say the length of its first axis, and the others."""


class StoredArray(Protocol):
    """What `CaseStore.array` returns: sliced like a numpy array, decompresses what is asked."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `store.manifest` (JSON), written when every case is there.

    Attributes:
        source: a hash of all that the store was made from.
        cases: for each case, in order, the name of its shard; "" where it has files of its own.
        recipe: what was done to every case, as `recipe_of` of preprocessing says it; empty where it
            is not known.
    """

    format_version: int = _FORMAT_VERSION
    source: str
    cases: dict[str, str]
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format_version != _FORMAT_VERSION:
            raise ValueError(f"format_version should be {_FORMAT_VERSION}; preprocess again")
        for case, shard in self.cases.items():
            require_name(case, where="cases", error=ValueError)
            if shard:
                require_name(shard, where=f"cases.{case}", error=ValueError)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the manifest of `folder`.

        Raises:
            WorkspaceError: it cannot be read, or another version of diffunet wrote it.
        """
        path = folder / MANIFEST
        content = read_json(path, WorkspaceError, remedy="preprocess again")
        return record_from_json(cls, content, where=str(path), error=WorkspaceError)

    def is_saved(self, folder: Path) -> bool:
        """Whether `folder` is declared complete with just this content."""
        try:
            return self.load(folder) == self
        except WorkspaceError:
            return False

    def save(self, folder: Path) -> None:
        """Declare the store in `folder` complete."""
        write_json(folder / MANIFEST, self)


@final
class CaseStore:
    """Read access to a store; cheap to open, to copy and to send to another process.

    There are two in `PREPROCESSED/DATASET/DATA_IDENTIFIER`. `images` has per case the array "image"
    (channel, *shape). `labels` has "labels" (rater, *shape); "locations" (n, 1 + dimensions), int32
    rows of label index and voxel, sorted, of the union of raters; and "reference"
    (rater, *original_shape) where the stored grid is not the original one.

    Raises:
        WorkspaceError: the folder holds no finished store.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise WorkspaceError(
                f"'{self.folder}' holds no finished preprocessed data ('{MANIFEST}' is missing); "
                "run diffunet_preprocess, it continues where it was stopped"
            )
        self._manifest = Manifest.load(self.folder)
        self._indexes: dict[str, dict[str, shards.CaseEntry]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexes": {}}

    def __contains__(self, case: str) -> bool:
        return case in self._manifest.cases

    @property
    def cases(self) -> tuple[str, ...]:
        """The names of all cases, sorted."""
        return tuple(self._manifest.cases)

    @property
    def source(self) -> str:
        """A hash of all that the store was made from: raw files and plan."""
        return self._manifest.source

    @property
    def recipe(self) -> dict[str, Any]:
        """What was done to every case; empty where it is not known."""
        return self._manifest.recipe

    def content_of(self, case: str) -> str:
        """Return 16 hexadecimal digits that tell what is stored of `case` from anything else.

        The same values give the same digits, whenever and from whatever files they were made.

        Raises:
            WorkspaceError: there is no such case, or its file is damaged.
        """
        entry = self._entry(case)
        if isinstance(entry, volumes.VolumeRecord):
            headers = {
                name: volumes.open_array(self.folder, case, name).header for name in entry.arrays
            }
        else:
            headers = entry.arrays
        arrays = {name: [each.digest, each.dtype, each.shape] for name, each in headers.items()}
        # where the files lie in space is told to no network
        told = {name: value for name, value in entry.properties.items() if name != "place"}
        return hash_of([told, arrays])

    def properties(self, case: str) -> CaseProperties:
        """Return what is known about `case`.

        Raises:
            WorkspaceError: there is no such case, or its file is damaged.
        """
        return properties_from_json(self._entry(case).properties, where=f"{self.folder}: {case}")

    def array_names(self, case: str) -> tuple[str, ...]:
        """Return which arrays `case` has."""
        return tuple(self._entry(case).arrays)

    def array(self, case: str, name: str) -> StoredArray:
        """Return an array of `case`; slice it to read from it.

        Raises:
            WorkspaceError: there is no such case or array, or its file is damaged.
        """
        entry = self._entry(case)
        if name not in entry.arrays:
            raise WorkspaceError(
                f"case '{case}' in '{self.folder}' has no array '{name}'; "
                f"it has {', '.join(entry.arrays)}"
            )
        array: StoredArray
        if isinstance(entry, volumes.VolumeRecord):
            array = volumes.open_array(self.folder, case, name)
        else:
            path = self.folder / self._manifest.cases[case]
            array = shards.unpack_array(path, entry.arrays[name])
        self._check_shape(case, name, array, entry.properties)
        return array

    def _check_shape(
        self, case: str, name: str, array: StoredArray, properties: Mapping[str, Any]
    ) -> None:
        """Check that an array has the shape that the properties of its case say."""
        if name not in _SHAPES:
            return
        first, others = (properties.get(field) for field in _SHAPES[name])
        is_known = isinstance(first, list) and isinstance(others, list)
        if not is_known or list(array.shape) != [len(first or ()), *(others or ())]:
            raise WorkspaceError(
                f"case '{case}' in '{self.folder}': '{name}' has the shape {array.shape}, but "
                f"{' and '.join(_SHAPES[name])} are others; remove the folder and run "
                "diffunet_preprocess again"
            )

    def _entry(self, case: str) -> shards.CaseEntry | volumes.VolumeRecord:
        shard = self._manifest.cases.get(case)
        if shard is None:
            raise WorkspaceError(f"there is no case '{case}' in '{self.folder}'")
        if shard:
            if shard not in self._indexes:
                self._indexes[shard] = shards.read_index(self.folder / shard)
            entry = self._indexes[shard].get(case)
        else:
            entry = volumes.read_record(self.folder, case)
        if entry is None:
            raise WorkspaceError(f"case '{case}' is missing in '{self.folder}'; preprocess again")
        return entry


def properties_from_json(content: Mapping[str, Any], *, where: str) -> CaseProperties:
    """Return the properties of a case, as a store's JSON has them.

    Raises:
        WorkspaceError: they are of another version of diffunet.
    """
    return record_from_json(CaseProperties, content, where=where, error=WorkspaceError)
