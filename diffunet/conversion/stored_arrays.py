"""Pickles of arrays, read without running what they say.

A pickle is a program. Here its steps are followed for plain containers, numbers, texts and numpy's
arrays alone, by a small interpreter that calls nothing it names. Arrays stay in the file until one
is read, so that a file of any size takes little memory.
"""

import mmap
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np

from diffunet.data.image_io.bounds import require_room
from diffunet.errors import DatasetError

_LATIN1 = "latin-1"
_LONGEST_TEXT = 10_000  # bytes
_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
_TEXTS = re.compile(r"[US][0-9]{1,4}")
_ORDERS = {"<": "<", ">": ">", "|": "=", "=": "="}


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredArray:
    """An array in a pickle, by the place of its bytes.

    Attributes:
        path: of the pickle.
        start, stop: of its bytes in the file.
        is_text: each byte is a character, in UTF-8: so protocol 2 has them from Python 3.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    order: str
    start: int
    stop: int
    is_text: bool

    def read(self) -> np.ndarray:
        """Return the array.

        Raises:
            DatasetError: the file is no longer what it was, or holds too few bytes.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.stop - self.start)
        try:
            content = content.decode("utf-8").encode(_LATIN1) if self.is_text else content
            flat = np.frombuffer(content, self.dtype)
            return flat.reshape(self.shape, order=self.order)  # pyright: ignore[reportCallIssue, reportArgumentType]
        except ValueError as cause:
            raise DatasetError(
                f"'{self.path}': expected {prod(self.shape)} numbers of an array at byte "
                f"{self.start}, found other content; copy the file again"
            ) from cause


def read_stored(path: Path) -> Any:
    """Return what a pickle holds, with a `StoredArray` for each array.

    Raises:
        DatasetError: it is no whole pickle of protocol 2 to 5, or names anything but numpy's
            arrays. Nothing of it was run.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Interpreter(path, data).run()
    except (LookupError, struct.error, TypeError, ValueError, OverflowError, OSError) as cause:
        raise DatasetError(
            f"'{path}': expected a pickle of arrays, found a file that ends early or is none "
            f"({type(cause).__name__}: {cause}); copy it again"
        ) from cause


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes or text in the file; `is_text` if UTF-8."""

    start: int
    stop: int
    is_text: bool


@dataclass(frozen=True)
class _Name:
    """What a pickle would import."""

    module: str
    name: str


@dataclass
class _Dtype:
    code: str
    order: str = "="


@dataclass(slots=True)
class _Empty:
    """An array before its content is told."""

    content: StoredArray | None = None


_MARK = object()
_CORE = ("numpy.core", "numpy._core")  # before numpy 2, and since
_RECONSTRUCT = {_Name(f"{core}.multiarray", "_reconstruct") for core in _CORE}
_FROM_BUFFER = {_Name(f"{core}.numeric", "_frombuffer") for core in _CORE}
_SCALAR = {_Name(f"{core}.multiarray", "scalar") for core in _CORE}
_ENCODE = _Name("_codecs", "encode")
_ARRAY, _DTYPE_NAME = _Name("numpy", "ndarray"), _Name("numpy", "dtype")
_KNOWN = {*_RECONSTRUCT, *_FROM_BUFFER, *_SCALAR, _ENCODE, _ARRAY, _DTYPE_NAME}


@final
class _Interpreter:
    """Follows the steps of one pickle, and refuses all that it does not know."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data = path, data
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[int, Callable[[], None]] = {
            ord(code): step for code, step in self._table().items()
        }

    def _table(self) -> dict[str, Callable[[], None]]:
        """Return what each step does; the codes are those of Python's `pickletools`."""
        push = self._stack.append
        number = self._number
        numbers = {"K": "<B", "M": "<H", "J": "<i", "G": ">d"}
        constants = {"N": None, "\x88": True, "\x89": False}
        texts = {"X": "<I", "\x8c": "<B", "\x8d": "<Q"}
        octets = {"U": "<B", "T": "<i", "C": "<B", "B": "<I", "\x8e": "<Q", "\x96": "<Q"}
        tuples = {")": 0, "\x85": 1, "\x86": 2, "\x87": 3}
        puts, gets = {"q": "<B", "r": "<I"}, {"h": "<B", "j": "<I"}
        return {
            "\x80": self._protocol,
            "\x95": lambda: self._skip(8),
            "(": lambda: push(_MARK),
            "]": lambda: push([]),
            "}": lambda: push({}),
            **{c: (lambda f=f: push(number(f))) for c, f in numbers.items()},
            **{c: (lambda v=v: push(v)) for c, v in constants.items()},
            **{c: (lambda f=f: push(self._span(f, is_text=True))) for c, f in texts.items()},
            **{c: (lambda f=f: push(self._span(f, is_text=False))) for c, f in octets.items()},
            **{c: (lambda n=n: push(self._pop_tuple(n))) for c, n in tuples.items()},
            **{c: (lambda f=f: self._put(number(f))) for c, f in puts.items()},
            **{c: (lambda f=f: push(self._memo[number(f)])) for c, f in gets.items()},
            "\x8a": lambda: push(int.from_bytes(self._take(number("<B")), "little", signed=True)),
            "\x94": lambda: self._put(len(self._memo)),
            "t": lambda: push(tuple(self._pop_to_mark())),
            "a": lambda: self._append([self._stack.pop()]),
            "e": lambda: self._append(self._pop_to_mark()),
            "s": lambda: self._set([self._stack.pop(-2), self._stack.pop()]),
            "u": lambda: self._set(self._pop_to_mark()),
            "c": lambda: self._name(self._line(), self._line()),
            "\x93": lambda: self._name(*map(self._text, self._pop_tuple(2))),
            "R": self._reduce,
            "b": self._build,
        }

    def run(self) -> Any:
        """Return what the pickle stands for."""
        while (code := self._data[self._at]) != ord("."):
            self._at += 1
            step = self._steps.get(code)
            if step is None:
                raise self._refusal(f"the step {chr(code)!r}")
            step()
        return self._plain(self._stack.pop())

    def _refusal(self, found: str) -> DatasetError:
        return DatasetError(
            f"'{self._path}': expected a pickle, of protocol 2 to 5, of numpy's arrays, numbers, "
            f"texts, lists, tuples and dicts alone; found {found} at byte {self._at}. A pickle can "
            "run any program; nothing of this one was run. Download it again from its source"
        )

    def _protocol(self) -> None:
        if not 2 <= self._number("<B") <= 5:
            raise self._refusal("another protocol")

    def _skip(self, count: int) -> None:
        if not 0 <= count <= len(self._data) - self._at:
            raise IndexError(f"{count} bytes expected after byte {self._at}")
        self._at += count

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return self._data[start : self._at]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + _LONGEST_TEXT)
        if end < 0:
            raise self._refusal("a name without an end")
        line = self._take(end - self._at).decode("utf-8", "replace")
        self._skip(1)
        return line

    def _span(self, form: str, *, is_text: bool) -> _Span:
        count = self._number(form)
        start = self._at
        self._skip(count)
        return _Span(start, self._at, is_text)

    def _text(self, value: Any) -> str:
        """Return a text of the file; Python 2 has bytes where Python 3 has text."""
        if not isinstance(value, _Span):
            raise self._refusal(f"{type(value).__name__} in place of a text")
        if value.stop - value.start > _LONGEST_TEXT:
            raise self._refusal(f"a text of {value.stop - value.start} bytes")
        content = self._data[value.start : value.stop]
        return content.decode("utf-8" if value.is_text else _LATIN1)

    def _plain(self, value: Any) -> Any:
        """Return what may stand in a container."""
        if isinstance(value, _Span):
            return self._text(value)
        if isinstance(value, tuple):
            if any(isinstance(each, tuple) for each in value):
                raise self._refusal("a tuple in a tuple")  # a few shared ones can unfold to many
            return tuple(map(self._plain, value))
        if isinstance(value, _Empty):
            return value.content
        if isinstance(value, (_Name, _Dtype)) or value is _MARK:
            raise self._refusal(f"{value} as a value")
        return value

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _pop_tuple(self, length: int) -> tuple[Any, ...]:
        start = len(self._stack) - length
        values = tuple(self._stack[start:])
        del self._stack[start:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        mark = len(self._stack) - 1
        while self._stack[mark] is not _MARK:
            mark -= 1
        values = self._stack[mark + 1 :]
        del self._stack[mark:]
        return values

    def _append(self, values: list[Any]) -> None:
        self._target(list).extend(map(self._plain, values))

    def _set(self, values: list[Any]) -> None:
        keys = [self._plain(key) for key in values[::2]]
        self._target(dict).update(zip(keys, map(self._plain, values[1::2]), strict=True))

    def _target(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise self._refusal(f"content for {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _name(self, module: str, name: str) -> None:
        found = _Name(module, name)
        if found not in _KNOWN:
            raise self._refusal(f"{module}.{name}")
        self._stack.append(found)

    def _reduce(self) -> None:
        """Make what a call would return, without the call."""
        called, arguments = self._pop_tuple(2)
        made: Any
        if called in _RECONSTRUCT and arguments[0] == _ARRAY:
            made = _Empty()
        elif called == _DTYPE_NAME:
            made = _Dtype(self._text(arguments[0]))
        elif called in _FROM_BUFFER:
            content, dtype, shape, order = arguments
            made = self._array(content, dtype, shape, self._text(order))
        elif called in _SCALAR:
            made = self._scalar(*arguments)
        elif called == _ENCODE and self._text(arguments[1]).replace("-", "") == "latin1":
            made = arguments[0]
        else:
            raise self._refusal(f"a call of {called}")
        self._stack.append(made)

    def _build(self) -> None:
        """Give an array, or a dtype, its content."""
        made, state = self._pop_tuple(2)
        if isinstance(made, _Dtype):
            made.order = _ORDERS[self._text(state[1])]
        elif isinstance(made, _Empty):
            _, shape, dtype, by_columns, content = state
            made.content = self._array(content, dtype, shape, "F" if by_columns else "C")
        else:
            raise self._refusal(f"content for {type(made).__name__}")
        self._stack.append(made)

    def _scalar(self, dtype: Any, content: Any) -> Any:
        """Return the number or text of a numpy scalar."""
        code = dtype.code if isinstance(dtype, _Dtype) else ""
        if not (_NUMBERS.fullmatch(code) or _TEXTS.fullmatch(code)):
            raise self._refusal(f"a scalar of {dtype}")
        text = self._text(content)
        raw = text.encode(_LATIN1) if content.is_text else self._data[content.start : content.stop]
        return np.frombuffer(raw, np.dtype(code).newbyteorder(dtype.order))[0].item()  # pyright: ignore[reportArgumentType]

    def _array(self, content: Any, dtype: Any, shape: Any, order: str) -> StoredArray:
        if not (isinstance(dtype, _Dtype) and _NUMBERS.fullmatch(dtype.code)):
            raise self._refusal(f"an array of {getattr(dtype, 'code', dtype)!r}")
        if not (isinstance(content, _Span)):
            raise self._refusal("an array whose numbers are not in the file")
        array = StoredArray(
            path=self._path,
            shape=tuple(int(size) for size in shape),
            dtype=np.dtype(dtype.code).newbyteorder(dtype.order),  # pyright: ignore[reportArgumentType]
            order=order,
            start=content.start,
            stop=content.stop,
            is_text=content.is_text,
        )
        num_bytes = prod(array.shape) * array.dtype.itemsize
        if min(array.shape, default=0) < 0 or not (
            content.is_text or num_bytes == content.stop - content.start
        ):
            raise self._refusal(f"{content.stop - content.start} bytes for {array.shape} numbers")
        require_room(self._path, shape=array.shape, num_bytes=num_bytes)
        return array
