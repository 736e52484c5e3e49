"""The formats of image files, by their endings; a library is imported when it is needed."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from diffunet.data.image_io import itk, nifti, pillow, tiff
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import UsageError

META_HEADER_ENDING = itk.HEADER_ENDING
"""Of images that are read, by conversions, but belong to no raw dataset."""

LOSSY_FILE_ENDINGS = (".jpg", ".jpeg", ".webp", ".gif")


class Reader(Protocol):
    """Returns (channel, *spatial) and the geometry of a file; may raise anything."""

    def __call__(self, path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]: ...


@dataclass(frozen=True, kw_only=True)
class _Format:
    """How files of some endings are read and written, with the `module` of which `package`."""

    read: Reader
    write: Callable[[Path, np.ndarray, ImageGeometry], None]
    module: str
    package: str


_NIFTI = _Format(read=nifti.read, write=nifti.write, module="nibabel", package="nibabel")
_ITK = _Format(read=itk.read, write=itk.write, module="SimpleITK", package="SimpleITK")
_PILLOW = _Format(read=pillow.read, write=pillow.write, module="PIL.Image", package="Pillow")
_TIFF = _Format(read=tiff.read, write=tiff.write, module="tifffile", package="tifffile")
FORMATS = {
    **dict.fromkeys(nifti.FILE_ENDINGS, _NIFTI),
    **dict.fromkeys(itk.FILE_ENDINGS, _ITK),
    **dict.fromkeys(pillow.FILE_ENDINGS, _PILLOW),
    **dict.fromkeys(tiff.FILE_ENDINGS, _TIFF),
}


def supported_file_endings() -> tuple[str, ...]:
    """Return every file ending that can be read and written, in lower case, with its dot."""
    return tuple(FORMATS)


def file_ending_of(path: Path) -> str | None:
    """Return the supported ending of `path`, in lower case, whatever its case; None for others."""
    name = path.name.lower()
    return next((ending for ending in FORMATS if name.endswith(ending)), None)


def reader_of(path: Path) -> tuple[str, Reader] | None:
    """Return the ending of `path` and what reads it: a supported one, or `META_HEADER_ENDING`."""
    ending = file_ending_of(path)
    if ending is not None:
        return ending, FORMATS[ending].read
    if path.name.lower().endswith(META_HEADER_ENDING):
        return META_HEADER_ENDING, itk.read
    return None


def require_library(file_ending: str) -> None:
    """Check that the library for files of a supported ending can be imported.

    Raises:
        UsageError: it cannot.
    """
    wanted = FORMATS[file_ending.lower()]
    try:
        importlib.import_module(wanted.module)
    except ImportError as cause:
        raise UsageError(
            f"{file_ending} files need the package {wanted.package}, which cannot be imported here "
            f"({cause}); install it (pip install {wanted.package})"
        ) from cause


def files_of_image(path: Path) -> tuple[Path, ...]:
    """Return the files that are opened when `path` is read: itself, and that of its spacing."""
    sidecar = tiff.spacing_file(path) if file_ending_of(path) in tiff.FILE_ENDINGS else None
    return (path,) if sidecar is None else (path, sidecar)


def map_file_ending(file_ending: str) -> str:
    """Return the ending of the float maps of a dataset whose files end in `file_ending`."""
    return ".png" if file_ending.lower() == ".bmp" else file_ending
