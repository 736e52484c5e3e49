"""Blocks of compressed numbers, which are decompressed only if they are exactly as expected.

Decompression writes as many bytes as the compressed data declare, even beyond the array. So their
header is compared with the expected array before that is made. Nothing here opens a blosc2 file:
such a file may hold a function, which is run when it is opened.
"""

import hashlib
import math
import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.errors import WorkspaceError, refused_by_the_system

_callers_state = random.getstate()  # a library that blosc2 imports draws from it
import blosc2  # noqa: E402

random.setstate(_callers_state)

MAX_DIMENSIONS = 8

_HEADER = struct.Struct("<3xBiii6s9xB")  # of a blosc2 chunk, 32 bytes
_SHUFFLE, _BITSHUFFLE = bytes((1, 0, 0, 0, 0, 0)), bytes((2, 0, 0, 0, 0, 0))
_ZEROS = 0x10  # every other flag (lazy, with a dictionary, ...) is for what we never write
_PLAIN_KINDS, _MAX_ITEM_BYTES = "biuf", 8
_MAX_BLOCK_BYTES = 2**31 - 1  # what the header can say


def compress(array: np.ndarray, *, is_bitwise: bool = False) -> bytes:
    """Return the compressed bytes of `array`; the same array gives the same bytes.

    Args:
        is_bitwise: shuffle bits, not bytes, which suits label maps.
    """
    options: dict[str, Any] = {
        "typesize": array.itemsize,
        "codec": blosc2.Codec.ZSTD,
        "clevel": 1,
        "filters": [blosc2.Filter.BITSHUFFLE if is_bitwise else blosc2.Filter.SHUFFLE],
        "filters_meta": [0],
        "nthreads": 1,  # several threads would write blocks in any order: other bytes at each run
    }
    plain: Any = np.ascontiguousarray(array)
    return bytes(blosc2.compress2(plain, **options))  # type: ignore[arg-type] # never a str


def decompress(content: bytes, *, dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
    """Return the array that `compress` was given.

    Raises:
        ValueError: `content` is not such an array; nothing of its size was allocated.
    """
    check_block(content, dtype=dtype, shape=shape)
    array = np.empty(shape, dtype)
    if array.size:
        try:
            blosc2.decompress2(content, dst=array)
        except (RuntimeError, ValueError) as cause:
            raise ValueError(f"its compressed bytes are damaged ({cause})") from None
    return array


def check_block(content: bytes, *, dtype: np.dtype, shape: Sequence[int]) -> None:
    """Check that `content` declares to fill exactly such an array.

    Raises:
        ValueError: it does not.
    """
    num_bytes = math.prod(shape) * dtype.itemsize
    if len(content) < _HEADER.size:
        raise ValueError(f"{len(content)} compressed bytes are fewer than a header")
    item_bytes, declared, _, length, filters, flags = _HEADER.unpack_from(content)
    if declared != num_bytes or length != len(content) or item_bytes != dtype.itemsize:
        raise ValueError(
            f"expected {len(content)} compressed bytes of {num_bytes} bytes in items of "
            f"{dtype.itemsize}, found {length} of {declared} in items of {item_bytes}"
        )
    if filters not in (_SHUFFLE, _BITSHUFFLE) or flags & ~_ZEROS:
        raise ValueError("its compressed bytes are of a kind that diffunet never writes")


def plain_dtype(name: str, shape: Sequence[int]) -> np.dtype:
    """Return the type of an array that a file declares, if it is one of plain numbers.

    Raises:
        ValueError: it is no type of numbers of up to 8 bytes, or an array of this shape is larger
            than a block can be.
    """
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in _PLAIN_KINDS or dtype.itemsize > _MAX_ITEM_BYTES:
        raise ValueError(f"dtype should be one of plain numbers, found {name!r}")
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise ValueError(
            f"shape should have at most {MAX_DIMENSIONS} sizes, none negative, found {list(shape)}"
        )
    return dtype


def check_size(shape: Sequence[int], dtype: np.dtype, *, limit: int = _MAX_BLOCK_BYTES) -> None:
    """Check that a block that is decompressed at once is not too large.

    Raises:
        ValueError: it has more than `limit` bytes.
    """
    if math.prod(shape) * dtype.itemsize > limit:
        raise ValueError(
            f"expected at most {limit} bytes, found the shape {list(shape)} of {dtype}"
        )


def checksum(content: bytes) -> int:
    """Return 32 bits that tell damage from what was written; cheap beside decompression."""
    return zlib.crc32(content)


def digest(array: np.ndarray) -> str:
    """Return 16 hexadecimal digits that tell the values of one array from those of another."""
    plain = np.ascontiguousarray(array).reshape(-1)
    return hashlib.blake2b(plain.view(np.uint8).data, digest_size=8).hexdigest()


def unusable(path: Path, cause: OSError | ValueError) -> WorkspaceError:
    """Return the error for a preprocessed file that could not be read."""
    if said := refused_by_the_system(cause, path=path):
        return WorkspaceError(said)
    return damaged(path, str(cause))


def damaged(path: Path, reason: str) -> WorkspaceError:
    """Return the error for a preprocessed file that cannot be used."""
    return WorkspaceError(
        f"'{path}' is missing or damaged ({reason}); run diffunet_preprocess: it makes damaged "
        "files anew, and keeps the rest"
    )
