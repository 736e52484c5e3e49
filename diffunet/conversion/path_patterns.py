"""Patterns of paths: how the files of a case are called, and which file each of them finds."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.tree import refuse_all
from diffunet.errors import UsageError
from diffunet.names import canonical

_TOKEN = re.compile(r"\{[^{}]*\}|[*?]")
_MOST_SHOWN, _MOST_OF_FOLDER = 8, 4


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What the paths of some files end in.

    Attributes:
        text: as the user wrote it.
        expression: of a whole path below the source, with "/" between folders.
        num_literal: characters that are no placeholders.
        has_rater: whether it finds the masks of several raters.
        has_label: whether it tells the image-level label.
    """

    text: str
    expression: re.Pattern[str]
    num_literal: int
    has_rater: bool
    has_label: bool


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A file that a pattern finds.

    Attributes:
        case, patient: names that no file of another group, or case of another patient, has.
        study, rater, label: what stands in the place of these; "" where the pattern does not tell.
    """

    path: Path
    case: str
    patient: str
    study: str
    rater: str
    label: str


def pattern_of(text: str, *, option: str, known: Sequence[str]) -> Pattern:
    """Return what a user's pattern means.

    Raises:
        UsageError: it is none.
    """
    path = canonical(text).replace("\\", "/").removeprefix("./")
    names = [token[1:-1] for token in _TOKEN.findall(path) if token[0] == "{"]
    if "case" not in names or path.startswith("/") or {*names} - {*known}:
        raise UsageError(
            f"--{option}: expected how the path of a file below SOURCE ends, with "
            f"{{{'}, {'.join(known)}}} and * in place of what changes, {{case}} at least, such as "
            f"'{{case}}/image.nii.gz'; got '{text}'"
        )
    expression, seen, end = "", set[str](), 0
    for token in _TOKEN.finditer(path):
        expression += re.escape(path[end : token.start()])
        name, end = token[0][1:-1], token.end()
        if token[0] in "*?":
            expression += "[^/]*" if token[0] == "*" else "[^/]"
        else:
            some = "[^/]*" if name == "part" else "[^/]+"
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>{some})"
            seen.add(name)
    return Pattern(
        text=text,
        expression=re.compile(f"(?:.*/)?{expression}{re.escape(path[end:])}", re.IGNORECASE),
        num_literal=len(_TOKEN.sub("", path)),
        has_rater="rater" in seen,
        has_label="label" in seen,
    )


def files_of_patterns(
    patterns: Sequence[Pattern], paths: Sequence[Path], *, source: Path
) -> Mapping[str, Sequence[FoundFile]]:
    """Return the files of each pattern, by its text.

    A file that several patterns find belongs to the one that says most about its name.

    Args:
        paths: of files below `source`.

    Raises:
        DatasetError: a pattern finds nothing, or no more of a name than another.
        UsageError: a pattern is there twice.
    """
    text, count = Counter(each.text for each in patterns).most_common(1)[0]
    if count > 1:
        raise UsageError(f"--images, --masks: expected each pattern once, got '{text}' again")
    by_pattern: dict[str, list[FoundFile]] = {each.text: [] for each in patterns}
    problems = []
    for path in paths:
        inside = canonical(path.relative_to(source).as_posix())
        matches = [
            (each, match) for each in patterns if (match := each.expression.fullmatch(inside))
        ]
        if not matches:
            continue
        most = max(each.num_literal for each, _ in matches)
        (best, match), *others = [found for found in matches if found[0].num_literal == most]
        by_pattern[best.text].append(_file_of(path, match))
        problems += [
            f"'{inside}' is found by '{best.text}' and '{each.text}'" for each, _ in others
        ]
    refuse_all(problems, remedy="write more of the name into one of the patterns")
    empty = [text for text, files in by_pattern.items() if not files]
    refuse_all(
        [f"'{text}' finds no file below '{source}'" for text in empty],
        remedy=f"correct the patterns; there are {shown_files(source, paths)}",
    )
    return by_pattern


def by_rater(pattern: Pattern, files: Sequence[FoundFile]) -> Iterator[tuple[str, list[FoundFile]]]:
    """Yield each reader, by number where there are numbers, with the files of his masks."""
    if not pattern.has_rater:
        yield pattern.text, list(files)
        return
    names = {each.rater for each in files}
    for name in sorted(names, key=lambda name: (len(name) if name.isdecimal() else 0, name)):
        who = pattern.text.replace("{rater}", name)
        yield who, [each for each in files if each.rater == name]


def by_case(files: Sequence[FoundFile], *, pattern: str) -> dict[str, tuple[Path, ...]]:
    """Return the files of each case: one, or, if the pattern has {part}, some."""
    found: dict[str, list[Path]] = defaultdict(list)
    for each in files:
        found[each.case].append(each.path)
    refuse_all(
        [
            f"'{pattern}' finds {len(paths)} files for the case '{case}': '{paths[0]}' and "
            f"'{paths[1]}'"
            for case, paths in found.items()
            if len(paths) > 1 and "{part}" not in pattern
        ],
        remedy="write more of the path into the pattern, and {patient} for the folder of a "
        "patient, {study} for a folder within a patient's, or {group} for a folder of several "
        "patients",
    )
    return {case: tuple(paths) for case, paths in found.items()}


def shown_files(source: Path, paths: Sequence[Path]) -> str:
    """Return some files of the first folders, as patterns have to find them."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    some = [path for files in by_folder.values() for path in files[:_MOST_OF_FOLDER]][:_MOST_SHOWN]
    names = [f"'{path.relative_to(source).as_posix()}'" for path in some]
    more = f" and {len(paths) - len(some)} more" if len(paths) > len(some) else ""
    return f"{', '.join(names)}{more}"


def example_of(source: Path, paths: Sequence[Path]) -> str:
    """Return a pattern that finds some of the files."""
    (name, count), *_ = Counter(path.name for path in paths).most_common(1)
    if count > 1:
        return f"{{case}}/{name}"
    *folders, _ = paths[0].relative_to(source).parts
    return "/".join([*folders[-1:], f"{{case}}{ending_of(paths[0])}"])


def _file_of(path: Path, match: re.Match[str]) -> FoundFile:
    empty = dict.fromkeys(("patient", "study", "group", "rater", "label"), "")
    parts = {**empty, **match.groupdict()}
    group, patient = parts["group"], parts["patient"]
    return FoundFile(
        path=path,
        case=_within(group, _within(patient, _within(parts["study"], parts["case"]))),
        patient=_within(group, patient),
        study=parts["study"],
        rater=parts["rater"],
        label=parts["label"],
    )


def _within(outer: str, name: str) -> str:
    """Return `outer`_`name`; of a name that begins with `outer` (p1_a, but not p12), itself."""
    if not outer or not name or name == outer or re.match(rf"{re.escape(outer)}[\W_]", name):
        return name
    return f"{outer}_{name}"
