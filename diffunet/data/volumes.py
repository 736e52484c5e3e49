"""A case in files of its own: `CASE.ARRAY.b2nd` for each array, and `CASE.json`, written last.

Without its `CASE.json` a case does not exist: what a killed process leaves is never taken for
whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from diffunet.errors import WorkspaceError
from diffunet.jsonio import read_json, write_bytes, write_json

# Found by trying on CT and MR volumes: blocks fit the second-level cache of one core, chunks keep
# the number of them per patch small.
_BLOCK_BYTES = 2**16
_CHUNK_BYTES = 2**22
_COMPRESSION: dict[str, Any] = {
    "codec": blosc2.Codec.ZSTD,
    "clevel": 1,
    "filters_meta": [0],
    "nthreads": 1,  # several threads would write blocks in any order: other bytes at each run
}
_MEMORY_MAPPED: dict[str, Any] = {"mode": "r", "mmap_mode": "r"}


@dataclass(frozen=True)
class VolumeRecord:
    """The content of `CASE.json`.

    Attributes:
        source: a hash of all that the case was made from.
        arrays: names of the arrays that lie beside.
        properties: JSON.
    """

    source: str
    arrays: tuple[str, ...]
    properties: dict[str, Any]


def write_volume(
    folder: Path,
    case: str,
    *,
    arrays: Mapping[str, np.ndarray],
    properties: dict[str, Any],
    source: str,
    patch_sizes: Mapping[str, Sequence[int]],
) -> None:
    """Write a case; it exists once this returns, not before.

    Args:
        patch_sizes: for an array what is read at once, along its last axes; its leading axes
            (channel, rater) are read one by one. An array that is not named is read whole.
    """
    remove_volume(folder, case)
    for name, array in arrays.items():
        write_bytes(_array_path(folder, case, name), _compressed(array, patch_sizes.get(name)))
    content = {"source": source, "arrays": list(arrays), "properties": properties}
    write_json(_record_path(folder, case), content)


def remove_volume(folder: Path, case: str) -> None:
    """Delete the files of a case, if there are any; its `CASE.json` goes first."""
    path = _record_path(folder, case)
    if path.exists():
        arrays = read_json(path, WorkspaceError)["arrays"]
        path.unlink()
        for name in arrays:
            _array_path(folder, case, name).unlink(missing_ok=True)


def read_record(folder: Path, case: str) -> VolumeRecord | None:
    """Return the content of `CASE.json`, None where there is none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    path = _record_path(folder, case)
    if not path.exists():
        return None
    content = read_json(path, WorkspaceError)
    return VolumeRecord(content["source"], tuple(content["arrays"]), content["properties"])


def open_array(folder: Path, case: str, name: str) -> Any:
    """Return an array that decompresses what is sliced out of it.

    Raises:
        WorkspaceError: the file is missing or damaged.
    """
    path = _array_path(folder, case, name)
    try:
        return blosc2.open(str(path), **_MEMORY_MAPPED)
    except (OSError, RuntimeError) as cause:
        raise WorkspaceError(f"'{path}' cannot be read: {cause}; preprocess again") from None


def chunk_and_block_shape(
    shape: Sequence[int], *, patch_size: Sequence[int], item_bytes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of chunks and blocks by which an array is compressed.

    A block is the least that is decompressed: the patch, halved along its longest axis until it
    has at most 64 KiB. A chunk is a block, doubled along the axis that covers least of the patch,
    until it covers the patch or would have more than 4 MiB.
    """
    num_leading = len(shape) - len(patch_size)
    edges = [1] * num_leading + [
        min(size, edge) for size, edge in zip(shape[num_leading:], patch_size, strict=True)
    ]
    block = list(edges)
    while np.prod(block) * item_bytes > _BLOCK_BYTES and max(block) > 1:
        longest = block.index(max(block))
        block[longest] = -(-block[longest] // 2)
    chunk = list(block)
    while any(size < edge for size, edge in zip(chunk, edges, strict=True)):
        shares = [size / edge for size, edge in zip(chunk, edges, strict=True)]
        least = shares.index(min(shares))
        chunk[least] *= 2
        if np.prod(chunk) * item_bytes > _CHUNK_BYTES:
            chunk[least] //= 2
            break
    return tuple(chunk), tuple(block)


def _record_path(folder: Path, case: str) -> Path:
    return folder / f"{case}.json"


def _array_path(folder: Path, case: str, name: str) -> Path:
    return folder / f"{case}.{name}.b2nd"


def _compressed(array: np.ndarray, patch_size: Sequence[int] | None) -> bytes:
    shuffle = blosc2.Filter.BITSHUFFLE if array.itemsize == 1 else blosc2.Filter.SHUFFLE
    layout: dict[str, Any] = {"cparams": blosc2.CParams(filters=[shuffle], **_COMPRESSION)}
    if patch_size is not None:
        chunks, blocks = chunk_and_block_shape(
            array.shape, patch_size=patch_size, item_bytes=array.itemsize
        )
        layout |= {"chunks": chunks, "blocks": blocks}
    plain: Any = np.ascontiguousarray(array)
    compressed: Any = blosc2.asarray(plain, **layout)
    # In memory first: blosc2 does not notice a full disk, Python's write does.
    return compressed.to_cframe()
