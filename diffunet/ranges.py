"""The allowed numbers and names: stated once, beside name and default, and valid everywhere.

A field declares it in its type: `num_steps: Annotated[int, Range(1, 10_000)] = 10`. The dataclass
calls `check_ranges` in `__post_init__`, so that no instance exists outside of its ranges, whether
it came from a file, from `--set`, from a flag or from Python.
"""

import dataclasses
import functools
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Annotated, Any, Literal, Union, final


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `lowest` to `highest`; NaN and infinity are in no range.

    Attributes:
        is_above: `lowest` itself is not allowed.
        is_below: `highest` itself is not allowed.
        is_odd: even numbers are not allowed.
    """

    lowest: float
    highest: float
    is_above: bool = False
    is_below: bool = False
    is_odd: bool = False

    def __contains__(self, value: float) -> bool:
        is_high = value > self.lowest if self.is_above else value >= self.lowest
        is_low = value < self.highest if self.is_below else value <= self.highest
        return is_high and is_low and (value % 2 == 1 or not self.is_odd)

    def __str__(self) -> str:
        end = f"below {self.highest:.15g}" if self.is_below else f"{self.highest:.15g}"
        if not self.is_above:
            return f"{'odd, ' if self.is_odd else ''}from {self.lowest:.15g} to {end}"
        return f"above {self.lowest:.15g}, {'' if self.is_below else 'at most '}{end}"


@dataclasses.dataclass(frozen=True)
class Length:
    """How many entries a tuple may have."""

    fewest: int
    most: int

    def __str__(self) -> str:
        if self.fewest == self.most:
            return f"{self.fewest} entries"
        return f"{self.fewest} to {self.most} entries"


@final
class OneOf:
    """The names in a registry, or in several, as they are whenever somebody asks."""

    def __init__(self, *registries: Mapping[str, Any]):
        self._registries = registries

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(*self._registries)

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if value in list(self):
            return None
        return f"{value!r:.80} is not one of {', '.join(map(repr, self))}"


def check_ranges(record: Any) -> None:
    """Check every number and name of a dataclass against what its field's type declares.

    Raises:
        ValueError: a value outside, with the field, the range and the value.
    """
    for name, hint in _hints(type(record)).items():
        for fault in _faults(name, hint, getattr(record, name)):
            raise ValueError(fault)


def range_of(cls: type, name: str) -> Range:
    """Return the range of one number of a dataclass, for code that sets it in another way."""
    return next(each for each in typing.get_args(_hints(cls)[name])[1:] if isinstance(each, Range))


def choices_of(cls: type, name: str) -> tuple[Any, ...]:
    """Return what one field of a dataclass may be; empty where that is no list of choices."""
    return choices_in(_hints(cls)[name])


def choices_in(hint: Any) -> tuple[Any, ...]:
    """Return the choices that a type declares, as a `Literal` or as `OneOf`."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return tuple(
        name
        for each in getattr(hint, "__metadata__", ())
        if isinstance(each, OneOf)
        for name in each
    )


def ranges_in(hint: Any) -> tuple[Range | Length, ...]:
    """Return what a type declares, from the outside to the inside."""
    found = tuple(
        each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Range | Length)
    )
    return found + tuple(each for inner in typing.get_args(hint) for each in ranges_in(inner))


def _faults(name: str, hint: Any, value: Any) -> Iterator[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        inner, *declared = arguments
        for each in declared:
            if isinstance(each, Range):
                yield from _number_faults(name, inner, each, value)
            elif isinstance(each, Length) and not each.fewest <= len(value) <= each.most:
                yield f"{name} should have {each}, got {len(value)}"
            elif isinstance(each, OneOf) and (fault := each.fault(value)):
                yield f"{name}: {fault}"
        yield from _faults(name, inner, value)
    elif origin in (Union, types.UnionType) and value is not None:
        (inner,) = (each for each in arguments if each is not type(None))
        yield from _faults(name, inner, value)
    elif origin is tuple and isinstance(value, tuple):
        is_open = len(arguments) == 2 and arguments[1] is Ellipsis
        for index, entry in enumerate(value):
            yield from _faults(f"{name}[{index}]", arguments[0 if is_open else index], entry)


def _number_faults(name: str, kind: type, limits: Range, value: Any) -> Iterator[str]:
    if not _is_number(value) or value not in limits:
        yield f"{name} should be {limits}, got {value!r:.40}"
    elif kind is int and value % 1:
        yield f"{name} should be a whole number {limits}, got {value!r:.40}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)
