"""Images of anyone, and a folder of masks from each reader: equal names belong together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.formats import format_of
from diffunet.conversion.mask_values import mask_rule
from diffunet.conversion.own_images import (
    DEFAULT_LABELS,
    dataset_json,
    kind_of,
    patients_of,
    reading,
)
from diffunet.conversion.photographs import require_lossless
from diffunet.conversion.reader_files import by_name, common_suffix, without_suffix
from diffunet.conversion.tree import (
    files_below,
    folders_of,
    for_each,
    nothing_found,
    only_one,
    refuse_all,
    subfolder,
    visible,
)
from diffunet.conversion.wishes import Wishes
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError
from diffunet.names import file_parts

_IMAGES = "images"
_SEARCHED_LEVELS = 2


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the images, each with the masks of the readers who were asked.

    Raises:
        DatasetError: the folders are not as they should be; all masks without an image are named.
        UsageError: `wishes` names another number of channels than the images have.
    """
    root = _root_of(source)
    labels = wishes.labels or DEFAULT_LABELS
    rule = mask_rule(labels, wishes.values)
    images, others = by_name(subfolder(root, _IMAGES))
    as_named = {
        folder.name: by_name(folder)[0]
        for folder in visible(root)
        if folder.is_dir() and folder.name.lower() != _IMAGES
    }
    suffixes = {name: common_suffix(masks, images) for name, masks in as_named.items()}
    readers = {
        name: without_suffix(masks, suffixes[name], images) for name, masks in as_named.items()
    }
    _check(root, images, readers, needs_lossless=len(labels) > 1 or bool(wishes.values))
    kind = kind_of(list(images.values()))
    raters = {f"r{number:02d}": name for number, name in enumerate(readers)}
    masks = {
        case: {
            rater: readers[name][case] for rater, name in raters.items() if case in readers[name]
        }
        for case in images
    }
    unread = [case for case in images if not masks[case]]
    patients = patients_of(root, [case for case in images if masks[case]], unread)
    who = "; ".join(f"{rater}: {name}" for rater, name in raters.items())
    cases = [
        SourceCase(
            name=case,
            read=reading(
                case,
                [image],
                {rater: [path] for rater, path in masks[case].items()},
                kind=kind,
                rule=rule,
                patient=patients[case],
            ),
            is_test=case in unread,
        )
        for case, image in images.items()
    ]
    return Conversion(
        dataset_json=dataset_json(kind, wishes=wishes, description=who, has_raters=True),
        cases=tuple(cases),
        suggested_name=file_parts([root.absolute().name])[0],
        is_colour=kind.is_colour,
        remarks=tuple(_remarks(who, unread, others, suffixes)),
    )


def _root_of(source: Path) -> Path:
    """Return the folder that holds `images`: `source`, or one below."""
    found = [
        folder
        for folder in folders_of(source, most_levels=_SEARCHED_LEVELS)
        if subfolder(folder, _IMAGES).is_dir()
    ]
    if not found:
        if subfolder(source.parent, _IMAGES).is_dir():
            raise DatasetError(
                f"'{source}': expected {format_of('observers').layout}; found one of these "
                f"folders; did you mean '{source.parent}'?"
            )
        raise nothing_found(source, files_below(source), layout=format_of("observers").layout)
    return only_one(found, what=f"a folder '{_IMAGES}'")


def _check(
    root: Path,
    images: Mapping[str, Path],
    readers: Mapping[str, Mapping[str, Path]],
    *,
    needs_lossless: bool,
) -> None:
    if not images or not readers:
        what = "image in 'images'" if not images else "folder of a reader beside 'images'"
        raise DatasetError(
            f"'{root}': expected {format_of('observers').layout}; found no {what}; add it"
        )
    problems = []
    for reader, masks in readers.items():
        alone = {path.name for name, path in masks.items() if name not in images}
        if alone:
            problems.append(
                f"'{root / reader}': expected masks with the names of images, whatever the ending, "
                "or with one addition to all (EYE_mask.png for EYE.jpg), found no image for "
                f"{listing(alone)}; correct the names, and join several masks of one image"
            )
        elif not masks:
            problems.append(
                f"'{root / reader}': expected the masks of a reader, found "
                f"{_in_place_of_masks(root / reader)}, or take the folder away"
            )
    refuse_all(problems)
    if needs_lossless:
        for_each((path for masks in readers.values() for path in masks.values()), require_lossless)


def _in_place_of_masks(folder: Path) -> str:
    """Return what a folder without masks holds, and what to do."""
    inside = visible(folder)
    if folders := {path.name for path in inside if path.is_dir()}:
        return f"folders: {listing(folders)}; move them up, beside '{_IMAGES}'"
    if inside:
        return f"'{inside[0].name}'; export outlines as images"
    return "none; add them"


def _remarks(
    who: str, unread: Sequence[str], others: Sequence[str], suffixes: Mapping[str, str]
) -> Iterator[str]:
    yield f"readers: {who}; a reader who has no file for an image was not asked about it"
    for suffix in sorted({*suffixes.values()} - {""}):
        yield f"masks are named as their images, with '{suffix}' added"
    if unread:
        yield f"images that nobody read go to imagesTs: {listing(unread)}"
    if others:
        yield f"left out of '{_IMAGES}', since they are no images: {listing(others)}"
