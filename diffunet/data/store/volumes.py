"""A case in files of its own: `CASE.ARRAY.blocks` for each array, and `CASE.json`, written last.

Without its `CASE.json` a case does not exist, so leftovers of a killed process never count as
whole.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.store.blocked_array import BLOCK_BYTES, BlockedArray, write_blocked
from diffunet.errors import WorkspaceError
from diffunet.jsonio import read_json, write_json
from diffunet.names import require_name
from diffunet.records import record_from_json

_ARRAY_SUFFIX = ".blocks"
_RECORD_SUFFIX = ".json"


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

    def __post_init__(self) -> None:
        for name in self.arrays:
            require_name(name, where="arrays", error=ValueError)


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

    Arrays that it had by another name stay until `remove_other_volumes`.

    Args:
        patch_sizes: for an array what is read at once, along its last axes; its leading axes
            (channel, rater) are read one by one. An array that is not named is read whole.
    """
    _record_path(folder, case).unlink(missing_ok=True)
    for name, array in arrays.items():
        block_shape = block_shape_of(
            array.shape,
            patch_size=patch_sizes.get(name, array.shape),
            item_bytes=array.itemsize,
        )
        write_blocked(_array_path(folder, case, name), array, block_shape=block_shape)
    content = {"source": source, "arrays": list(arrays), "properties": properties}
    write_json(_record_path(folder, case), content)


def remove_other_volumes(folder: Path, *, kept: Iterable[str]) -> None:
    """Delete the files of all cases but `kept`, and arrays that no case has; records go first.

    The folder is looked through once for all of them: a look for each would be quadratic.

    Raises:
        WorkspaceError: the record of a case of `kept` cannot be read.
    """
    records = {case: read_record(folder, case) for case in kept}
    for path in folder.glob(f"*{_RECORD_SUFFIX}"):
        if path.name.removesuffix(_RECORD_SUFFIX) not in records:
            path.unlink(missing_ok=True)
    named = {
        _array_path(folder, case, name).name
        for case, record in records.items()
        for name in (record.arrays if record else ())
    }
    for path in folder.glob(f"*{_ARRAY_SUFFIX}"):
        if path.name not in named:
            path.unlink(missing_ok=True)


def read_record(folder: Path, case: str) -> VolumeRecord | None:
    """Return the content of `CASE.json`, None where there is none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    path = _record_path(folder, case)
    if not path.exists():
        return None
    content = read_json(path, WorkspaceError, remedy="preprocess again")
    return record_from_json(VolumeRecord, content, where=str(path), error=WorkspaceError)


def open_array(folder: Path, case: str, name: str) -> BlockedArray:
    """Return an array that decompresses what is sliced out of it.

    Raises:
        WorkspaceError: the file is missing or damaged.
    """
    return BlockedArray(_array_path(folder, case, name))


def check_volume(folder: Path, case: str, record: VolumeRecord) -> None:
    """Read all of a case and compare the checksums.

    Raises:
        WorkspaceError: a file is missing or damaged.
    """
    for name in record.arrays:
        open_array(folder, case, name).check()


def block_shape_of(
    shape: Sequence[int], *, patch_size: Sequence[int], item_bytes: int
) -> tuple[int, ...]:
    """Return the shape of the blocks by which an array is compressed.

    A block is the smallest unit of decompression: the patch, halved along its longest axis until it
    has at most 128 KiB.
    """
    num_leading = len(shape) - len(patch_size)
    block = [1] * num_leading + [
        max(1, min(size, edge)) for size, edge in zip(shape[num_leading:], patch_size, strict=True)
    ]
    while math.prod(block) * item_bytes > BLOCK_BYTES and max(block) > 1:
        longest = block.index(max(block))
        block[longest] = -(-block[longest] // 2)
    return tuple(block)


def _record_path(folder: Path, case: str) -> Path:
    return folder / f"{case}{_RECORD_SUFFIX}"


def _array_path(folder: Path, case: str, name: str) -> Path:
    return folder / f"{case}.{name}{_ARRAY_SUFFIX}"
