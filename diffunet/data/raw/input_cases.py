"""Which images to predict: of a folder, or one file, with names as in a raw dataset or without."""

from collections.abc import Collection
from pathlib import Path

from diffunet.data.image_io import (
    file_ending_of,
    is_photograph,
    read_image,
    supported_file_endings,
    takes_photographs,
)
from diffunet.data.raw.case_files import (
    OF_MODEL,
    CaseFiles,
    Findings,
    folders_with,
    images_by_case,
    listing,
    split_channel,
)
from diffunet.errors import DatasetError
from diffunet.names import canonical, name_problem
from diffunet.workspace import IMAGES_FOLDER, TEST_IMAGES_FOLDER


def find_input_cases(path: Path, file_ending: str, num_channels: int) -> tuple[CaseFiles, ...]:
    """Return the cases to predict, sorted: those of a folder, or the one that a file belongs to.

    A single file may have any supported ending, and any name. It is always read: alone, if it holds
    all channels or the model has only one. Otherwise a name like `CASE_0001` names a channel, and
    the other channels are expected beside it.

    Of a model of pictures, photographs may be given as they are (`CASE.jpg`): they need no channel
    in their name.

    Args:
        path: a folder with `CASE_0000.ext` files, or such a file.
        file_ending: of the model's dataset; what a folder is searched for.
        num_channels: of the model's dataset.

    Raises:
        DatasetError: all that is wrong with the names, or there is no case.
    """
    if path.is_file():
        if is_photograph(path) and takes_photographs(file_ending):
            return (CaseFiles(case=_case_of_photograph(path), images=(path,)),)
        return (_case_of_file(path, num_channels),)
    if not path.is_dir():
        raise DatasetError(f"'{path}': expected a folder or an image file, found neither")
    findings = Findings()
    images = images_by_case(path, file_ending, num_channels, findings=findings, ending_is=OF_MODEL)
    if takes_photographs(file_ending):
        images |= _photographs_by_case(path, images, findings=findings)
    if not images and not findings.problems:
        inside = [
            f"'{path / name}'"
            for name in (TEST_IMAGES_FOLDER, IMAGES_FOLDER)
            if (path / name).is_dir()
        ]
        deeper = folders_with(path, file_ending)
        remedy = f"move those of the folders {listing(deeper)} up" if deeper else "put them there"
        also = " or photographs CASE.jpg" if takes_photographs(file_ending) else ""
        findings.problems.append(
            f"'{path}': expected images CASE_0000{file_ending}{also}, found none; "
            + (f"did you mean {' or '.join(inside)}?" if inside else remedy)
        )
    if findings.problems:
        raise DatasetError(findings.problems)
    return tuple(CaseFiles(case=case, images=images[case]) for case in sorted(images))


def _case_of_file(path: Path, num_channels: int) -> CaseFiles:
    ending = file_ending_of(path)
    if ending is None:
        raise DatasetError(
            f"'{path}': expected one of {', '.join(supported_file_endings())}; convert the file"
        )
    stem, ending = path.name[: -len(ending)], path.name[-len(ending) :]
    if problem := name_problem(canonical(stem)):
        raise DatasetError(f"'{path}': expected a name for files to be written: {problem}")
    case, number = split_channel(stem) or (stem, num_channels)
    if number >= num_channels:
        return CaseFiles(case=canonical(stem), images=(path,))
    if num_channels == 1 or _num_channels(path) > 1:
        return CaseFiles(case=canonical(case if number == 0 else stem), images=(path,))
    names = [f"{case}_{channel:04d}{ending}" for channel in range(num_channels)]
    siblings = tuple(path.with_name(name) for name in names)
    found = [sibling for sibling in siblings if sibling.is_file()]
    if len(found) == 1 and path == siblings[0]:
        return CaseFiles(case=canonical(case), images=(path,))
    if len(found) < num_channels:
        missing = [sibling.name for sibling in siblings if sibling not in found]
        raise DatasetError(
            f"case '{case}': expected {num_channels} channels beside '{path}', missing "
            f"are {listing(missing)}; add these files"
        )
    return CaseFiles(case=canonical(case), images=siblings)


def _photographs_by_case(
    folder: Path, others: Collection[str], *, findings: Findings
) -> dict[str, tuple[Path, ...]]:
    """Return the photograph of each case in `folder`; faults go into `findings`.

    Args:
        others: cases of other files in it.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not is_photograph(path):
            continue
        try:
            case = _case_of_photograph(path)
        except DatasetError as fault:
            findings.problems.extend(fault.problems)
            continue
        if case in found or case in others:
            findings.problems.append(
                f"case '{case}': expected one file, found '{path.name}' and another of this name "
                f"in {folder.name}; remove one"
            )
        found[case] = (path,)
    return found


def _case_of_photograph(path: Path) -> str:
    """Return CASE of `CASE.jpg` or `CASE_0000.jpg`.

    Raises:
        DatasetError: files to be written cannot have this name.
    """
    stem = canonical(path.stem)
    if problem := name_problem(stem):
        raise DatasetError(f"'{path}': expected a name for files to be written: {problem}")
    return stem.removesuffix("_0000")


def _num_channels(path: Path) -> int:
    """Return how many channels a file holds; 1 where it cannot be read, which is said later."""
    try:
        image, _ = read_image([path])
    except DatasetError:
        return 1
    return len(image)
