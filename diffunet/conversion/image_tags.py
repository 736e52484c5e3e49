"""Image-level labels of the user's own images, as a table or the names of their folders tell."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import final

from diffunet.conversion.case import Shares
from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.tree import refuse_all
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.tables import hint_of, read_rows
from diffunet.errors import DatasetError, UsageError
from diffunet.names import canonical

_BETWEEN_WORDS = re.compile(r"[|;,]")
_AROUND_WORDS = " \t[]'\""  # lists as Python prints them
_VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0}
_VALUES |= {"0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}
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

    def __init__(self, images: Mapping[str, Path], source: Path) -> None:
        """Learn the names.

        Args:
            images: case to the file of its image, below `source`.
        """
        self._whole: dict[str, str] = {}
        self._ends: dict[str, set[str]] = defaultdict(set)
        for case, path in images.items():
            parts = _key(path.relative_to(source).as_posix()).split("/")
            self._whole["/".join(parts)] = case
            for first in range(len(parts)):
                self._ends["/".join(parts[first:])].add(case)
            self._ends[_key(case)].add(case)

    def cases_of(self, name: str) -> set[str]:
        """Return the cases that a name fits: one, none, or several that it does not tell apart."""
        key = _key(name)
        if key in self._ends:
            return self._ends[key]
        parts = key.split("/")
        longer = (self._whole.get("/".join(parts[first:])) for first in range(1, len(parts)))
        return {case for case in longer if case is not None}


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


def tags_of_table(path: Path, names: ImageNames, labels: Sequence[str]) -> Tags:
    """Return the tags that a table holds, in a column for each label, or as words of one column.

    Where an image has several lines, as a table of boxes has, it shows what any of them says.

    Raises:
        DatasetError: the table cannot be read, names no image or does not tell two of them apart,
            or holds values other than 0 and 1 in the columns of the labels.
        UsageError: `labels` names none, or one that is not there.
    """
    if not path.is_file():
        raise DatasetError(f"--image_labels: expected a table, found no file '{path}'")
    lines = list(read_rows(path, columns=()))
    column, cases = _name_column(path, lines, names)
    columns = {name.casefold(): name for name in (lines[0][1] if lines else ())}
    known = [(number, row, case) for (number, row), case in zip(lines, cases, strict=True) if case]
    if labels and all(label.casefold() in columns for label in labels):
        of_cases = _from_columns(
            path, known, {label: columns[label.casefold()] for label in labels}
        )
        remarks = [f"images are named in the column '{column}'"]
    else:
        words_in, found, counts = _from_words(path, known, labels, name_column=column)
        of_cases = _tagged(found, labels)
        remarks = [
            f"images are named in the column '{column}', their labels in '{words_in}'",
            *_others(counts, labels),
        ]
    if num_others := len(lines) - len(known):
        remarks.append(f"{num_others} of {len(lines)} lines name images that are not there")
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
) -> tuple[str, list[str | None]]:
    """Return the column that names most images, and the case of each line."""
    found = {
        column: [names.cases_of(row[column]) for _, row in lines]
        for column in (lines[0][1] if lines else ())
    }
    best = max(found, key=lambda column: sum(map(bool, found[column])), default=None)
    if best is None or not any(found[best]):
        examples = [
            f"{column}: '{value}'" for column, value in (lines[0][1] if lines else {}).items()
        ]
        raise DatasetError(
            f"'{path}': expected a column with the names of images, found none that are there; "
            f"its first line has {', '.join(examples[:_MOST_SHOWN]) or 'nothing'}; "
            f"{hint_of(list(found)) or 'correct --images or the names'}"
        )
    _refuse_unclear(
        path, {row[best]: cases for (_, row), cases in zip(lines, found[best], strict=True)}
    )
    return best, [next(iter(cases), None) for cases in found[best]]


def _from_columns(
    path: Path, known: Iterable[tuple[int, Mapping[str, str], str]], columns: Mapping[str, str]
) -> Mapping[str, Shares]:
    of_cases: dict[str, dict[str, float]] = {}
    problems = []
    for number, row, case in known:
        tags = of_cases.setdefault(case, dict.fromkeys(columns, 0.0))
        for label, column in columns.items():
            value = _VALUES.get(row[column].lower())
            if value is None:
                problems.append(
                    f"{path.name}, line {number}: expected 0 or 1 in '{column}', found "
                    f"'{row[column]}'"
                )
            tags[label] = max(tags[label], value or 0.0)
    refuse_all(problems, remedy="write 0 or 1 there, or remove the lines that are not known")
    return of_cases


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
