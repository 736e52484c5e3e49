"""What a result is, and what of it must stay the same, for `same_results.py`.

Numbers of JSON files are kept as they are, and arrays as digests of their bits. Clocks, versions,
reasons in words, logs, and pictures of the training's progress are no results.
"""

import gzip
import hashlib
import json
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Results = dict[str, Any]
"""From a name with slashes to a number, a word, a short list of these, or a digest."""

NO_RESULTS = (
    *("log.txt", "progress.png", "samples.png", "store.manifest"),
    *("dataset_state.json", "checkpoint_best.pth"),
)
"""Files that hold clocks, or what others hold too."""

NO_RESULT_KEYS = {
    *("reasons", "versions", "format_version", "source", "weights"),
    *("seconds", "seconds_per_slice", "samples_per_second", "validation_seconds"),
}
_SHARD = struct.Struct("<IQ8s")
_LONGEST_LIST = 32


def results_of_folder(folder: Path, *, root: Path, without: Collection[str] = ()) -> Results:
    """Return the results of all files under a folder, by their paths in it.

    Args:
        root: stands for any folder in the words of the files.
        without: names of files and of folders beside `NO_RESULTS`.
    """
    results: Results = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not {*NO_RESULTS, *without} & set(parts):
            name = "/".join(parts)
            if path.suffix == ".shard":  # its name is made from what the cases were made from
                name = str(path.parent.relative_to(folder))
            results |= {f"{name}{end}": value for end, value in _of_file(path, root=root)}
    return results


def flat(value: Any, *, root: Path | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of a tree of dictionaries, lists, arrays, tensors and plain values."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key not in NO_RESULT_KEYS:
                yield from ((f"/{key}{end}", leaf) for end, leaf in flat(each, root=root))
    elif isinstance(value, list | tuple) and not _is_short(value):
        for index, each in enumerate(value):
            key = each["case"] if isinstance(each, dict) and "case" in each else index
            yield from ((f"/{key}{end}", leaf) for end, leaf in flat(each, root=root))
    elif isinstance(value, np.ndarray) or hasattr(value, "detach"):
        yield "", digest_of_array(value)
    else:
        yield "", _without_root(value, root)


def _without_root(value: Any, root: Path | None) -> Any:
    if isinstance(value, list | tuple):
        return [_without_root(each, root) for each in value]
    return value.replace(str(root), "FOLDER") if isinstance(value, str) else value


def digest_of_array(value: Any) -> str:
    """Return the type, shape and a digest of the bits of an array or a tensor."""
    array = np.ascontiguousarray(
        value.detach().cpu().numpy() if hasattr(value, "detach") else value
    )
    shape = "x".join(map(str, array.shape))
    return f"{array.dtype} {shape} {_digest(array.tobytes())}"


def _is_short(value: list[Any] | tuple[Any, ...]) -> bool:
    plain = str | int | float | bool | None
    return len(value) <= _LONGEST_LIST and all(isinstance(each, plain) for each in value)


def _of_file(path: Path, *, root: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".json":
        yield from flat(json.loads(path.read_text(encoding="utf-8")), root=root)
    elif path.suffix == ".jsonl":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            yield from ((f"/{number}{end}", leaf) for end, leaf in flat(json.loads(line)))
    elif path.suffix == ".pth":
        yield from _of_checkpoint(path)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            yield from flat({name: arrays[name] for name in arrays.files})
    elif path.suffix == ".shard":
        yield from _of_shard(path.read_bytes())
    else:
        content = path.read_bytes()
        yield "", _digest(gzip.decompress(content) if path.suffix == ".gz" else content)


def _of_checkpoint(path: Path) -> Iterator[tuple[str, Any]]:
    """Of final weights each tensor by name; of all that a training goes on with, all in one."""
    import torch

    content = torch.load(path, weights_only=True)["content"]
    if path.name == "checkpoint_final.pth":
        yield from flat({f"weights/{name}": each for name, each in content["weights"].items()})
        yield "/weights of any name", _digest_of_all(digest_of_array, content["weights"].values())
    else:
        yield "/tensors of any name", _digest_of_all(digest_of_array, _tensors(content))


def _digest_of_all(digest: Any, values: Any) -> str:
    return _digest("\n".join(sorted(digest(each) for each in values)).encode())


def _tensors(value: Any) -> Iterator[Any]:
    if hasattr(value, "detach"):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _of_shard(content: bytes) -> Iterator[tuple[str, Any]]:
    """Of each array its compressed bytes; of each case its properties."""
    _, length, _ = _SHARD.unpack(content[-_SHARD.size :])
    index = json.loads(content[-_SHARD.size - length : -_SHARD.size])
    for case, entry in index.items():
        for name, array in entry.pop("arrays").items():
            start = array.pop("offset")
            packed = content[start : start + array.pop("num_bytes")]
            yield from flat({case: {name: {**array, "bytes": _digest(packed)}}})
        yield from flat({case: entry})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]
