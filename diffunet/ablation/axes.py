"""What a sweep varies: fields of the plans, each with its values, and how these are combined."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffunet.errors import UsageError

_OPENING, _CLOSING = "[{", "]}"

Setting = Mapping[str, str]
"""A value, as a user writes it, of each field that is set."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A field of the plans, and the values that it takes.

    Attributes:
        path: relative to a configuration, as of `--set`; of a group, whose values are presets, too.
        values: as the user wrote them.
    """

    path: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the path, which says what it is."""
        return self.path.rpartition(".")[2]


def parse_axes(words: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes of words like "diffusion.input_scale=1,0.3,0.1".

    Raises:
        UsageError: all that is wrong with the words.
    """
    axes: list[Axis] = []
    faults: list[str] = []
    for word in words:
        path, separator, text = (part.strip() for part in word.partition("="))
        values = split_values(text)
        if not (separator and path and values and all(values)):
            faults.append(
                f"--over {word}: expected path.to.field=value,value,..., for example "
                "diffusion.input_scale=1,0.3,0.1"
            )
        elif len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            faults.append(f"--over {word}: the value {twice} stands there twice; give it once")
        elif any(axis.path == path for axis in axes):
            faults.append(f"--over {word}: '{path}' is varied twice; give all its values at once")
        else:
            axes.append(Axis(path=path, values=tuple(values)))
    if faults:
        raise UsageError("\n".join(faults))
    return tuple(axes)


def split_values(text: str) -> list[str]:
    """Return what stands between the commas outside of brackets, braces and quotation marks."""
    parts, depth, is_quoted = [""], 0, False
    for place, character in enumerate(text):
        if character == '"' and text[place - 1 : place] != "\\":
            is_quoted = not is_quoted
        if not is_quoted:
            depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0 and not is_quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def combinations(
    axes: Sequence[Axis], *, one_at_a_time: bool, has_own: bool = True
) -> list[Setting]:
    """Return what each variant sets; the plans' own variant, which sets nothing, comes first.

    Args:
        one_at_a_time: vary one axis, and leave the others as planned; otherwise take all
            combinations.
        has_own: have the plans' own variant too.
    """
    varied: list[Setting]
    if one_at_a_time:
        varied = [{axis.path: value} for axis in axes for value in axis.values]
    else:
        paths = [axis.path for axis in axes]
        varied = [
            dict(zip(paths, chosen, strict=True))
            for chosen in itertools.product(*(axis.values for axis in axes))
        ]
    return [{}, *varied] if has_own else varied
