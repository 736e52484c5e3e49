"""Checkpoints: tensors and plain values in one file, which is whole or absent and safe to open."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diffunet.errors import CheckpointError, refused_by_the_system
from diffunet.jsonio import atomic_file
from diffunet.tensor_archive import read_tensor_archive

Entry = TypeVar("Entry")

FORMAT = "diffunet checkpoint"
FORMAT_VERSION = 1

_PLAIN = (Tensor, str, int, float, bool, type(None))


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`, atomically.

    Args:
        content: tensors, numbers, strings, None, and lists, tuples and dicts of these.

    Raises:
        TypeError: `content` holds other values, which could not be read without running code.
        WriteError: the disk is full, or refuses; the checkpoint that was there stays.
    """
    marked = _marked(content)
    with atomic_file(path) as file:
        torch.save(marked, file)


def checkpoint_bytes(content: Mapping[str, Any]) -> bytes:
    """Return what `save_checkpoint` would write.

    Raises:
        TypeError: as `save_checkpoint`.
    """
    file = io.BytesIO()
    torch.save(_marked(content), file)
    return file.getvalue()


def load_checkpoint(path: Path, device: str | torch.device) -> dict[str, Any]:
    """Return what `save_checkpoint` wrote, with its tensors on `device`; runs no code of the file.

    Raises:
        CheckpointError: the file is missing, truncated, of another program or of another version;
            or the operating system does not let it be read.
    """
    if not path.is_file():
        raise CheckpointError(
            f"'{path}' {'is a folder' if path.is_dir() else 'does not exist'}, expected a "
            "checkpoint file; train first, or name another"
        )
    try:
        with path.open("rb") as file:
            file.read(1)  # `is_zipfile` takes a file that it is not allowed to read for none
            is_archive = zipfile.is_zipfile(file)
        if not is_archive:
            raise _damaged(path, "its end is missing, or it never was one")
        marked = read_tensor_archive(path)
    except (OSError, ValueError, MemoryError) as cause:
        if said := refused_by_the_system(cause, path=path):
            raise CheckpointError(said) from cause
        raise _damaged(path, str(cause).partition("\n")[0]) from None
    if not isinstance(marked, dict) or marked.get("format") != FORMAT:
        raise CheckpointError(
            f"'{path}' was not written by diffunet; expected a diffunet checkpoint"
        )
    if marked.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"'{path}' has format version {marked.get('format_version')}, expected "
            f"{FORMAT_VERSION}; use the version of diffunet that wrote it"
        )
    content = entry_of(marked, "content", dict, where=path)
    return _on_device(content, torch.device(device))


def entry_of(content: Mapping[str, Any], name: str, kind: type[Entry], *, where: Path) -> Entry:
    """Return `content[name]`, which must be there and of a type.

    Raises:
        CheckpointError: it is not.
    """
    found = content.get(name)
    if isinstance(found, kind) and isinstance(found, bool) == (kind is bool):
        return found
    if kind is float and type(found) is int:
        return kind(found)
    raise CheckpointError(
        f"'{where}': expected '{name}' as {kind.__name__}, found "
        f"{type(found).__name__ if name in content else 'nothing'}; another program or another "
        "version wrote it: use another checkpoint of the fold"
    )


def weights_of(content: Mapping[str, Any], name: str, *, where: Path) -> dict[str, Tensor]:
    """Return `content[name]`: finite tensors by their names, bfloat16 as float32.

    Exported models may store weights in bfloat16; networks have float32 parameters all the same.

    Raises:
        CheckpointError: it is missing, something else, or holds NaN or infinity.
    """
    weights = entry_of(content, name, dict, where=where)
    for key, tensor in weights.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"'{where}': expected '{name}' to be tensors by name, found {key!r:.40} with a "
                f"{type(tensor).__name__}; use another checkpoint of the fold"
            )
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"'{where}': '{name}' has NaN or infinity in '{key}': the training that wrote it "
                "has diverged, or the file was changed; use another checkpoint, or train anew"
            )
    return {
        key: tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        for key, tensor in weights.items()
    }


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Put `weights` into `module`; all of them and nothing else must fit.

    Args:
        where: path of the checkpoint, for messages.

    Raises:
        CheckpointError: names, shapes or types of numbers differ; names the first of each kind.
            Nothing was changed.
    """
    expected = module.state_dict()
    problems: list[str] = []
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing:
        problems.append(f"{len(missing)} weights are missing, the first is '{missing[0]}'")
    if unknown:
        problems.append(f"{len(unknown)} weights are unknown, the first is '{unknown[0]}'")
    shared = [name for name in expected if name in weights]
    for aspect, of in (("shape", lambda each: tuple(each.shape)), ("type", lambda t: t.dtype)):
        unlike = [name for name in shared if of(weights[name]) != of(expected[name])]
        if unlike:
            problems.append(
                f"'{unlike[0]}' has the {aspect} {of(weights[unlike[0]])}, "
                f"expected {of(expected[unlike[0]])}"
            )
    if problems:
        raise CheckpointError(
            f"'{where}' does not fit the network of these plans: {'; '.join(problems)}; "
            "use the plans.resolved.json of the run that wrote it"
        )
    module.load_state_dict(weights)


def _on_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on_device(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_device(each, device) for each in value)
    return value


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path}' is no checkpoint, or is damaged ({reason}); copy it again, or use another "
        "checkpoint of the fold (diffunet_predict -chk; --val takes another once this one is moved "
        "away)"
    )


def _marked(content: Mapping[str, Any]) -> dict[str, Any]:
    _check_plain(content, "content")
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "content": dict(content)}


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(entry, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, entry in enumerate(value):
            _check_plain(entry, f"{where}[{index}]")
    elif type(value) not in _PLAIN and not isinstance(value, Tensor):
        raise TypeError(
            f"{where} is a {type(value).__name__}; a checkpoint holds tensors and plain values only"
        )
