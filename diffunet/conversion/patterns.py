"""Images of the user's own, wherever they lie: patterns say how the files of a case are called."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.formats import format_of
from diffunet.conversion.mask_values import mask_rule
from diffunet.conversion.own_images import (
    DEFAULT_LABELS,
    ImageKind,
    dataset_json,
    kind_of,
    patients_of,
    reading,
)
from diffunet.conversion.photographs import require_lossless
from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.tree import (
    files_below,
    for_each,
    is_held_out,
    nothing_found,
    refuse_all,
)
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io import file_ending_of
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError, UsageError
from diffunet.names import canonical, file_parts

_PLACEHOLDERS = ("case", "patient", "rater")
_TOKEN = re.compile(r"\{[^{}]*\}|[*?]")
_MOST_SHOWN, _MOST_OF_FOLDER = 8, 4


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """What the paths of some files end in.

    Attributes:
        text: as the user wrote it.
        expression: of a whole path below the source, with "/" between folders.
        num_literal: characters that are no placeholders.
        has_rater: whether it finds the masks of several raters.
    """

    text: str
    expression: re.Pattern[str]
    num_literal: int
    has_rater: bool


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A file that a pattern finds."""

    path: Path
    case: str
    patient: str
    rater: str


@dataclass(frozen=True, kw_only=True)
class _Files:
    """What all patterns find.

    Attributes:
        images: for each pattern of an image, case to file.
        masks: reader, as a person would call him, to case to file.
        patients: of each case, as the pattern says; "" if it does not.
    """

    images: tuple[Mapping[str, Path], ...]
    masks: Mapping[str, Mapping[str, Path]]
    patients: Mapping[str, str]


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the images that the patterns find, each with its masks.

    Raises:
        DatasetError: a pattern finds nothing, or files of a case are missing or there twice.
        UsageError: a pattern is missing or no pattern, or `wishes` names another number of
            channels than the images have.
    """
    paths = [path for path in files_below(source) if ending_of(path)]
    if not paths:
        raise nothing_found(source, files_below(source), layout=format_of("patterns").layout)
    labels = wishes.labels or DEFAULT_LABELS
    rule = mask_rule(labels, wishes.values)
    found = _found(source, paths, wishes)
    _check(found, wishes, needs_lossless=len(labels) > 1 or bool(wishes.values))
    first, has_raters = found.images[0], len(found.masks) > 1
    kind = _kind_of(found.images, wishes)
    raters = {f"r{number:02d}" if has_raters else "": who for number, who in enumerate(found.masks)}
    masks = {
        case: {
            rater: found.masks[who][case]
            for rater, who in raters.items()
            if case in found.masks[who]
        }
        for case in first
    }
    are_held_out = {
        case: not masks[case] or is_held_out(path.parent, source) for case, path in first.items()
    }
    in_table = patients_of(
        source,
        [case for case, is_test in are_held_out.items() if not is_test],
        [case for case, is_test in are_held_out.items() if is_test],
    )
    cases = tuple(
        SourceCase(
            name=case,
            read=reading(
                case,
                [images[case] for images in found.images],
                masks[case],
                kind=kind,
                rule=rule,
                patient=in_table[case] or found.patients[case],
            ),
            is_test=are_held_out[case],
        )
        for case in first
    )
    who = "; ".join(f"{rater}: {name}" for rater, name in raters.items()) if has_raters else ""
    return Conversion(
        dataset_json=dataset_json(kind, wishes=wishes, description=who, has_raters=has_raters),
        cases=cases,
        suggested_name=file_parts([source.absolute().name])[0],
        is_colour=kind.is_colour,
        remarks=tuple(_remarks(who, masks, are_held_out)),
    )


def _pattern(text: str, *, option: str, known: Sequence[str]) -> _Pattern:
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
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)"
            seen.add(name)
    return _Pattern(
        text=text,
        expression=re.compile(f"(?:.*/)?{expression}{re.escape(path[end:])}", re.IGNORECASE),
        num_literal=len(_TOKEN.sub("", path)),
        has_rater="rater" in seen,
    )


def _found(source: Path, paths: Sequence[Path], wishes: Wishes) -> _Files:
    """Return the files of each pattern.

    A file that several patterns find belongs to the one that says most about its name.
    """
    for option, given in (("images", wishes.images), ("masks", wishes.masks)):
        if not given:
            raise UsageError(
                f"--{option}: expected which files are the {option}, such as --{option} "
                f"'{_example(source, paths)}'; in '{source}' there are {_shown(source, paths)}"
            )
    text, count = Counter((*wishes.images, *wishes.masks)).most_common(1)[0]
    if count > 1:
        raise UsageError(f"--images, --masks: expected each pattern once, got '{text}' again")
    images = [_pattern(each, option="images", known=_PLACEHOLDERS[:2]) for each in wishes.images]
    masks = [_pattern(each, option="masks", known=_PLACEHOLDERS) for each in wishes.masks]
    by_pattern: dict[str, list[_Found]] = {each.text: [] for each in (*images, *masks)}
    problems = []
    for path in paths:
        inside = canonical(path.relative_to(source).as_posix())
        matches = [
            (each, match)
            for each in (*images, *masks)
            if (match := each.expression.fullmatch(inside))
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
        remedy=f"correct the patterns; there are {_shown(source, paths)}",
    )
    files_of_images = [_by_case(by_pattern[each.text], pattern=each.text) for each in images]
    return _Files(
        images=tuple(files_of_images),
        masks={
            who: _by_case(files, pattern=each.text)
            for each in masks
            for who, files in _by_rater(each, by_pattern[each.text])
        },
        patients={each.case: each.patient for each in by_pattern[images[0].text]},
    )


def _file_of(path: Path, match: re.Match[str]) -> _Found:
    parts = match.groupdict()
    case, patient = parts["case"], parts.get("patient", "")
    if patient and case != patient and not re.match(rf"{re.escape(patient)}[\W_]", case):
        case = f"{patient}_{case}"  # unless it begins with the patient: p1_frame01, but not p12
    return _Found(path=path, case=case, patient=patient, rater=parts.get("rater", ""))


def _by_rater(pattern: _Pattern, files: Sequence[_Found]) -> Iterator[tuple[str, list[_Found]]]:
    """Yield each reader, by number where there are numbers, with the files of his masks."""
    if not pattern.has_rater:
        yield pattern.text, list(files)
        return
    names = {each.rater for each in files}
    for name in sorted(names, key=lambda name: (len(name) if name.isdecimal() else 0, name)):
        who = pattern.text.replace("{rater}", name)
        yield who, [each for each in files if each.rater == name]


def _by_case(files: Sequence[_Found], *, pattern: str) -> dict[str, Path]:
    by_case: dict[str, list[Path]] = defaultdict(list)
    for each in files:
        by_case[each.case].append(each.path)
    refuse_all(
        [
            f"'{pattern}' finds {len(paths)} files for the case '{case}': '{paths[0]}' and "
            f"'{paths[1]}'"
            for case, paths in by_case.items()
            if len(paths) > 1
        ],
        remedy="write more of the path into the pattern, and {patient} for a folder that tells "
        "them apart",
    )
    return {case: path for case, (path,) in by_case.items()}


def _check(found: _Files, wishes: Wishes, *, needs_lossless: bool) -> None:
    """Refuse cases without all of their channels, and masks without an image."""
    first = found.images[0]
    problems = []
    for pattern, images in zip(wishes.images[1:], found.images[1:], strict=True):
        if missing := [case for case in first if case not in images]:
            problems.append(f"'{pattern}' finds no file for the cases {listing(missing)}")
    for who, masks in found.masks.items():
        if alone := [path.name for case, path in masks.items() if case not in first]:
            problems.append(
                f"'{who}' finds masks for which '{wishes.images[0]}' finds no image: "
                f"{listing(alone)}"
            )
    refuse_all(problems, remedy="correct the patterns or the names, or take these files away")
    if needs_lossless:
        for_each(
            (path for each in found.masks.values() for path in each.values()), require_lossless
        )


def _kind_of(channels: Sequence[Mapping[str, Path]], wishes: Wishes) -> ImageKind:
    """Return what the images are; of several files, each has one channel."""
    kinds = [kind_of(list(images.values())) for images in channels]
    if len(kinds) == 1:
        return kinds[0]
    for kind, images, pattern in zip(kinds, channels, wishes.images, strict=True):
        found = f"{kind.num_channels} channels" if kind.num_channels > 1 else ""
        if any(file_ending_of(path) is None for path in images.values()):
            found = "a format that holds whole photographs alone"
        if found:
            raise DatasetError(
                f"'{pattern}': expected images of one channel each, since --images names "
                f"{len(kinds)}, found {found}; name one pattern alone, or convert the files"
            )
    return ImageKind(file_ending=kinds[0].file_ending, num_channels=len(kinds))


def _remarks(
    who: str, masks: Mapping[str, Mapping[str, Path]], are_held_out: Mapping[str, bool]
) -> Iterator[str]:
    if who:
        yield f"raters: {who}; one who has no file for an image was not asked about it"
    if unread := [case for case, found in masks.items() if not found]:
        yield f"images without a mask go to imagesTs: {listing(unread)}"
    if held_out := [case for case, is_test in are_held_out.items() if is_test and masks[case]]:
        yield f"cases of a folder for validation or testing go to imagesTs: {listing(held_out)}"


def _shown(source: Path, paths: Sequence[Path]) -> str:
    """Return some files of the first folders, as patterns have to find them."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    some = [path for files in by_folder.values() for path in files[:_MOST_OF_FOLDER]][:_MOST_SHOWN]
    names = [f"'{path.relative_to(source).as_posix()}'" for path in some]
    more = f" and {len(paths) - len(some)} more" if len(paths) > len(some) else ""
    return f"{', '.join(names)}{more}"


def _example(source: Path, paths: Sequence[Path]) -> str:
    """Return a pattern that finds some of the files."""
    (name, count), *_ = Counter(path.name for path in paths).most_common(1)
    if count > 1:
        return f"{{case}}/{name}"
    *folders, _ = paths[0].relative_to(source).parts
    return "/".join([*folders[-1:], f"{{case}}{ending_of(paths[0])}"])
