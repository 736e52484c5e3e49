"""What the cells of a table mean that has a column for each image-level label."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from diffunet.conversion.tree import refuse_all

Meaning = Literal["0", "1", "unknown"]
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
"""Of a cell that is neither 0 nor 1. With an unknown label, an image is as if no line named it."""

TagLine = tuple[int, Mapping[str, str], str]
"""Number of a line, its cells by column, and the case that it speaks of."""

_VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0}
_VALUES |= {"0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}
_BLANK = {"", "nan", "na", "n/a", "<na>", "null"}
_UNCERTAIN = {"-1", "-1.0", "uncertain"}


@dataclass(frozen=True, kw_only=True)
class CellMeanings:
    """What the user says about cells that are neither 0 nor 1; None where nothing was said.

    Attributes:
        blank: of an empty cell, or one that says that there is no value.
        uncertain: of -1, as in CheXpert's tables.
    """

    blank: Meaning | None = None
    uncertain: Meaning | None = None

    def of(self, cell: str) -> float | None:
        """Return 0 or 1, NaN for unknown, or None for a cell that means nothing."""
        word = cell.strip().lower()
        meaning = None
        if word in _BLANK:
            meaning = self.blank
        elif word in _UNCERTAIN:
            meaning = self.uncertain
        return math.nan if meaning == "unknown" else _VALUES.get(meaning or word)


@dataclass(frozen=True, kw_only=True)
class TagCells:
    """What the cells say of each case.

    Attributes:
        of_cases: case to 1 or 0 for each label; without cases of which a label is not known.
        remarks: what the user should know about how lines were joined.
    """

    of_cases: Mapping[str, Mapping[str, float]]
    remarks: tuple[str, ...]


def read_tag_cells(
    path: Path, lines: Iterable[TagLine], columns: Mapping[str, str], *, meanings: CellMeanings
) -> TagCells:
    """Read the cells of the columns of the labels.

    Where a case has several lines, it shows what any of them says.

    Args:
        path: of the table, for messages.
        columns: label to the name of its column.

    Raises:
        DatasetError: a cell is neither 0 nor 1, and `meanings` says nothing about it; each value is
            named once.
    """
    found: dict[str, dict[str, set[float]]] = defaultdict(lambda: defaultdict(set))
    faulty: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, row, case in lines:
        for label, column in columns.items():
            value = meanings.of(row[column])
            if value is None:
                faulty[column, row[column]].append(number)
            else:
                found[case][label].add(-1.0 if math.isnan(value) else value)
    refuse_all(
        [
            f"{path.name}, line {numbers[0]}: expected 0 or 1 in '{column}', found '{value}'"
            + (f", and in {len(numbers) - 1} more lines" if len(numbers) > 1 else "")
            for (column, value), numbers in faulty.items()
        ],
        remedy="write 0 or 1 there, remove the lines that are not known, or say what empty cells "
        "(--blank) and -1 (--uncertain) mean: 0, 1, or unknown",
    )
    joined = {
        case: {label: _joined(values) for label, values in labels.items()}
        for case, labels in found.items()
    }
    unknown = [case for case, tags in joined.items() if -1.0 in tags.values()]
    remarks = [
        f"{count} images have lines that disagree about '{label}'; they count as showing it"
        for label in columns
        if (count := sum({0.0, 1.0} <= labels[label] for labels in found.values()))
    ]
    if unknown:
        remarks.append(
            f"of {len(unknown)} of {len(joined)} images a label is unknown: they count as images "
            "that no line names"
        )
    known = {case: tags for case, tags in joined.items() if -1.0 not in tags.values()}
    return TagCells(of_cases=known, remarks=tuple(remarks))


def _joined(values: set[float]) -> float:
    """Return 1 where a line says so, -1 where no line does and one does not know, else 0."""
    if 1.0 in values:
        return 1.0
    return -1.0 if -1.0 in values else 0.0
