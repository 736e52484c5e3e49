"""A file of one large array, compressed in blocks, each with a checksum: read by the patch.

    block, block, ..., table, header, footer

The table has for each block, in C order, its length and its checksum (two little-endian uint32);
the header is JSON; the footer holds the checksum of table and header, the number of blocks, the
length of the header, and b"DIFFUNB1".
"""

import itertools
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from diffunet.data.store.compression import (
    check_size,
    checksum,
    compress,
    decompress,
    digest,
    plain_dtype,
    unusable,
)
from diffunet.errors import WorkspaceError
from diffunet.jsonio import parse_json, write_bytes
from diffunet.records import record_from_json

# Found by trials on volumes: of larger blocks less is used, smaller ones take longer to find than
# to decompress.
BLOCK_BYTES = 2**17
_LARGEST_BLOCK_BYTES = 2**22
_LARGEST_HEADER_BYTES = 2**12
_MAGIC = b"DIFFUNB1"  # the last character is the version of the format
_FOOTER = struct.Struct(f"<III{len(_MAGIC)}s")
_UINT32 = np.dtype("<u4")


@dataclass(frozen=True, kw_only=True)
class BlockedHeader:
    """What the file says about its array.

    Attributes:
        digest: of all its values.
    """

    dtype: str
    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    digest: str

    def __post_init__(self) -> None:
        dtype = plain_dtype(self.dtype, self.shape)
        if len(self.block_shape) != len(self.shape) or any(edge < 1 for edge in self.block_shape):
            raise ValueError(
                f"block_shape should have a positive size for each of {list(self.shape)}, "
                f"found {list(self.block_shape)}"
            )
        check_size(self.block_shape, dtype, limit=_LARGEST_BLOCK_BYTES)

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of blocks per axis."""
        return tuple(
            -(-size // edge) for size, edge in zip(self.shape, self.block_shape, strict=True)
        )


def write_blocked(path: Path, array: np.ndarray, *, block_shape: Sequence[int]) -> None:
    """Write `array` to `path`, atomically."""
    header = BlockedHeader(
        dtype=array.dtype.str,
        shape=array.shape,
        block_shape=tuple(block_shape),
        digest=digest(array),
    )
    blocks = [
        compress(array[_box_of(index, header)], is_bitwise=array.itemsize == 1)
        for index in np.ndindex(*header.grid)
    ]
    rows = [(len(block), checksum(block)) for block in blocks]
    text = json.dumps(asdict(header)).encode("utf-8")
    index = np.array(rows, _UINT32).tobytes() + text
    footer = _FOOTER.pack(checksum(index), len(rows), len(text), _MAGIC)
    # In memory first, and written by Python: it notices a full disk.
    write_bytes(path, b"".join([*blocks, index, footer]))


@final
class BlockedArray:
    """Read access to such a file: sliced like a numpy array, with steps of 1.

    Raises:
        WorkspaceError: the file is missing or damaged; also when it is sliced.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            with path.open("rb", buffering=0) as file:
                self.header, lengths, self._checksums = _read_index(file, path)
        except (OSError, ValueError) as cause:
            raise unusable(path, cause) from None
        self._grid = self.header.grid
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._starts = self._ends - lengths

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.header.dtype)

    def __getitem__(self, key: Any, /) -> np.ndarray:
        box, dropped = _box_of_key(key, self.shape)
        result = np.empty([part.stop - part.start for part in box], self.dtype)
        touched = [
            range(part.start // edge, -(-part.stop // edge) if result.size else 0)
            for part, edge in zip(box, self.header.block_shape, strict=True)
        ]
        try:
            with self._path.open("rb", buffering=0) as file:
                for index in itertools.product(*touched):
                    own = _box_of(index, self.header)
                    block = decompress(
                        self._content(file, self._number_of(index)),
                        dtype=result.dtype,
                        shape=[part.stop - part.start for part in own],
                    )
                    overlaps = [_overlap(part, each) for part, each in zip(box, own, strict=True)]
                    target = tuple(overlap[0] for overlap in overlaps)
                    result[target] = block[tuple(overlap[1] for overlap in overlaps)]
        except (OSError, ValueError) as cause:
            raise unusable(self._path, cause) from None
        return result[tuple(0 if axis in dropped else slice(None) for axis in range(result.ndim))]

    def check(self) -> None:
        """Read all of it and compare the checksums.

        Raises:
            WorkspaceError: it is damaged.
        """
        try:
            with self._path.open("rb", buffering=0) as file:
                for number in range(len(self._starts)):
                    self._content(file, number)
        except (OSError, ValueError) as cause:
            raise unusable(self._path, cause) from None

    def _number_of(self, index: tuple[int, ...]) -> int:
        number = 0
        for position, size in zip(index, self._grid, strict=True):
            number = number * size + position
        return number

    def _content(self, file: Any, number: int) -> bytes:
        start, end = int(self._starts[number]), int(self._ends[number])
        file.seek(start)
        content = file.read(end - start)
        if checksum(content) != self._checksums[number]:
            raise ValueError(f"the checksum of its block {number} is another one")
        return content


def _read_index(file: Any, path: Path) -> tuple[BlockedHeader, np.ndarray, np.ndarray]:
    """Return the header, and the length and the checksum of each block."""
    index_end = file.seek(0, 2) - _FOOTER.size
    file.seek(max(0, index_end))
    footer = file.read()
    if len(footer) != _FOOTER.size or not footer.endswith(_MAGIC):
        raise ValueError("it is cut short, or of another version of diffunet")
    expected, num_blocks, header_bytes, _ = _FOOTER.unpack(footer)
    table_bytes = num_blocks * 2 * _UINT32.itemsize
    index_start = index_end - table_bytes - header_bytes
    if index_start < 0 or header_bytes > _LARGEST_HEADER_BYTES:
        raise ValueError(f"an index of {num_blocks} blocks does not fit into it")
    file.seek(index_start)
    index = file.read(index_end - index_start)
    if checksum(index) != expected:
        raise ValueError("the checksum of its index is another one")
    content = parse_json(index[table_bytes:])
    header = record_from_json(BlockedHeader, content, where=str(path), error=WorkspaceError)
    lengths, checksums = np.frombuffer(index[:table_bytes], _UINT32).reshape(-1, 2).T
    if math.prod(header.grid) != num_blocks or lengths.sum(dtype=np.int64) != index_start:
        raise ValueError(f"its {num_blocks} blocks are not those of the shape {header.shape}")
    return header, lengths, checksums


def _box_of(index: Sequence[int], header: BlockedHeader) -> tuple[slice, ...]:
    return tuple(
        slice(position * edge, min((position + 1) * edge, size))
        for position, edge, size in zip(index, header.block_shape, header.shape, strict=True)
    )


def _overlap(part: slice, own: slice) -> tuple[slice, slice]:
    """Return where two ranges overlap, counted from the start of each."""
    low, high = max(part.start, own.start), min(part.stop, own.stop)
    return (
        slice(low - part.start, high - part.start),
        slice(low - own.start, high - own.start),
    )


def _box_of_key(key: Any, shape: Sequence[int]) -> tuple[list[slice], set[int]]:
    """Return the slices that `key` means, and which axes it drops."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) > len(shape):
        raise IndexError(f"{len(keys)} indices for an array of the shape {tuple(shape)}")
    box, dropped = [], set()
    for axis, size in enumerate(shape):
        each = keys[axis] if axis < len(keys) else slice(None)
        if isinstance(each, slice):
            start, stop, step = each.indices(size)
            if step != 1:
                raise IndexError(f"expected slices with steps of 1, found {each}")
            box.append(slice(start, max(start, stop)))
            continue
        position = int(each) + size if each < 0 else int(each)
        if not 0 <= position < size:
            raise IndexError(f"index {each} is outside of axis {axis} of {size}")
        box.append(slice(position, position + 1))
        dropped.add(axis)
    return box, dropped
