"""Which images the names in tables and lists mean."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, final, get_args

from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.tree import refuse_all
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.tables import hint_of
from diffunet.errors import DatasetError
from diffunet.names import canonical

_MOST_SHOWN = 12
_FEWEST_OF_PART = 2  # characters; one alone is in many names
_WHOLE_NUMBER = re.compile(r"[0-9]+\.0")  # as pandas writes a column with an empty cell

GroupKind = Literal["folder", "patient", "study"]
_Groups = Sequence[set[frozenset[str]]]  # for each line, what it may mean: cases of each
_Way = tuple[str, _Groups]  # a column, and the groups that it names


@dataclass(frozen=True, kw_only=True)
class NamedLines:
    """What the lines of a table speak of.

    Attributes:
        columns: that name it.
        cases: of each line; none for a line that names nothing that is there.
        are_groups: whether lines speak of folders, patients or studies, since none names an image.
    """

    columns: tuple[str, ...]
    cases: list[frozenset[str]]
    are_groups: bool

    def name_of(self, row: Mapping[str, str]) -> str:
        """Return what the columns of a line say, to stand between quotation marks."""
        return "', '".join(row[column] for column in self.columns)


@final
class ImageNames:
    """Finds the case of an image by a name that a table or list has for it.

    This is the name of its case or of its file, with or without the ending, or with folders: those
    below the source, some of them, or more of them.
    """

    def __init__(
        self,
        images: Mapping[str, Path],
        source: Path,
        *,
        patients: Mapping[str, str] | None = None,
        studies: Mapping[str, str] | None = None,
    ) -> None:
        """Learn the names.

        Args:
            images: case to the file of its image, below `source`.
            patients: case to its patient; "" where that is not known.
            studies: case to its study, a name that other patients' may have; "" likewise.
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
        self._groups: dict[GroupKind, dict[str, set[frozenset[str]]]] = {
            kind: defaultdict(set) for kind in get_args(GroupKind)
        }
        for parts, cases in members.items():
            for first in range(len(parts)):
                self._groups["folder"]["/".join(parts[first:])].add(frozenset(cases))
        patients, studies = patients or {}, studies or {}
        of_patients: dict[str, set[str]] = defaultdict(set)
        of_studies: dict[tuple[str, str], set[str]] = defaultdict(set)
        for case in images:
            patient, study = patients.get(case, ""), studies.get(case, "")
            of_patients[patient].add(case)
            of_studies[patient, study].add(case)
        for patient, cases in of_patients.items():
            self._groups["patient"][_key(patient)].add(frozenset(cases))
        for (_, study), cases in of_studies.items():
            self._groups["study"][_key(study)].add(frozenset(cases))

    def cases_of(self, name: str) -> set[str]:
        """Return the cases that a name fits: one, none, or several that it does not tell apart."""
        key = _key(name)
        if key in self._ends:
            return self._ends[key]
        parts = key.split("/")
        longer = (self._whole.get("/".join(parts[first:])) for first in range(1, len(parts)))
        return {case for case in longer if case is not None}

    def groups_of(self, name: str, kind: GroupKind) -> set[frozenset[str]]:
        """Return the cases of the folder, patient or study of that name, of each of several.

        A folder is named as images are: with some of the folders around it, or more of them.
        """
        key = _key(name).strip("/")
        groups = self._groups[kind]
        if not key or key in groups:
            return groups.get(key, set()) if key else set()
        parts = key.split("/")
        longer = (self._folders.get("/".join(parts[first:])) for first in range(1, len(parts)))
        return {cases for cases in longer if cases is not None} if kind == "folder" else set()

    def folder_with(self, part: str) -> str | None:
        """Return the name of a folder that has a text and more in it, if there is one."""
        names = self._groups["folder"] if len(part) >= _FEWEST_OF_PART else ()
        return next((name for name in names if part in name and "/" not in name), None)


def named_lines(
    path: Path,
    lines: Sequence[tuple[int, Mapping[str, str]]],
    names: ImageNames,
    *,
    others: Collection[str],
) -> NamedLines:
    """Return the cases of each line, by the column that names most images, else most groups.

    Where lines name groups, further columns narrow them, as the name of a study does beside that of
    a patient. Lines of which they leave nothing speak of what is not there, such as a study that
    was not downloaded.

    Args:
        path: of the table, for messages.
        lines: the number of each and its cells by column.
        others: columns that name nothing.

    Raises:
        DatasetError: no column names anything that is there, or a name fits several.
    """
    columns = [column for column in (lines[0][1] if lines else ()) if column not in others]
    for kinds in ((None,), get_args(GroupKind)):
        ways = [
            (column, _groups_of_lines(lines, column, names, kind))
            for kind in kinds
            for column in columns
        ]
        ways.sort(key=lambda way: _num_named(way[1]), reverse=True)
        if not ways or not any(ways[0][1]):
            continue
        are_groups = None not in kinds
        chosen, groups = _narrowed(ways if are_groups else ways[:1])
        named = NamedLines(
            columns=chosen,
            cases=[next(iter(each), frozenset()) for each in groups],
            are_groups=are_groups,
        )
        several = [
            (named.name_of(row), each)
            for (_, row), each in zip(lines, groups, strict=True)
            if len(each) > 1
        ]
        refuse_unclear(path, {name: set[str]().union(*each) for name, each in several})
        return named
    examples = [f"{column}: '{value}'" for column, value in (lines[0][1] if lines else {}).items()]
    raise DatasetError(
        f"'{path}': expected a column with the names of images, folders, patients or studies, "
        f"found none that are there; its first line has "
        f"{', '.join(examples[:_MOST_SHOWN]) or 'nothing'}; "
        f"{hint_of(columns) or _hint_of_parts(lines, columns, names)}"
    )


def refuse_unclear(path: Path, found: Mapping[str, set[str]]) -> None:
    """Refuse names that fit several cases.

    Args:
        path: where they are written, for the message.
        found: name to the cases that it fits.
    """
    unclear = [name for name, cases in found.items() if len(cases) > 1]
    refuse_all(
        [f"'{path}': '{name}' may be {listing(found[name])}" for name in unclear],
        remedy="write more of the paths below SOURCE, with their folders",
    )


def _groups_of_lines(
    lines: Sequence[tuple[int, Mapping[str, str]]],
    column: str,
    names: ImageNames,
    kind: GroupKind | None,
) -> _Groups:
    """Return the groups that each line's cell in a column may name; without `kind`, the images."""
    found = {
        name: {frozenset([case]) for case in names.cases_of(name)}
        if kind is None
        else names.groups_of(name, kind)
        for name in {row[column] for _, row in lines}
    }
    return [found[row[column]] for _, row in lines]


def _num_named(groups: _Groups) -> tuple[int, int]:
    return sum(len(each) == 1 for each in groups), sum(map(bool, groups))


def _narrowed(ways: Sequence[_Way]) -> tuple[tuple[str, ...], _Groups]:
    """Return the groups of each line by the first column, and by those that narrow it.

    A column narrows if it leaves a part of the group in at least half of the lines, and lines then
    name more different parts than before. The one by which they name most comes first.
    """
    columns, groups = [ways[0][0]], ways[0][1]
    others = list(ways[1:])
    while True:
        num_named, num_different = _num_named(groups)[1], _num_different(groups)
        others = [way for way in others if 2 * _num_named(way[1])[1] >= num_named]
        narrowed = [
            (column, [_parts(each, allowed) for each, allowed in zip(groups, by, strict=True)])
            for column, by in others
        ]
        better = [
            (column, parts)
            for column, parts in narrowed
            if 2 * _num_named(parts)[1] >= num_named and _num_different(parts) > num_different
        ]
        if not better:
            return tuple(columns), groups
        column, groups = max(better, key=lambda way: _num_different(way[1]))
        columns.append(column)


def _num_different(groups: _Groups) -> int:
    return len({frozenset(each) for each in groups if each})


def _hint_of_parts(
    lines: Sequence[tuple[int, Mapping[str, str]]], columns: Sequence[str], names: ImageNames
) -> str:
    """Return what to do where a folder is called as a cell is, with more in its name."""
    row = lines[0][1] if lines else {}
    for column in columns:
        if folder := names.folder_with(row[column]):
            return (
                f"where '{row[column]}' in '{column}' means the folder '{folder}', write the rest "
                "of that name beside {patient} or {study} in --images"
            )
    return "correct --images or the names"


def _parts(groups: set[frozenset[str]], by: set[frozenset[str]]) -> set[frozenset[str]]:
    """Return what of each group lies in one of the others, if anything does."""
    allowed = frozenset[str]().union(*by)
    return {group & allowed for group in groups if group & allowed}


def _key(name: str) -> str:
    """Return what is compared of a name: without its ending, and with "/" between folders."""
    path = canonical(name).replace("\\", "/")
    if _WHOLE_NUMBER.fullmatch(path):
        return path[:-2]
    if "/" in path:
        path = str(PurePosixPath(path))
    ending = (ending_of(Path(path)) if "." in path else "") or ""
    return path[: len(path) - len(ending)]
