"""JSON files, and files of any kind that are either whole or absent."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from diffunet.errors import DiffunetError

_MAX_JSON_DEPTH = 64
_MAX_INTEGER_DIGITS = 20  # as many as 64 bits have, with the sign
_TOO_DEEP = f"it holds lists or objects within one another more than {_MAX_JSON_DEPTH} times"


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

    The yielded name keeps the suffixes of `path`, since libraries choose a format by them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".unfinished-{uuid4().hex}-{path.name}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what killed processes left in `folder` (not in its sub-folders)."""
    for path in folder.glob(".unfinished-*"):
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(content)


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


def as_json(content: Any) -> Any:
    """Return `content` as `read_json` would after `write_json`: lists for tuples, plain numbers.

    Raises:
        TypeError, ValueError: as `write_json`.
    """
    return json.loads(json.dumps(content, default=_to_json, allow_nan=False))


def read_json(path: Path, error: type[DiffunetError] = DiffunetError) -> Any:
    """Return the content of a JSON file; a byte order mark before it is skipped.

    Raises:
        error: the file is missing, or is not JSON as `parse_json` takes it; the message names file,
            line and column.
    """
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise error(f"'{path}' does not exist") from None
    except ValueError as cause:
        raise error(f"'{path}' is not valid JSON: {cause}; mend or remove the file") from None
    except OSError as cause:
        raise error(f"'{path}' cannot be read: {cause}") from None


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON that somebody else may have written.

    More is refused than by `json.loads`, so that what comes back can be compared, converted and
    shown without a second thought: numbers that are not finite or have more than 64 bits, text
    that has no UTF-8, and lists within lists without end.

    Raises:
        ValueError: it is not such JSON.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        content = json.loads(
            text, parse_int=_integer, parse_float=_real, parse_constant=_not_a_number
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_parsed(content)
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
