"""Frozen dataclasses from JSON, strictly: every fault is an error with its path."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, Union

from diffunet.errors import DiffunetError
from diffunet.ranges import Length, OneOf

Record = TypeVar("Record")

_LARGEST_NUMBER = 1e300  # a float holds it; what is beyond, infinity and NaN are no values of ours
_LONGEST_SHOWN = 80


def record_from_json(
    cls: type[Record], content: Any, *, where: str, error: type[DiffunetError]
) -> Record:
    """Build the dataclass `cls` from `content`, as `json.loads` gave it.

    Fields may be bool, int, float, str, Literal, OneOf, X | None, tuple[X, ...], tuple[X, Y],
    dict[str, X], Any and dataclasses of these, with ranges (`diffunet.ranges`) that the dataclass
    checks itself. An int is accepted for a float; NaN and infinity are accepted nowhere.

    Args:
        where: path of `content`, for messages ("diffunet_plans.json: configurations.2d").
        error: class of the exception for a fault in `content`.

    Raises:
        error: unknown or missing key, wrong type, value outside its Literal, or a ValueError of
            `__post_init__`; the message starts with the full path of the field.
    """
    if not isinstance(content, Mapping):
        raise error(f"{where}: expected an object with named fields, found {_shown(content)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(content) - set(fields))
    if unknown:
        raise error(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(fields))}")
    missing = [
        name for name, field in fields.items() if _is_required(field) and name not in content
    ]
    if missing:
        raise error(f"{where}: the key {missing[0]!r} is missing")
    hints = _type_hints(cls)
    values = {
        name: value_from_json(hints[name], content[name], where=f"{where}.{name}", error=error)
        for name in fields
        if name in content
    }
    try:
        return cls(**values)
    except ValueError as cause:
        raise error(f"{where}: {cause}") from None


def value_from_json(hint: Any, content: Any, *, where: str, error: type[DiffunetError]) -> Any:
    """Return `content` as a value of type `hint`; see `record_from_json`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return content
    if origin is Annotated:
        _check_declared(hint.__metadata__, content, where=where, error=error)
        return value_from_json(arguments[0], content, where=where, error=error)
    if origin in (Union, types.UnionType):
        return _optional_from_json(arguments, content, where=where, error=error)
    if origin is Literal:
        if not any(content == choice and type(content) is type(choice) for choice in arguments):
            choices = ", ".join(repr(choice) for choice in arguments)
            raise error(f"{where}: {_shown(content)} is not one of {choices}")
        return content
    if origin is tuple:
        return _tuple_from_json(arguments, content, where=where, error=error)
    if origin is dict:
        if not isinstance(content, Mapping):
            raise error(f"{where}: expected an object with named fields, found {_shown(content)}")
        return {
            key: value_from_json(arguments[1], value, where=f"{where}.{key}", error=error)
            for key, value in content.items()
        }
    if dataclasses.is_dataclass(hint):
        return record_from_json(hint, content, where=where, error=error)  # type: ignore[arg-type]
    return _scalar_from_json(hint, content, where=where, error=error)


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    """Return the types of the fields; found once, since a store has thousands of records."""
    return typing.get_type_hints(cls, include_extras=True)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    no_default = field.default is dataclasses.MISSING
    return no_default and field.default_factory is dataclasses.MISSING


def _optional_from_json(
    arguments: tuple[Any, ...], content: Any, *, where: str, error: type[DiffunetError]
) -> Any:
    if content is None and type(None) in arguments:
        return None
    others = [argument for argument in arguments if argument is not type(None)]
    if len(others) != 1:
        raise TypeError(f"{where}: only X | None is supported, not {arguments}")
    return value_from_json(others[0], content, where=where, error=error)


def _check_declared(
    declared: tuple[Any, ...], content: Any, *, where: str, error: type[DiffunetError]
) -> None:
    """Refuse an unknown name, and a list that is too long before its entries are gone through."""
    for each in declared:
        if isinstance(each, OneOf):
            if fault := each.fault(content):
                raise error(f"{where}: {fault}")
        elif (
            isinstance(each, Length)
            and isinstance(content, list | tuple)
            and not each.fewest <= len(content) <= each.most
        ):
            raise error(f"{where}: expected {each}, found {len(content)}")


def _tuple_from_json(
    arguments: tuple[Any, ...], content: Any, *, where: str, error: type[DiffunetError]
) -> tuple[Any, ...]:
    if not isinstance(content, list | tuple):
        raise error(f"{where}: expected a list, found {_shown(content)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        hints = (arguments[0],) * len(content)
    else:
        hints = arguments
        if len(content) != len(hints):
            raise error(f"{where}: expected {len(hints)} values, found {len(content)}")
    return tuple(
        value_from_json(hint, value, where=f"{where}[{index}]", error=error)
        for index, (hint, value) in enumerate(zip(hints, content, strict=True))
    )


def _scalar_from_json(hint: Any, content: Any, *, where: str, error: type[DiffunetError]) -> Any:
    is_number = isinstance(content, int | float) and not isinstance(content, bool)
    if hint in (int, float) and is_number and not abs(content) <= _LARGEST_NUMBER:
        raise error(f"{where}: expected a number of ordinary size, found {_shown(content)}")
    if hint is float and is_number:
        return float(content)
    if hint is int and is_number and content == int(content):
        return int(content)
    if hint in (bool, str) and isinstance(content, hint):
        return content
    raise error(f"{where}: expected {hint.__name__}, found {_shown(content)}")


def _shown(content: Any) -> str:
    """Return `content` for a message, cut where it is long."""
    text = repr(content)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
