"""The structures that a download's masks show, as labels or regions of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from diffunet.conversion.wishes import chosen
from diffunet.errors import DatasetError, UsageError
from diffunet.labels import LabelScheme


@dataclass(frozen=True, kw_only=True)
class Structures:
    """The structures that were chosen.

    Attributes:
        description: `labels`, and `regions_class_order` where some overlap, for `dataset.json`.
        written: value in a mask of the download to the integer that stands for it.
    """

    description: Mapping[str, Any]
    written: Mapping[int, int]

    @property
    def scheme(self) -> LabelScheme:
        return LabelScheme.from_dataset_json(self.description)

    def label_map(self, mask: np.ndarray, *, where: str) -> np.ndarray:
        """Return the label map, uint8, of a mask: a `MaskRule`.

        Raises:
            DatasetError: it holds a value that stands for nothing.
        """
        found = [int(value) for value in np.unique(mask)]
        if unknown := [value for value in found if value not in self.written]:
            raise DatasetError(
                f"{where}: expected a mask of the values {_in_words(sorted(self.written))}, found "
                f"{unknown[0]}; copy the file again; masks of other releases may have other values"
            )
        table = np.zeros(max(found) + 1, np.uint8)
        for value in found:
            table[value] = self.written[value]
        return table[mask]


def choose_structures(
    known: Mapping[str, Sequence[int]], asked: tuple[str, ...], *, default: tuple[str, ...] = ()
) -> Structures:
    """Return the labels of the structures that were asked for; `default`, or all, if none.

    Voxels of the same structures get the same integer, counted from 1 in the order of the last
    structure that they belong to.

    Args:
        known: name to its values in a mask; a structure stands behind those that it is part of.

    Raises:
        UsageError: a name is not known, or means no more than others together.
    """
    names = chosen(asked, tuple(known), what="labels", default=default)
    values = sorted({value for each in known.values() for value in each})
    belongs = {
        value: tuple(index for index, name in enumerate(names) if value in known[name])
        for value in values
    }
    groups = sorted({group for group in belongs.values() if group}, key=itemgetter(-1))
    if [group[-1] for group in groups] != list(range(len(names))):
        raise UsageError(
            f"--labels: expected structures that each have a part of their own, got "
            f"{', '.join(names)}; leave out those that the others make up"
        )
    integers = [
        [number for number, group in enumerate(groups, start=1) if index in group]
        for index in range(len(names))
    ]
    labels = {
        name: each if len(each) > 1 else each[0] for name, each in zip(names, integers, strict=True)
    }
    description: dict[str, Any] = {"labels": {"background": 0} | labels}
    if any(len(each) > 1 for each in integers):
        description["regions_class_order"] = list(range(1, len(names) + 1))
    written = {value: groups.index(group) + 1 if group else 0 for value, group in belongs.items()}
    return Structures(description=description, written={0: 0} | written)


def _in_words(values: Sequence[int]) -> str:
    """Return "0, 56 to 70, 255" for sorted values."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )
