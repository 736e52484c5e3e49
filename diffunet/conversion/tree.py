"""The folders of a download, which may have been unpacked one level deeper, or on a Mac."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from diffunet.errors import DatasetError

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

_MOST_LEVELS = 8
_MOST_TOLD = 20
# where a word begins: Test_Sets and GLI-Challenge-ValidationData, but not latest
_TRAINING = re.compile(r"(?i:(?<![a-z])train)|(?<=[a-z])Train")
_HELD_OUT = re.compile(r"(?i:(?<![a-z])(valid|test))|(?<=[a-z])(Valid|Test)")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without hidden files and what macOS leaves behind."""
    return sorted(path for path in folder.iterdir() if _is_visible(path.name))


def _is_visible(name: str) -> bool:
    return name[:1] != "." and name != "__MACOSX"


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in, and so would come again and again."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def files_by_ending(source: Path) -> dict[str, list[Path]]:
    """Return all files below a folder, or the file itself, by their ending in lower case.

    Made for hundreds of thousands of files: none is asked what it is.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    if source.is_file():
        files[source.suffix.lower()].append(source)
    for folder, below, names in os.walk(source, followlinks=True):
        below[:] = sorted(
            name for name in below if _is_visible(name) and not _leads_back(Path(folder, name))
        )
        for name in sorted(filter(_is_visible, names)):
            path = Path(folder, name)
            files[path.suffix.lower()].append(path)
    return files


def folders_of(source: Path, *, most_levels: int = _MOST_LEVELS) -> Iterator[Path]:
    """Yield a folder, and each folder below it, in the order of their paths.

    Raises:
        DatasetError: `source` is no folder.
    """
    _require_folder(source)
    yield source
    if most_levels:
        for path in visible(source):
            if path.is_dir() and not _leads_back(path):
                yield from folders_of(path, most_levels=most_levels - 1)


def files_below(source: Path) -> tuple[Path, ...]:
    """Return the files in a folder and in those below it, sorted.

    Raises:
        DatasetError: `source` is no folder.
    """
    _require_folder(source)
    return tuple(sorted(path for files in files_by_ending(source).values() for path in files))


def _require_folder(source: Path) -> None:
    if not source.is_dir():
        raise DatasetError(
            f"'{source}': expected the folder of a download, found a file; unpack it, and name the "
            "folder that holds what came out"
        )


def nothing_found(source: Path, files: Sequence[Path], *, layout: str) -> DatasetError:
    """Return the error for a download none of whose files is named as expected."""
    names = [str(path.relative_to(source)) for path in files]
    packed = [name for name in names if name.lower().endswith(_ARCHIVES)]
    shown = f"{len(names)} file(s), such as '{(packed or names)[0]}'" if names else "no file"
    remedy = "unpack it first" if packed else "name the folder into which the download was unpacked"
    return DatasetError(f"'{source}': expected {layout}; found {shown}; {remedy}")


def refuse_all(problems: Sequence[str], *, remedy: str = "") -> None:
    """Refuse a download that is not whole.

    Args:
        remedy: for all of them; "" where each tells its own.

    Raises:
        DatasetError: there are problems; the first ones are named.
    """
    if problems:
        raise DatasetError([*first_of(problems), *filter(None, [remedy])])


def first_of(problems: Sequence[str]) -> list[str]:
    """Return as many problems as someone reads, and how many more there are."""
    num_more = len(problems) - _MOST_TOLD
    return [*problems[:_MOST_TOLD], *([f"and {num_more} more"] if num_more > 0 else [])]


def for_each(items: Iterable[Item], read: Callable[[Item], Result]) -> dict[Item, Result]:
    """Return `read(item)` of each item.

    Raises:
        DatasetError: what is wrong with all those for which `read` raises one.
    """
    found: dict[Item, Result] = {}
    problems: list[str] = []
    for item in items:
        try:
            found[item] = read(item)
        except DatasetError as fault:
            problems += fault.problems
    refuse_all(problems)
    return found


def only_one(found: Sequence[Path], *, what: str) -> Path:
    """Return the one file or folder that was found.

    Raises:
        DatasetError: there are several; two of them are named.
    """
    if len(found) > 1:
        raise DatasetError(
            f"expected {what} once, found '{found[0]}' and '{found[1]}'; are there several copies "
            "of the download? name the folder of one, or remove the others"
        )
    return found[0]


def subfolder(folder: Path, *names: str) -> Path:
    """Return a folder below another, whatever the case of the names; it may not exist."""
    for name in names:
        inside = visible(folder) if folder.is_dir() else []
        found = [path for path in inside if path.is_dir() and path.name.lower() == name.lower()]
        folder = found[0] if found else folder / name
    return folder


def is_held_out(folder: Path, source: Path) -> bool:
    """Whether a folder is of a part for validation or testing, by the names below `source`.

    The innermost name that speaks of one part decides; "training-validation" speaks of none, and
    that of `source` may be the user's own.
    """
    for name in folder.relative_to(source).parts[::-1]:
        says_training, says_held_out = _TRAINING.search(name), _HELD_OUT.search(name)
        if bool(says_training) != bool(says_held_out):
            return says_held_out is not None
    return False
