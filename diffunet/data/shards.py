"""A shard: many small cases in one file, each array compressed by itself, the index at the end.

    array, array, ..., index as JSON, length of the index (8 bytes, little endian), b"DIFFUNT1"

A store of thousands of 2D cases would otherwise be tens of thousands of small files, whose blocks
take more disk than their content.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from diffunet.errors import WorkspaceError
from diffunet.jsonio import write_bytes

_MAGIC = b"DIFFUNT1"  # the last character is the version of the format
_FOOTER_BYTES = 8 + len(_MAGIC)
_COMPRESSION: dict[str, Any] = {
    "codec": blosc2.Codec.ZSTD,
    "clevel": 1,
    "filters": [blosc2.Filter.SHUFFLE],
    "filters_meta": [0],
    "nthreads": 1,  # several threads would write blocks in any order: other bytes at each run
}


@dataclass(frozen=True)
class PackedArray:
    """Compressed bytes of an array, and what it takes to undo it.

    Attributes:
        is_differenced: the last two axes hold differences to the left and the upper neighbour
            (modulo the integer's range), which halves what pictures take.
    """

    content: bytes
    dtype: str
    shape: tuple[int, ...]
    is_differenced: bool

    @classmethod
    def pack(cls, array: np.ndarray, *, is_picture: bool) -> "PackedArray":
        """Compress `array`; `is_picture` says that neighbouring values are alike but not equal."""
        is_differenced = is_picture and array.dtype.kind in "iu" and array.ndim >= 2
        plain = np.ascontiguousarray(_differences(array) if is_differenced else array)
        options: dict[str, Any] = {"typesize": plain.itemsize, **_COMPRESSION}
        content = bytes(blosc2.compress2(plain, **options))  # type: ignore[arg-type] # never a str
        return cls(content, plain.dtype.str, plain.shape, is_differenced)

    def unpack(self) -> np.ndarray:
        """Return the array."""
        array = np.empty(self.shape, self.dtype)
        if array.size:
            blosc2.decompress2(self.content, dst=array)
        if self.is_differenced:
            np.cumsum(array, axis=-1, dtype=array.dtype, out=array)
            np.cumsum(array, axis=-2, dtype=array.dtype, out=array)
        return array


@dataclass(frozen=True)
class PackedCase:
    """A case as a shard holds it.

    Attributes:
        source: a hash of all that the case was made from.
        properties: JSON.
    """

    source: str
    properties: dict[str, Any]
    arrays: dict[str, PackedArray]


@dataclass(frozen=True, kw_only=True)
class ArrayEntry:
    """Where a shard holds an array."""

    offset: int
    num_bytes: int
    dtype: str
    shape: tuple[int, ...]
    is_differenced: bool


@dataclass(frozen=True, kw_only=True)
class CaseEntry:
    """What the index of a shard says about a case."""

    source: str
    properties: dict[str, Any]
    arrays: dict[str, ArrayEntry]


def write_shard(path: Path, cases: Mapping[str, PackedCase]) -> None:
    """Write `cases` to `path`, atomically."""
    parts: list[bytes] = []
    offset = 0
    index: dict[str, Any] = {}
    for name, case in cases.items():
        entries = {}
        for array_name, array in case.arrays.items():
            entry = ArrayEntry(
                offset=offset,
                num_bytes=len(array.content),
                dtype=array.dtype,
                shape=array.shape,
                is_differenced=array.is_differenced,
            )
            entries[array_name] = asdict(entry)
            parts.append(array.content)
            offset += len(array.content)
        index[name] = {"source": case.source, "properties": case.properties, "arrays": entries}
    index_bytes = json.dumps(index, separators=(",", ":")).encode("utf-8")
    footer = len(index_bytes).to_bytes(8, "little") + _MAGIC
    write_bytes(path, b"".join([*parts, index_bytes, footer]))


def read_index(path: Path) -> dict[str, CaseEntry]:
    """Return the index of a shard, in the order in which the cases were written.

    Raises:
        WorkspaceError: the file is missing, cut short, or no shard.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _FOOTER_BYTES))
            footer = file.read()
            length = int.from_bytes(footer[:8], "little")
            if footer[8:] != _MAGIC or length > size - _FOOTER_BYTES:
                raise WorkspaceError(
                    f"'{path}' is cut short, or no shard; remove it and preprocess again"
                )
            file.seek(size - _FOOTER_BYTES - length)
            content = json.loads(file.read(length))
    except (OSError, ValueError) as cause:
        raise WorkspaceError(f"'{path}' cannot be read: {cause}; preprocess again") from None
    return {name: _case_entry(entry) for name, entry in content.items()}


def read_array(path: Path, entry: ArrayEntry) -> PackedArray:
    """Return one array of the shard, still compressed.

    Raises:
        WorkspaceError: the file is missing or shorter than its index says.
    """
    # One read instead of a memory map kept open: a store may have thousands of shards, and every
    # map holds a file descriptor.
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(entry.offset)
            content = file.read(entry.num_bytes)
    except OSError as cause:
        raise WorkspaceError(f"'{path}' cannot be read: {cause}; preprocess again") from None
    if len(content) != entry.num_bytes:
        raise WorkspaceError(f"'{path}' is cut short; remove it and preprocess again")
    return PackedArray(content, entry.dtype, entry.shape, entry.is_differenced)


def read_case(path: Path, entry: CaseEntry) -> PackedCase:
    """Return a whole case of the shard, still compressed, for another shard."""
    arrays = {name: read_array(path, array) for name, array in entry.arrays.items()}
    return PackedCase(entry.source, entry.properties, arrays)


def _case_entry(content: dict[str, Any]) -> CaseEntry:
    arrays = {
        name: ArrayEntry(**{**array, "shape": tuple(array["shape"])})
        for name, array in content["arrays"].items()
    }
    return CaseEntry(source=content["source"], properties=content["properties"], arrays=arrays)


def _differences(array: np.ndarray) -> np.ndarray:
    """Return differences to the upper, then to the left neighbour; overflow wraps and is undone."""
    result = array.copy()
    result[..., 1:, :] -= array[..., :-1, :]
    vertical = result.copy()
    result[..., 1:] -= vertical[..., :-1]
    return result
