"""Image-level labels of the user's own images, as a table or the names of their folders tell."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffunet.conversion.case import Shares
from diffunet.conversion.image_names import ImageNames, NamedLines, named_lines, refuse_unclear
from diffunet.conversion.tag_cells import CellMeanings, read_tag_cells
from diffunet.conversion.tree import refuse_all
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.tables import read_rows
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
    no line names an image, but lines name folders of images, patients or studies, all their images
    have the labels of the line. Several columns may name them, as a patient's and a study's do.

    Raises:
        DatasetError: the table cannot be read, names no image or does not tell two of them apart,
            or holds values in the columns of the labels that mean nothing.
        UsageError: `labels` names none, or one that is not there.
    """
    if not path.is_file():
        raise DatasetError(f"--image_labels: expected a table, found no file '{path}'")
    lines = list(read_rows(path, columns=()))
    columns = _columns_of(labels, list(lines[0][1]) if lines else ())
    named = named_lines(path, lines, names, others=columns.values() if columns else ())
    known = [
        (number, row, case)
        for (number, row), members in zip(lines, named.cases, strict=True)
        for case in sorted(members)
    ]
    what = "folders, patients or studies" if named.are_groups else "images"
    where = " and ".join(f"'{column}'" for column in named.columns)
    if columns is not None:
        said_in = tuple(columns.values())
        remarks = [f"{what} are named in the column {where}"]
        read = read_tag_cells(path, known, columns, meanings=meanings)
        of_cases = read.of_cases
        remarks += read.remarks
    else:
        words_in, found, counts = _from_words(path, known, labels, name_columns=named.columns)
        said_in = (words_in,)
        of_cases = _tagged(found, labels)
        remarks = [
            f"{what} are named in the column {where}, their labels in '{words_in}'",
            *_others(counts, labels),
        ]
    if named.are_groups:
        _refuse_divided(path, lines, named, said_in)
        remarks.append("all images that a line names have its labels")
    if num_others := len(lines) - sum(map(bool, named.cases)):
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
    refuse_unclear(path, found)
    if not any(found.values()):
        raise DatasetError(
            f"'{path}': expected the name of an image in each line, found {listing(found)}, none "
            "of which is there; correct the names"
        )
    return {case for cases in found.values() for case in cases}


def _refuse_divided(
    path: Path,
    lines: Sequence[tuple[int, Mapping[str, str]]],
    named: NamedLines,
    said_in: Sequence[str],
) -> None:
    """Refuse several lines of one folder, patient or study that say different things."""
    said: dict[frozenset[str], set[tuple[str, ...]]] = defaultdict(set)
    of_groups: dict[frozenset[str], str] = {}
    for (_, row), cases in zip(lines, named.cases, strict=True):
        if cases:
            said[cases].add(tuple(row[each] for each in said_in))
            of_groups.setdefault(cases, named.name_of(row))
    where = "' and '".join(named.columns)
    refuse_all(
        [
            f"'{path}': '{of_groups[cases]}' in '{where}' has {len(each)} lines that differ"
            for cases, each in said.items()
            if len(each) > 1
        ],
        remedy="a line has to name the images that it speaks of, or one folder of them: name the "
        "folder of a study in --images with {study} if a column has it, or write paths below "
        "SOURCE into a column, such as 'patient1/study2'",
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
    name_columns: Sequence[str],
) -> tuple[str, dict[str, set[str]], Counter[str]]:
    """Return the column that has most of the labels, the words of each case, and their counts."""
    counts = {
        column: Counter(word for _, row, _ in known for word in _words(row[column]))
        for column in known[0][1]
        if column not in name_columns
    }
    wanted = {label.casefold() for label in labels}
    lists = {
        column: len(wanted & {word.casefold() for word in words})
        for column, words in counts.items()
    }
    best = max(lists, key=lambda column: lists[column], default=name_columns[0])
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
