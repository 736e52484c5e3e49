"""The files of a folder by name, and masks whose names add one ending to those of their images."""

from collections.abc import Collection, Mapping
from pathlib import Path

from diffunet.conversion.tree import only_one, visible
from diffunet.data.image_io import META_HEADER_ENDING, file_ending_of
from diffunet.data.image_io.photograph import photograph_ending_of
from diffunet.names import canonical

_SEPARATORS = "_-. "


def ending_of(path: Path) -> str | None:
    """Return the ending of an image that a conversion reads, in lower case; None for others."""
    if path.name.lower().endswith(META_HEADER_ENDING):
        return META_HEADER_ENDING
    return photograph_ending_of(path) or file_ending_of(path)


def by_name(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the images of a folder by their name without ending, and the names of other files.

    The voxels of a .mhd lie in a .raw or .zraw of its name, which is neither.

    Raises:
        DatasetError: a name occurs in two formats.
    """
    files: dict[str, Path] = {}
    others: list[Path] = []
    for path in visible(folder):
        ending = ending_of(path)
        if ending is None:
            others.append(path)
            continue
        name = canonical(path.name[: -len(ending)])
        files[name] = only_one([path, *([files[name]] if name in files else [])], what=f"'{name}'")
    headers = {path.stem for path in files.values() if ending_of(path) == META_HEADER_ENDING}
    return files, [
        path.name
        for path in others
        if path.suffix.lower() not in (".raw", ".zraw") or path.stem not in headers
    ]


def common_suffix(masks: Collection[str], images: Collection[str]) -> str:
    """Return what most masks add to the names of their images, such as "_mask"; "" for nothing.

    It begins with one of "_", "-", "." and a space, so that `eye12` is no mask of `eye1`.
    """
    unknown = [name for name in masks if name not in images]
    if len(unknown) <= len(masks) / 2:
        return ""
    for mask in sorted(unknown):
        for length in range(1, len(mask)):
            suffix = mask[length:]
            if mask[:length] not in images or suffix[0] not in _SEPARATORS:
                continue
            if sum(_belongs(name, suffix, images) for name in masks) > len(masks) / 2:
                return suffix
    return ""


def without_suffix(
    masks: Mapping[str, Path], suffix: str, images: Collection[str]
) -> dict[str, Path]:
    """Return masks by the names of their images; those that do not end so keep their names."""
    return {
        name[: -len(suffix)] if _belongs(name, suffix, images) else name: path
        for name, path in masks.items()
    }


def _belongs(name: str, suffix: str, images: Collection[str]) -> bool:
    return bool(suffix) and name.endswith(suffix) and name[: -len(suffix)] in images
