"""JSON files, and files of any kind that are either whole or absent."""

import dataclasses
import errno
import glob
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, final, runtime_checkable
from uuid import uuid4

from diffunet.errors import DiffunetError, WriteError, explain

_RESTORE = "correct it there, or restore it from a copy"
_MAX_JSON_DEPTH = 64
_MAX_INTEGER_DIGITS = 20  # as many as 64 bits have, with the sign
_TOO_DEEP = f"it holds lists or objects nested more than {_MAX_JSON_DEPTH} levels deep"


@runtime_checkable
class SupportsToList(Protocol):
    """Arrays and numbers of numpy and torch."""

    def tolist(self) -> Any: ...


def is_temporary(path: Path) -> bool:
    """Whether `path` is an unfinished file of `atomic_path`, left by a process that was killed."""
    return path.name.startswith(".unfinished-")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` only if all went well.

    The yielded name ends as that of `path` does, since libraries choose a format by it. Use
    `atomic_file` wherever a library writes to an open file: not every library notices a full disk.

    Raises:
        WriteError: the file, or a folder above it, cannot be written; `path` is as it was.
    """
    unfinished = _unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as failure:
        raise _not_written(failure, unfinished, path) from failure
    finally:
        with suppress(OSError):  # the folder may be read-only, or no folder
            unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield an open file, which takes the place of `path` only once it is whole.

    Raises:
        WriteError: as `atomic_path`, even if the writing library swallowed or reworded the
            operating system's error.
    """
    with atomic_path(path) as unfinished:
        raw = _File(unfinished, "wb")
        try:
            with io.BufferedWriter(raw) as file:
                yield file
        except Exception:
            if raw.failure is None:
                raise
        if raw.failure is not None:
            raise raw.failure


@final
class _File(io.FileIO):
    """A file that remembers that a write failed."""

    failure: OSError | None = None

    def write(self, content: Any) -> Any:
        """Write what fits, as every file does."""
        try:
            return super().write(content)
        except OSError as failure:
            self.failure = failure
            raise


def require_writable(path: Path) -> None:
    """Check, before any work starts, whether `path` can be written.

    Folders above it are made.

    Raises:
        WriteError: it cannot.
    """
    unfinished = _unfinished(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        unfinished.unlink()
        with suppress(FileNotFoundError):
            path.lstat()  # notices a name that is too long
    except OSError as failure:
        raise _not_written(failure, unfinished, path) from failure


def _not_written(failure: OSError, unfinished: Path, path: Path) -> WriteError:
    """Return the error of `path`, unless the failure names another file than `unfinished`."""
    is_ours = failure.filename is None or failure.filename in (unfinished, str(unfinished))
    return WriteError(explain(failure, path=path if is_ours else None))


def _unfinished(path: Path) -> Path:
    """Return a new name beside `path`: never longer than a name that a user could give."""
    return path.with_name(f".unfinished-{uuid4().hex[:16]}-{path.name[-_KEPT_CHARACTERS:]}")


_KEPT_CHARACTERS = 40  # at most 160 bytes, in any script


def remove_unfinished(folder: Path) -> None:
    """Delete leftovers of killed processes in `folder` (not in its sub-folders)."""
    for path in folder.glob(".unfinished-*"):
        path.unlink(missing_ok=True)


def remove_unfinished_file(path: Path) -> None:
    """Delete what killed processes left of `path` alone, which nobody else may write now."""
    if len(path.name) <= _KEPT_CHARACTERS:  # of a longer name, the rest may be of another
        for each in path.parent.glob(f".unfinished-{'?' * 16}-{glob.escape(path.name)}"):
            each.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically.

    Raises:
        WriteError: see `atomic_path`.
    """
    with atomic_file(path) as file:
        file.write(content)


def copy_file(source: Path, target: Path) -> None:
    """Copy a small file atomically."""
    write_bytes(target, source.read_bytes())


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, in UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` atomically; dataclasses, paths and numpy values are converted.

    Raises:
        TypeError: `content` holds something else that JSON cannot.
        ValueError: `content` holds NaN or an infinite number; use None for "undefined".
    """
    text = json.dumps(content, indent=2, default=_to_json, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def hash_of(content: Any) -> str:
    """Return 16 hexadecimal digits that depend on all of `content`, which JSON can hold."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()


def as_json(content: Any) -> Any:
    """Return `content` as `read_json` would after `write_json`: lists for tuples, plain numbers.

    Raises:
        TypeError, ValueError: as `write_json`.
    """
    return json.loads(json.dumps(content, default=_to_json, allow_nan=False))


def read_json(
    path: Path, error: type[DiffunetError] = DiffunetError, *, remedy: str = _RESTORE
) -> Any:
    """Return the content of a JSON file; a byte order mark before it is skipped.

    Args:
        remedy: how the user gets a valid file: the command that writes it, if it is one of ours.

    Raises:
        error: the file is missing, or is not JSON as `parse_json` takes it; the message names file,
            line and column.
    """
    otherwise = "" if remedy == _RESTORE else f"; {remedy}"
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise error(f"'{path}' does not exist{otherwise}") from None
    except IsADirectoryError:
        raise error(f"'{path}' is a folder, expected a file{otherwise}") from None
    except ValueError as cause:
        raise error(f"'{path}' is not valid JSON: {cause}; {remedy}") from None
    except OSError as cause:
        raise error(f"{explain(cause, path=path)}") from None


def read_object(
    path: Path, error: type[DiffunetError] = DiffunetError, *, remedy: str = _RESTORE
) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

    Args:
        remedy: as for `read_json`.

    Raises:
        error: as `read_json`, or it holds something else.
    """
    content = read_json(path, error, remedy=remedy)
    if not isinstance(content, dict):
        raise error(
            f"'{path}' should hold an object with named fields, found "
            f"{type(content).__name__}; {remedy}"
        )
    return content


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON that somebody else may have written.

    It refuses more than `json.loads`, so that callers can compare, convert and show the result
    safely: numbers that are not finite or have more than 64 bits, text that is not UTF-8, a key
    that an object has twice, and lists nested too deep.

    Raises:
        ValueError: it is not such JSON.
    """
    if isinstance(text, bytes):
        text = _decoded(text)
    try:
        content = json.loads(
            text,
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_not_a_number,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_parsed(content)
    return content


def _decoded(text: bytes) -> str:
    """Return text in UTF-8, or in UTF-16 or UTF-32, which some programs of Windows write."""
    try:
        return text.decode(json.detect_encoding(text))
    except UnicodeDecodeError as cause:
        byte = text[cause.start]
        raise ValueError(
            f"the byte 0x{byte:02x} at position {cause.start} is no text in UTF-8; save it as UTF-8"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object that has the key '{twice}' twice; keep one")
    return content


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS:
        raise ValueError(f"a number of {len(text)} digits; numbers have at most 64 bits")
    number = int(text)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"the number {text}; numbers have at most 64 bits")
    return number


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]}; the largest is 1.8e308")
    return number


def _not_a_number(text: str) -> float:
    raise ValueError(f"the value {text}; numbers are finite, and null means 'undefined'")


def _check_parsed(content: Any) -> None:
    level = [content]
    for _ in range(_MAX_JSON_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str) and not value.isascii():
                value.encode("utf-8")  # raises UnicodeEncodeError for half of a character
        if not below:
            return
        level = below
    raise ValueError(_TOO_DEEP)


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, SupportsToList):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
