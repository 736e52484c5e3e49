"""Images of the user's own, wherever they lie: patterns say how the files of a case are called."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffunet.conversion.binary import MaskRule, one_label_mask
from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.formats import format_of
from diffunet.conversion.image_names import ImageNames
from diffunet.conversion.image_tags import (
    Tags,
    listed_cases,
    tags_of_folders,
    tags_of_table,
)
from diffunet.conversion.mask_values import mask_rule
from diffunet.conversion.own_images import (
    DEFAULT_LABELS,
    ImageKind,
    dataset_json,
    kind_of,
    patients_of,
    reading,
)
from diffunet.conversion.path_patterns import (
    by_case,
    by_rater,
    example_of,
    files_of_patterns,
    pattern_of,
    shown_files,
)
from diffunet.conversion.photographs import require_lossless
from diffunet.conversion.reader_files import ending_of
from diffunet.conversion.tag_cells import CellMeanings
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
from diffunet.names import file_parts

_OF_IMAGES = ("case", "patient", "study", "group", "label")
_OF_MASKS = (*_OF_IMAGES, "rater", "part")
_LOOKS_LIKE_A_MASK = re.compile(r"(?i)[-_. ](mask|seg|label|gt|ground|annot|lesion|roi)")


@dataclass(frozen=True, kw_only=True)
class _Files:
    """What all patterns find.

    Attributes:
        images: for each pattern of an image, case to file.
        masks: reader, as a person would call him, to case to its files, which are parts of one
            mask.
        patients, studies: of each case, as the pattern says; "" if it does not.
        words: what stands in the place of {label} for the image of each case; empty without it.
        marked: the same for the masks of a case.
    """

    images: tuple[Mapping[str, Path], ...]
    masks: Mapping[str, Mapping[str, tuple[Path, ...]]]
    patients: Mapping[str, str]
    studies: Mapping[str, str]
    words: Mapping[str, str]
    marked: Mapping[str, str]


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
    found = _found(source, paths, wishes)
    _check(found, wishes, needs_lossless=len(labels) > 1 or bool(wishes.values))
    first, has_raters = found.images[0], len(found.masks) > 1
    names = ImageNames(first, source, patients=found.patients, studies=found.studies)
    tags = _tags_of(found, names, wishes)
    listed = listed_cases(wishes.test_list, names) if wishes.test_list else set[str]()
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
        case: case in listed
        or is_held_out(path.parent, source)
        or (case not in tags.of_cases if tags else not masks[case])
        for case, path in first.items()
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
                rule=_rule_of(found.marked.get(case), labels, wishes),
                patient=in_table[case] or found.patients[case],
                tags=tags.of_cases.get(case, {}) if tags else {},
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
        remarks=tuple(_remarks(who, masks, tags, are_held_out, listed)),
    )


def _found(source: Path, paths: Sequence[Path], wishes: Wishes) -> _Files:
    """Return the files of each pattern.

    A file that several patterns find belongs to the one that says most about its name.
    """
    tells_labels = wishes.image_labels is not None or any(
        "{label}" in each for each in wishes.images
    )
    for option, given in (("images", wishes.images), ("masks", wishes.masks)):
        if not given and not (option == "masks" and tells_labels):
            otherwise = (
                "; where image-level labels alone are known, give their table (--image_labels), or "
                "{label} for the folders in --images that tell them"
            )
            raise UsageError(
                f"--{option}: expected which files are the {option}, such as --{option} "
                f"'{example_of(source, paths)}'; in '{source}' there are "
                f"{shown_files(source, paths)}"
                f"{otherwise if option == 'masks' else ''}"
            )
    images = [pattern_of(each, option="images", known=_OF_IMAGES) for each in wishes.images]
    masks = [pattern_of(each, option="masks", known=_OF_MASKS) for each in wishes.masks]
    by_pattern = files_of_patterns([*images, *masks], paths, source=source)
    files_of_images = [by_case(by_pattern[each.text], pattern=each.text) for each in images]
    first = by_pattern[images[0].text]
    return _Files(
        images=tuple({case: path for case, (path,) in each.items()} for each in files_of_images),
        masks={
            who: by_case(files, pattern=each.text)
            for each in masks
            for who, files in by_rater(each, by_pattern[each.text])
        },
        patients={each.case: each.patient for each in first},
        studies={each.case: each.study for each in first},
        words={each.case: each.label for each in first} if images[0].has_label else {},
        marked={
            each.case: each.label
            for pattern in masks
            if pattern.has_label
            for each in by_pattern[pattern.text]
        },
    )


def _tags_of(found: _Files, names: ImageNames, wishes: Wishes) -> Tags | None:
    """Return the image-level labels that were asked for; None if there are masks alone.

    Raises:
        DatasetError, UsageError: they are told twice, or cannot be read.
    """
    if found.words and wishes.image_labels:
        raise UsageError(
            "--image_labels: expected image-level labels told once, got a table and {label} in "
            "--images; write * in place of {label}, or leave the table out"
        )
    if wishes.image_labels:
        meanings = CellMeanings(blank=wishes.blank, uncertain=wishes.uncertain)
        return tags_of_table(wishes.image_labels, names, wishes.labels, meanings=meanings)
    return tags_of_folders(found.words, wishes.labels) if found.words else None


def _rule_of(marked: str | None, labels: Sequence[str], wishes: Wishes) -> MaskRule:
    """Return what the values of the masks of a case mean.

    Args:
        marked: the label that their path tells; None if it tells none.
    """
    if marked is None:
        return mask_rule(labels, wishes.values)
    numbers = {label.casefold(): number for number, label in enumerate(labels, start=1)}
    number = numbers.get(marked.casefold(), 0)
    return partial(one_label_mask, number=number, label=marked)


def _check(found: _Files, wishes: Wishes, *, needs_lossless: bool) -> None:
    """Refuse cases without all of their channels, and masks without an image."""
    first = found.images[0]
    problems = []
    for pattern, images in zip(wishes.images[1:], found.images[1:], strict=True):
        if missing := [case for case in first if case not in images]:
            problems.append(f"'{pattern}' finds no file for the cases {listing(missing)}")
    for who, masks in found.masks.items():
        if alone := [paths[0].name for case, paths in masks.items() if case not in first]:
            problems.append(
                f"'{who}' finds masks for which '{wishes.images[0]}' finds no image: "
                f"{listing(alone)}"
            )
    if not found.masks:
        problems += _mask_like(first)
    refuse_all(problems, remedy="correct the patterns or the names, or take these files away")
    if needs_lossless:
        for_each(
            (path for each in found.masks.values() for paths in each.values() for path in paths),
            require_lossless,
        )


def _mask_like(images: Mapping[str, Path]) -> list[str]:
    """Return a problem for images whose names are those of masks of others."""
    found = [
        case
        for case in images
        if (match := _LOOKS_LIKE_A_MASK.search(case)) and case[: match.start()] in images
    ]
    if not found:
        return []
    return [
        f"--images finds {len(found)} files that are named as masks of others, such as "
        f"'{images[found[0]].name}': name them with --masks, "
        f"such as '{{case}}_mask{{part}}.png'"
    ]


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
    who: str,
    masks: Mapping[str, Mapping[str, Sequence[Path]]],
    tags: Tags | None,
    are_held_out: Mapping[str, bool],
    listed: Set[str],
) -> Iterator[str]:
    """Yield what the user should know about raters, tags and the part for testing."""
    if who:
        yield f"raters: {who}; one who has no file for an image was not asked about it"
    yield from tags.remarks if tags else ()
    without = [case for case in masks if not (case in tags.of_cases if tags else masks[case])]
    if without:
        what = "image-level labels" if tags else "a mask"
        yield f"images without {what} go to imagesTs: {listing(without)}"
    if listed:
        yield f"{len(listed)} images of --test_list go to imagesTs"
    others = {*without, *listed}
    if held_out := [
        case for case, is_test in are_held_out.items() if is_test and case not in others
    ]:
        yield f"cases of a folder for validation or testing go to imagesTs: {listing(held_out)}"
