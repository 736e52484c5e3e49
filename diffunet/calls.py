"""What a function does first that users call from Python: its arguments, and torch as it needs it.

Notebooks give numbers of numpy, text for a path, and one where several may stand. And torch there
may be in the middle of the caller's own work: without gradients, in another precision, or with
another device for new tensors.
"""

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union

from diffunet.errors import UsageError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _UnfitError(Exception):
    """A value is not what a type declares."""


def from_python(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let users call a function from anywhere.

    Its arguments may have the forms of notebooks, and are what its annotations say when it begins.
    Torch is as it was imported, and is given back as the caller had it, random state included.

    Raises:
        UsageError: an argument is of another type; the message says which one.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = _argument(name, hints[name], value)
        with own_torch_state():
            return function(*bound.args, **bound.kwargs)

    return wrapped


@contextlib.contextmanager
def own_torch_state() -> Iterator[None]:
    """Have torch as it was imported, whatever the caller set; the caller's state returns after."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    dtype = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function)


def _argument(name: str, hint: Any, value: Any) -> Any:
    try:
        return _fitted(hint, value)
    except _UnfitError:
        raise UsageError(f"{name}: expected {_words(hint)}, got {value!r:.80}") from None


def _fitted(hint: Any, value: Any) -> Any:
    """Return a value as a type declares it; what is of no type that is known here stays as it is.

    Raises:
        _UnfitError: it is something else.
    """
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _fitted_to_one(typing.get_args(hint), value)
    if origin is Sequence:
        return _several(typing.get_args(hint)[0], value)
    if origin is Literal:
        return _one_of(typing.get_args(hint), value)
    if hint in _KINDS:
        return _KINDS[hint][1](_plain(value))
    if getattr(hint, "_is_protocol", False):
        return _called(value)
    return _instance(hint, value) if dataclasses.is_dataclass(hint) else value


def _fitted_to_one(hints: Sequence[Any], value: Any) -> Any:
    # one of the plain types goes before a list that would have it as its only entry
    for hint in sorted(hints, key=lambda hint: typing.get_origin(hint) is Sequence):
        with contextlib.suppress(_UnfitError):
            fitted = _fitted(hint, value)
            is_path = isinstance(fitted, str) and Path in hints
            return os.path.expanduser(fitted) if is_path else fitted  # noqa: PTH111
    raise _UnfitError


def _several(hint: Any, value: Any) -> tuple[Any, ...]:
    with contextlib.suppress(_UnfitError):
        return (_fitted(hint, value),)
    given = _plain(value)
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise _UnfitError
    return tuple(_fitted(hint, entry) for entry in given)


def _one_of(choices: Sequence[Any], value: Any) -> Any:
    given = _plain(value)
    for choice in choices:
        if given == choice and type(given) is type(choice):
            return choice
    raise _UnfitError


def _whole(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _instance(int, value)


def _number(value: Any) -> float:
    return value if isinstance(value, float) else _instance(int, value)


def _instance(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _UnfitError
    return value


def _path(value: Any) -> Path:
    text = _instance(str, os.fspath(value) if isinstance(value, os.PathLike) else value)
    return Path(os.path.expanduser(text))  # noqa: PTH111 (leaves it where there is no home)


def _text(value: Any) -> str:
    torch = sys.modules.get("torch")
    is_device = torch is not None and isinstance(value, torch.device)
    return str(value) if is_device else _instance(str, value)


_KINDS: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    int: ("a whole number", _whole),
    float: ("a number", _number),
    str: ("text", _text),
    Path: ("a path", _path),
    bool: ("True or False", functools.partial(_instance, bool)),
    types.NoneType: ("None", functools.partial(_instance, types.NoneType)),
}
"""Of each type: what it is called, and what returns a value of it."""


def _called(value: Any) -> Any:
    """Return a function that is given for a protocol's; tqdm itself may be one that shows progress.

    It takes what it describes before the total, and is what notebooks have.
    """
    if not callable(value):
        raise _UnfitError
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if tqdm is not None and isinstance(value, type) and issubclass(value, tqdm):
        return lambda items, total, description: value(items, total=total, desc=description)
    return value


def _plain(value: Any) -> Any:
    """Return a number or an array of numpy, pandas or torch as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def _words(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        said = [each for each in arguments if each is not str or Path not in arguments]
        return " or ".join(map(_words, said))
    if origin is Sequence:
        return f"a list (of {_words(arguments[0])})"
    if origin is Literal:
        choices = [repr(each) for each in arguments]
        return " or ".join(choices) if len(choices) < 3 else f"one of {', '.join(choices)}"
    if hint in _KINDS:
        return _KINDS[hint][0]
    if getattr(hint, "_is_protocol", False):
        return "a function"
    return f"a {hint.__name__}"
