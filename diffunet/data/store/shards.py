"""A shard: many small cases in one file, each array compressed by itself, the index at the end.

    array, array, ..., index as JSON, footer

The footer holds the checksum and the length of the index, and b"DIFFUNT2". Without shards a store
of thousands of 2D cases would be tens of thousands of small files, whose blocks take more disk than
their content.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.store.compression import (
    check_block,
    check_size,
    checksum,
    compress,
    damaged,
    decompress,
    digest,
    plain_dtype,
    unusable,
)
from diffunet.errors import WorkspaceError
from diffunet.jsonio import parse_json, write_bytes
from diffunet.records import record_from_json

LARGEST_PACKED_CASE = 2**20  # bytes; more is read by the patch, from a file of its own

_MAGIC = b"DIFFUNT2"  # the last character is the version of the format
_FOOTER = struct.Struct(f"<IQ{len(_MAGIC)}s")


@dataclass(frozen=True)
class PackedArray:
    """Compressed bytes of an array, and what it takes to undo it.

    Attributes:
        is_differenced: the last two axes hold differences to the left and the upper neighbour
            (modulo the integer's range), which halves what pictures take.
        digest: of the values of the array.
    """

    content: bytes
    dtype: str
    shape: tuple[int, ...]
    is_differenced: bool
    digest: str

    @classmethod
    def pack(cls, array: np.ndarray, *, is_picture: bool) -> "PackedArray":
        """Compress `array`; `is_picture` says that neighbouring values are alike but not equal."""
        is_differenced = is_picture and array.dtype.kind in "iu" and array.ndim >= 2
        plain = np.ascontiguousarray(_differences(array) if is_differenced else array)
        return cls(compress(plain), plain.dtype.str, plain.shape, is_differenced, digest(array))

    def unpack(self) -> np.ndarray:
        """Return the array.

        Raises:
            ValueError: the compressed bytes are not those of this array.
        """
        array = decompress(self.content, dtype=np.dtype(self.dtype), shape=self.shape)
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
    """Where a shard holds an array.

    Attributes:
        checksum: of its compressed bytes.
        digest: of its values.
    """

    offset: int
    num_bytes: int
    checksum: int
    dtype: str
    shape: tuple[int, ...]
    is_differenced: bool
    digest: str

    def __post_init__(self) -> None:
        dtype = plain_dtype(self.dtype, self.shape)
        check_size(self.shape, dtype, limit=LARGEST_PACKED_CASE)
        if self.is_differenced and (dtype.kind not in "iu" or len(self.shape) < 2):
            raise ValueError(f"an array of {dtype} and {len(self.shape)} axes has no differences")
        is_place = 0 <= self.offset < 2**48 and 0 <= self.num_bytes <= 2 * LARGEST_PACKED_CASE
        if not is_place:
            raise ValueError(f"expected a place in the file, found {self.offset}, {self.num_bytes}")


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
                checksum=checksum(array.content),
                dtype=array.dtype,
                shape=array.shape,
                is_differenced=array.is_differenced,
                digest=array.digest,
            )
            entries[array_name] = asdict(entry)
            parts.append(array.content)
            offset += len(array.content)
        index[name] = {"source": case.source, "properties": case.properties, "arrays": entries}
    index_bytes = json.dumps(index, separators=(",", ":")).encode("utf-8")
    footer = _FOOTER.pack(checksum(index_bytes), len(index_bytes), _MAGIC)
    write_bytes(path, b"".join([*parts, index_bytes, footer]))


def read_index(path: Path) -> dict[str, CaseEntry]:
    """Return the index of a shard, in the order in which the cases were written.

    Raises:
        WorkspaceError: the file is missing, damaged, or no shard.
    """
    try:
        with path.open("rb", buffering=0) as file:
            content = parse_json(_index_bytes(file))
    except (OSError, ValueError) as cause:
        raise unusable(path, cause) from None
    if not isinstance(content, dict):
        raise damaged(path, "its index is not one of cases")
    return {
        name: record_from_json(CaseEntry, entry, where=f"{path}: {name}", error=WorkspaceError)
        for name, entry in content.items()
    }


def read_array(path: Path, entry: ArrayEntry) -> PackedArray:
    """Return one array of the shard, still compressed.

    Raises:
        WorkspaceError: the file is missing, or the array in it is damaged.
    """
    # One read instead of a memory map kept open: a store may have thousands of shards, and every
    # map holds a file descriptor.
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(entry.offset)
            content = file.read(entry.num_bytes)
        if len(content) != entry.num_bytes:
            raise ValueError("it is cut short")
        if checksum(content) != entry.checksum:
            raise ValueError("the checksum of an array is another one")
        check_block(content, dtype=np.dtype(entry.dtype), shape=entry.shape)
    except (OSError, ValueError) as cause:
        raise unusable(path, cause) from None
    return PackedArray(content, entry.dtype, entry.shape, entry.is_differenced, entry.digest)


def unpack_array(path: Path, entry: ArrayEntry) -> np.ndarray:
    """Return one array of the shard.

    Raises:
        WorkspaceError: the file is missing, or the array in it is damaged.
    """
    try:
        return read_array(path, entry).unpack()
    except ValueError as cause:
        raise unusable(path, cause) from None


def read_case(path: Path, entry: CaseEntry) -> PackedCase:
    """Return a whole case of the shard, still compressed, for another shard."""
    arrays = {name: read_array(path, array) for name, array in entry.arrays.items()}
    return PackedCase(entry.source, entry.properties, arrays)


def _index_bytes(file: Any) -> bytes:
    index_end = file.seek(0, 2) - _FOOTER.size
    file.seek(max(0, index_end))
    footer = file.read()
    if len(footer) != _FOOTER.size or not footer.endswith(_MAGIC):
        raise ValueError("it is cut short, or of another version of diffunet")
    expected, length, _ = _FOOTER.unpack(footer)
    if length > index_end:
        raise ValueError("it is cut short")
    file.seek(index_end - length)
    content = file.read(length)
    if checksum(content) != expected:
        raise ValueError("the checksum of its index is another one")
    return content


def _differences(array: np.ndarray) -> np.ndarray:
    """Return differences to the upper, then to the left neighbour; overflow wraps and is undone."""
    result = array.copy()
    result[..., 1:, :] -= array[..., :-1, :]
    vertical = result.copy()
    result[..., 1:] -= vertical[..., :-1]
    return result
