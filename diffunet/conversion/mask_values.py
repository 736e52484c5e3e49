"""What the values of masks mean where labels are named: 1, 2, ..., or other values."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from diffunet.conversion.binary import MaskRule, binary_mask
from diffunet.errors import DatasetError, UsageError

_MOST_SHOWN = 6


def mask_rule(labels: Sequence[str], values: Sequence[str]) -> MaskRule:
    """Return what makes label maps of masks.

    Args:
        labels: their names; where there is one, and no values, a mask is black and white.
        values: in the masks, of the background and of each label, such as ("0,1,6", "3", "4");
            empty for 0, 1, 2, ...

    Raises:
        UsageError: there are not as many values as labels and background, or one is no integer, or
            occurs twice.
    """
    if values:
        return partial(_valued, names=labels, numbers=_numbers(labels, values))
    return binary_mask if len(labels) == 1 else partial(_numbered, names=labels)


def _numbers(labels: Sequence[str], values: Sequence[str]) -> Mapping[int, int]:
    """Return each value that may be in a mask, with its label."""
    if len(values) != len(labels) + 1:
        raise UsageError(
            f"--values: expected {len(labels) + 1}: of the background and of "
            f"{', '.join(labels)}; got {len(values)}: {' '.join(values)}"
        )
    numbers: dict[int, int] = {}
    for label, text in enumerate(values):
        for part in text.split(","):
            value = _integer(part, text)
            if value in numbers:
                raise UsageError(
                    f"--values: expected each value once, got {value} again in '{text}'"
                )
            numbers[value] = label
    return numbers


def _integer(part: str, text: str) -> int:
    try:
        return int(part)
    except ValueError:
        raise UsageError(
            f"--values: expected integers, those of one label joined by commas (0,1,6), got "
            f"'{text}'"
        ) from None


def _numbered(mask: np.ndarray, *, where: str, names: Sequence[str]) -> np.ndarray:
    found = [int(value) for value in np.unique(mask)]
    if found[0] < 0 or found[-1] > len(names):
        raise DatasetError(
            f"{where}: expected the labels 0 to {len(names)}, for {', '.join(names)} of --labels, "
            f"found {_shown(found)}; name all labels, say which value is which (--values), or "
            "correct the mask"
        )
    return mask


def _valued(
    mask: np.ndarray, *, where: str, names: Sequence[str], numbers: Mapping[int, int]
) -> np.ndarray:
    found, places = np.unique(mask, return_inverse=True)
    if unknown := [int(value) for value in found if int(value) not in numbers]:
        raise DatasetError(
            f"{where}: expected the values {', '.join(map(str, numbers))} of --values, for the "
            f"background and {', '.join(names)}, found {_shown(unknown)}; name these too, or "
            "correct the mask"
        )
    labels = np.array([numbers[int(value)] for value in found], np.min_scalar_type(len(names)))
    return labels[places].reshape(mask.shape)


def _shown(values: Sequence[int]) -> str:
    more = f" and {len(values) - _MOST_SHOWN} more" if len(values) > _MOST_SHOWN else ""
    return ", ".join(map(str, values[:_MOST_SHOWN])) + more
