"""Image-level labels: which labels an image or a slice shows, without saying where."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diffunet.data.raw.case_files import as_cases, listing
from diffunet.data.raw.tables import read_rows, unknown_cases_problem
from diffunet.errors import DatasetError
from diffunet.names import is_number

_CASE, _SLICE = "case", "slice"
_MOST_TOLD = 5  # lines with the same kind of fault; of more, how many there are


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """The table of image-level labels of a dataset.

    Attributes:
        names: of the labels, in the order of dataset.json.
        table: (case, slice) to one 0 or 1 per label. The slice is the index along the first array
            axis of a volume; None means the whole case. Missing entries were not labelled.
    """

    names: tuple[str, ...]
    table: dict[tuple[str, int | None], tuple[int, ...]]

    @cached_property
    def slices(self) -> dict[str, tuple[int, ...]]:
        """The labelled slices of each case that has some, sorted."""
        slices: dict[str, list[int]] = defaultdict(list)
        for case, index in self.table:
            if index is not None:
                slices[case].append(index)
        return {case: tuple(sorted(indices)) for case, indices in slices.items()}

    @cached_property
    def shown(self) -> dict[str, frozenset[str]]:
        """The labels that each case shows, or some slice of it."""
        shown: dict[str, set[str]] = defaultdict(set)
        for (case, _), tags in self.table.items():
            shown[case].update(name for name, tag in zip(self.names, tags, strict=True) if tag)
        return {case: frozenset(labels) for case, labels in shown.items()}

    def of(self, case: str, slice_index: int | None = None) -> tuple[int, ...] | None:
        """Return 0 or 1 per label of a case, or of a slice of it; None where it is not labelled."""
        return self.table.get((case, slice_index))


def read_image_labels(
    path: Path,
    *,
    label_names: Sequence[str],
    training_cases: Collection[str],
    test_cases: Collection[str],
) -> ImageLabels:
    """Read a table with the columns `case`, optionally `slice`, and one per label, of 0 and 1.

    An empty `slice` means the whole case.

    Raises:
        DatasetError: every fault of the table: columns that are not the labels, values other than 0
            and 1, cases that are unknown, there twice or missing, and a label that all or none
            of the training images show, from which nothing can be learned.
    """
    lines = _read_lines(path, label_names)
    problems = lines.problems
    problems += _case_problems(lines.cases, path.name, training_cases, test_cases)
    if not problems:
        problems += _contradictions(lines.table, path.name, label_names)
        problems += _single_class_problems(lines.table, path.name, label_names, set(training_cases))
    if problems:
        raise DatasetError(problems)
    return ImageLabels(names=tuple(label_names), table=lines.table)


def read_given_labels(
    path: Path,
    *,
    label_names: Sequence[str],
    cases: Collection[str],
    num_slices: Callable[[str], int | None],
) -> ImageLabels:
    """Read what a user knows about cases to predict; columns as in `read_image_labels`.

    Cases and slices may be missing. Where each of `cases` has a line, others may have one too: the
    table of a whole dataset will do.

    Args:
        cases: to predict.
        num_slices: of a case, along the first axis of its array; 0 for a two-dimensional image,
            None where it cannot be read. Asked only for cases whose slices have lines.

    Raises:
        DatasetError: every fault of the table: columns that are not the labels, values other than 0
            and 1, unknown cases, cases that are there twice, slices that do not exist.
    """
    lines = _read_lines(path, label_names)
    named, problems = lines.cases, lines.problems
    unknown = named.difference(cases)
    if unknown and not named.issuperset(cases):
        problems.append(
            f"{path.name}: expected names of cases to predict, found {len(unknown)} others "
            f"({listing(unknown)}) and no line for {listing(set(cases) - named)}; "
            f"{as_cases(unknown, cases) or 'correct the names or remove the lines'}"
        )
    labels = ImageLabels(
        names=tuple(label_names),
        table={key: values for key, values in lines.table.items() if key[0] not in unknown},
    )
    for case, indices in labels.slices.items():
        problems += _slice_problems(case, indices, path.name, num_slices(case))
    problems += _contradictions(labels.table, path.name, label_names)
    if not named:
        problems.append(
            f"{path.name}: expected a line for at least one of the cases to predict, found none; "
            "add some, or leave the table out"
        )
    if problems:
        raise DatasetError(problems)
    return labels


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """The lines of a table.

    Attributes:
        table: as in `ImageLabels`, without lines whose slice is no number.
        cases: that have a line.
        problems: what is wrong with single lines.
    """

    table: dict[tuple[str, int | None], tuple[int, ...]]
    cases: set[str]
    problems: list[str]


def _read_lines(path: Path, label_names: Sequence[str]) -> _Lines:
    if reserved := {_CASE, _SLICE}.intersection(label_names):
        raise DatasetError(
            f"{path.name}: expected labels of other names than the columns '{_CASE}' and "
            f"'{_SLICE}', found '{min(reserved)}' in 'labels' of dataset.json; rename the label"
        )
    lines = _Lines(table={}, cases=set(), problems=[])
    bad_slices: list[str] = []
    bad_values: list[str] = []
    repeated: list[str] = []
    columns = (_CASE, *label_names)
    for number, row in read_rows(path, columns=columns):
        if unknown_columns := set(row) - {*columns, _SLICE}:
            raise DatasetError(
                f"{path.name}, line 1: expected the columns case[, slice], "
                f"{', '.join(label_names)}, found also {_unknown_columns(unknown_columns)}"
            )
        place = f"{path.name}, line {number}"
        lines.cases.add(row[_CASE])
        bad_values += _value_problems(row, label_names, place)
        index = row.get(_SLICE, "")
        if index and not is_number(index):
            bad_slices.append(
                f"case '{row[_CASE]}': expected a slice, counted from 0, in {place}, found "
                f"'{index}'; {_remedy(index)}"
            )
            continue
        key = (row[_CASE], int(index) if index else None)
        if key in lines.table:
            repeated.append(f"{_name(key)}: expected one line, found a second in {place}; keep one")
        lines.table[key] = tuple(int(row[name] == "1") for name in label_names)
    for faults in (bad_slices, bad_values, repeated):
        lines.problems.extend(_first_of(faults, path.name))
    return lines


def _unknown_columns(names: Collection[str]) -> str:
    """Return the columns that are not labels, and what to do about them."""
    if "" in names or any(name.startswith("Unnamed:") for name in names):
        return (
            "a column without a name, as pandas writes its index; save the table with "
            "to_csv(..., index=False), or remove the column"
        )
    return f"{', '.join(sorted(names))}; name it in 'labels' of dataset.json, or remove the column"


def _remedy(found: str) -> str:
    """Return what to do about a cell that is no whole number."""
    number, _, decimals = found.replace(",", ".").partition(".")
    if number.isdecimal() and decimals and not decimals.strip("0"):
        return f"write {number}, without decimals (in pandas: astype('Int64'))"
    return "correct it"


def _first_of(faults: Sequence[str], table_name: str) -> list[str]:
    """Return the faults; of many of one kind only the first, and how many more there are."""
    told = list(faults[:_MOST_TOLD])
    if len(faults) > _MOST_TOLD:
        told.append(f"{table_name}: {len(faults) - _MOST_TOLD} more faults of this kind")
    return told


def _slice_problems(
    case: str, indices: Sequence[int], table_name: str, num_slices: int | None
) -> list[str]:
    if num_slices is None or indices[-1] < num_slices:
        return []
    wrong = ", ".join(str(index) for index in indices if index >= num_slices)
    there = f"slices from 0 to {num_slices - 1}" if num_slices else "no slice: it is an image"
    return [
        f"case '{case}': expected {there}, in {table_name}, found slice {wrong}; "
        + ("correct the numbers" if num_slices else "leave 'slice' empty")
    ]


def _value_problems(row: dict[str, str], label_names: Sequence[str], place: str) -> list[str]:
    return [
        f"case '{row[_CASE]}': expected 0 or 1 for '{name}' in {place}, found '{row[name]}'; "
        f"{_remedy(row[name])}, or remove the line if it is not known"
        for name in label_names
        if row[name] not in ("0", "1")
    ]


def _case_problems(
    labelled: Collection[str],
    table_name: str,
    training_cases: Collection[str],
    test_cases: Collection[str],
) -> list[str]:
    problems = []
    known = {*training_cases, *test_cases}
    if unknown := set(labelled).difference(known):
        problems.append(unknown_cases_problem(table_name, unknown, known=known))
    missing = sorted(set(training_cases).difference(labelled))
    if len(missing) == 1:
        problems.append(
            f"case '{missing[0]}': expected a line in {table_name}, found none; add it or remove "
            "the case"
        )
    elif missing:
        problems.append(
            f"{table_name}: expected a line for each training case, found none for "
            f"{len(missing)}: {listing(missing)}; add them or remove the cases"
        )
    return problems


def _contradictions(
    table: dict[tuple[str, int | None], tuple[int, ...]],
    table_name: str,
    label_names: Sequence[str],
) -> list[str]:
    problems = []
    for key, values in table.items():
        whole = table.get((key[0], None), values)
        for name, of_slice, of_case in zip(label_names, values, whole, strict=True):
            if of_slice > of_case:
                problems.append(
                    f"{_name(key)}: expected 0 for '{name}' in {table_name}, since the line of the "
                    f"whole case says 0, found 1; correct one of them"
                )
    return _first_of(problems, table_name)


def _single_class_problems(
    table: dict[tuple[str, int | None], tuple[int, ...]],
    table_name: str,
    label_names: Sequence[str],
    training_cases: Collection[str],
) -> list[str]:
    rows = [values for (case, _), values in table.items() if case in training_cases]
    problems = []
    for name, values in zip(label_names, zip(*rows, strict=True), strict=False):
        if len(set(values)) == 1:
            problems.append(
                f"{table_name}: expected training images with and without '{name}', found "
                f"{len(values)} that are all {values[0]}; add images of the other kind: a model "
                "cannot learn from one kind alone"
            )
    return problems


def _name(key: tuple[str, int | None]) -> str:
    case, index = key
    return f"case '{case}'" if index is None else f"case '{case}', slice {index}"
