"""Image-level labels of the user's own images, as a table or the names of their folders tell."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import final

from diffunet.conversion.case import Shares
from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.tag_cells import CellMeanings, read_tag_cells
from diffunet.conversion.tree import refuse_all
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.tables import hint_of, read_rows
from diffunet.errors import DatasetError, UsageError
from diffunet.names import canonical

_BETWEEN_WORDS = re.compile(r"[|;,]")
_AROUND_WORDS = " \t[]'\""  # lists as Python prints them
_MOST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What is known of images as a whole.

    Attributes:
        of_cases: case to 1 or 0 for each label.
        remarks: what the user should know about how this was understood.
    """

    of_cases: Mapping[str, Shares]
    remarks: tuple[str, ...]


@final
class ImageNames:
    """Finds the case of an image by a name that a table or list has for it.

    This is the name of its case or of its file, with or without the ending, or with folders: those
    below the source, some of them, or more of them.
    """

    def __init__(
        self, images: Mapping[str, Path], source: Path, *, patients: Mapping[str, str] | None = None
    ) -> None:
        """Learn the names.

        Args:
            images: case to the file of its image, below `source`.
            patients: case to its patient; "" where that is not known.
        """
        self._whole: dict[str, str] = {}
        self._ends: dict[str, set[str]] = defaultdict(set)
        members: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for case, path in images.items():
            parts = _key(path.relative_to(source).as_posix()).split("/")
            self._whole["/".join(parts)] = case
            for first in range(len(parts)):
                self._ends["/".join(parts[first:])].add(case)
            self._ends[_key(case)].add(case)
            for last in range(1, len(parts)):
                members[tuple(parts[:last])].add(case)
        self._folders = {"/".join(parts): frozenset(cases) for parts, cases in members.items()}
        self._groups: dict[str, set[frozenset[str]]] = defaultdict(set)
        for parts, cases in members.items():
            for first in range(len(parts)):
                self._groups["/".join(parts[first:])].add(frozenset(cases))
        of_patients: dict[str, set[str]] = defaultdict(set)
        for case, patient in (patients or {}).items():
            of_patients[_key(patient)].add(case)
        for patient, cases in of_patients.items():
            self._groups[patient].add(frozenset(cases))

    def cases_of(self, name: str) -> set[str]:
        """Return the cases that a name fits: one, none, or several that it does not tell apart."""
        key = _key(name)
        if key in self._ends:
            return self._ends[key]
        parts = key.split("/")
        longer = (self._whole.get("/".join(parts[first:])) for first in range(1, len(parts)))
        return {case for case in longer if case is not None}

    def groups_of(self, name: str) -> set[frozenset[str]]:
        """Return the cases of the folder or patient of that name, of each if there are several.

        A folder is named as images are: with some of the folders around it, or more of them.
        """
        key = _key(name).strip("/")
        if not key or key in self._groups:
            return self._groups.get(key, set())
        parts = key.split("/")
        longer = (self._folders.get("/".join(parts[first:])) for first in range(1, len(parts)))
        return {cases for cases in longer if cases is not None}


def tags_of_folders(words: Mapping[str, str], labels: Sequence[str]) -> Tags:
    """Return the tags of images that lie in a folder for each class.

    Args:
        words: case to what its path says in the place of {label}.

    Raises:
        UsageError: `labels` names none, or one that no path has.
    """
    found = {case: {word.casefold()} for case, word in words.items()}
    counts = Counter(words.values())
    _require_labels(labels, counts, where="{label} of --images")
    return Tags(of_cases=_tagged(found, labels), remarks=_others(counts, labels))


def tags_of_table(
    path: Path, names: ImageNames, labels: Sequence[str], *, meanings: CellMeanings
) -> Tags:
    """Return the tags that a table holds, in a column for each label, or as words of one column.

    Where an image has several lines, as a table of boxes has, it shows what any of them says. Where
    no line names an image, but lines name folders of images or patients, all their images have the
    labels of the line.

    Raises:
        DatasetError: the table cannot be read, names no image or does not tell two of them apart,
            or holds values in the columns of the labels that mean nothing.
        UsageError: `labels` names none, or one that is not there.
    """
    if not path.is_file():
        raise DatasetError(f"--image_labels: expected a table, found no file '{path}'")
    lines = list(read_rows(path, columns=()))
    column, cases, is_of_groups = _name_column(path, lines, names)
    columns = _columns_of(labels, list(lines[0][1]) if lines else ())
    known = [
        (number, row, case)
        for (number, row), members in zip(lines, cases, strict=True)
        for case in sorted(members)
    ]
    what = "folders or patients" if is_of_groups else "images"
    if columns is not None:
        said_in = tuple(columns.values())
        remarks = [f"{what} are named in the column '{column}'"]
        read = read_tag_cells(path, known, columns, meanings=meanings)
        of_cases = read.of_cases
        remarks += read.remarks
    else:
        words_in, found, counts = _from_words(path, known, labels, name_column=column)
        said_in = (words_in,)
        of_cases = _tagged(found, labels)
        remarks = [
            f"{what} are named in the column '{column}', their labels in '{words_in}'",
            *_others(counts, labels),
        ]
    if is_of_groups:
        _refuse_divided(path, lines, column, said_in)
        remarks.append("all images of a folder or patient have the labels of its line")
    if num_others := len(lines) - sum(map(bool, cases)):
        remarks.append(f"{num_others} of {len(lines)} lines name {what} that are not there")
    return Tags(of_cases=of_cases, remarks=tuple(f"{path.name}: {remark}" for remark in remarks))


def listed_cases(path: Path, names: ImageNames) -> set[str]:
    """Return the cases whose images a text file names, one a line.

    Raises:
        DatasetError: the file cannot be read, names no image, or does not tell two of them apart.
    """
    try:
        lines = canonical(path.read_text(encoding="utf-8-sig")).splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise DatasetError(
            f"--test_list: expected a text file with the name of an image in each line, found "
            f"'{path}' ({cause})"
        ) from None
    found = {line.strip(): names.cases_of(line.strip()) for line in lines if line.strip()}
    _refuse_unclear(path, found)
    if not any(found.values()):
        raise DatasetError(
            f"'{path}': expected the name of an image in each line, found {listing(found)}, none "
            "of which is there; correct the names"
        )
    return {case for cases in found.values() for case in cases}


def _key(name: str) -> str:
    """Return what is compared of a name: without its ending, and with "/" between folders."""
    path = PurePosixPath(canonical(name).replace("\\", "/"))
    ending = ending_of(Path(path.name)) or ""
    return str(path)[: len(str(path)) - len(ending)]


def _refuse_unclear(path: Path, found: Mapping[str, set[str]]) -> None:
    unclear = [name for name, cases in found.items() if len(cases) > 1]
    refuse_all(
        [f"'{path}': '{name}' may be {listing(found[name])}" for name in unclear],
        remedy="write more of the paths below SOURCE, with their folders",
    )


def _name_column(
    path: Path, lines: Sequence[tuple[int, Mapping[str, str]]], names: ImageNames
) -> tuple[str, list[frozenset[str]], bool]:
    """Return the column that names most images, and the cases of each line.

    Returns:
        Last, whether lines speak of folders or patients, since none names an image.
    """
    columns = list(lines[0][1]) if lines else []
    for is_of_groups in (False, True):
        found = {
            column: [_candidates(names, row[column], is_of_groups) for _, row in lines]
            for column in columns
        }
        best = max(
            found,
            key=lambda column: (
                sum(len(each) == 1 for each in found[column]),
                sum(map(bool, found[column])),
            ),
            default=None,
        )
        if best is not None and any(found[best]):
            unclear = {
                row[best]: set[str]().union(*each)
                for (_, row), each in zip(lines, found[best], strict=True)
                if len(each) > 1
            }
            _refuse_unclear(path, unclear)
            return best, [next(iter(each), frozenset()) for each in found[best]], is_of_groups
    examples = [f"{column}: '{value}'" for column, value in (lines[0][1] if lines else {}).items()]
    raise DatasetError(
        f"'{path}': expected a column with the names of images, folders or patients, found none "
        f"that are there; its first line has {', '.join(examples[:_MOST_SHOWN]) or 'nothing'}; "
        f"{hint_of(columns) or 'correct --images or the names'}"
    )


def _candidates(names: ImageNames, name: str, is_of_groups: bool) -> set[frozenset[str]]:
    if is_of_groups:
        return names.groups_of(name)
    return {frozenset([case]) for case in names.cases_of(name)}


def _refuse_divided(
    path: Path,
    lines: Sequence[tuple[int, Mapping[str, str]]],
    column: str,
    said_in: Sequence[str],
) -> None:
    """Refuse several lines of one folder or patient that say different things."""
    said: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for _, row in lines:
        said[row[column]].add(tuple(row[each] for each in said_in))
    refuse_all(
        [
            f"'{path}': '{name}' in the column '{column}' has {len(each)} lines that differ"
            for name, each in said.items()
            if len(each) > 1
        ],
        remedy="a line has to name the images that it speaks of, or one folder of them: write "
        "their paths below SOURCE into a column, such as 'patient1/study2'",
    )


def _columns_of(labels: Sequence[str], columns: Sequence[str]) -> dict[str, str] | None:
    """Return the column of each label, or None where one has none of its own.

    A name in other upper case will do, unless several columns differ in that alone.
    """
    found: dict[str, str] = {}
    for label in labels:
        alike = [name for name in columns if name.casefold() == label.casefold()]
        if label in alike:
            found[label] = label
        elif len(alike) == 1:
            found[label] = alike[0]
    return found if found and len(set(found.values())) == len(labels) else None


def _from_words(
    path: Path,
    known: Sequence[tuple[int, Mapping[str, str], str]],
    labels: Sequence[str],
    *,
    name_column: str,
) -> tuple[str, dict[str, set[str]], Counter[str]]:
    """Return the column that has most of the labels, the words of each case, and their counts."""
    counts = {
        column: Counter(word for _, row, _ in known for word in _words(row[column]))
        for column in known[0][1]
        if column != name_column
    }
    wanted = {label.casefold() for label in labels}
    lists = {
        column: len(wanted & {word.casefold() for word in words})
        for column, words in counts.items()
    }
    best = max(lists, key=lambda column: lists[column], default=name_column)
    if not lists.get(best):
        raise UsageError(
            f"--labels: expected labels that have a column in '{path.name}', or are words of one, "
            f"got {', '.join(labels) or 'none'}; its columns: {_shown_columns(counts)}"
        )
    _require_labels(labels, counts[best], where=f"the column '{best}' of '{path.name}'")
    found: dict[str, set[str]] = defaultdict(set)
    for _, row, case in known:
        found[case] |= {word.casefold() for word in _words(row[best])}
    return best, found, counts[best]


def _words(cell: str) -> list[str]:
    words = (word.strip(_AROUND_WORDS) for word in _BETWEEN_WORDS.split(cell))
    return [word for word in words if word]


def _tagged(found: Mapping[str, set[str]], labels: Sequence[str]) -> dict[str, Shares]:
    return {
        case: {label: float(label.casefold() in words) for label in labels}
        for case, words in found.items()
    }


def _require_labels(labels: Sequence[str], counts: Counter[str], *, where: str) -> None:
    if len({label.casefold() for label in labels}) < len(labels):
        raise UsageError(
            f"--labels: expected names that differ in more than upper case, which does not count "
            f"in {where}, got {', '.join(labels)}"
        )
    known = {word.casefold() for word in counts}
    if not labels or {label.casefold() for label in labels} - known:
        raise UsageError(
            f"--labels: expected which of the words in {where} are findings to learn, got "
            f"{', '.join(labels) or 'none'}; there are {_shown_words(counts)}"
        )


def _others(counts: Counter[str], labels: Sequence[str]) -> tuple[str, ...]:
    wanted = {label.casefold() for label in labels}
    others = Counter(
        {word: count for word, count in counts.items() if word.casefold() not in wanted}
    )
    return (
        (f"no labels, since --labels does not name them: {_shown_words(others)}",) if others else ()
    )


def _shown_words(counts: Counter[str]) -> str:
    shown = [f"'{word}' ({count})" for word, count in counts.most_common(_MOST_SHOWN)]
    more = f" and {len(counts) - _MOST_SHOWN} more" if len(counts) > _MOST_SHOWN else ""
    return ", ".join(shown) + more


def _shown_columns(counts: Mapping[str, Counter[str]]) -> str:
    shown = [
        f"{column} ('{words.most_common(1)[0][0]}')" if words else column
        for column, words in counts.items()
    ]
    return ", ".join(shown[:_MOST_SHOWN])
