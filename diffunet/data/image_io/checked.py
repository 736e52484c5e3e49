"""What readers of image files have in common: what goes wrong is told in our words."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from diffunet.data.image_io.geometry import ImageGeometry, in_words
from diffunet.data.image_io.warned import collected_warnings
from diffunet.errors import DatasetError


class Reader(Protocol):
    """Returns (channel, *spatial) and the geometry of a file; may raise anything."""

    def __call__(self, path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]: ...


def read_checked(
    read: Reader, path: Path, ending: str, *, is_label: bool
) -> tuple[np.ndarray, ImageGeometry]:
    """Return what `read` makes of a file, with the doubts about it.

    Args:
        ending: what the file should be, for messages.

    Raises:
        DatasetError: whatever is wrong: `read` fails, or what it returns are no voxels.
    """
    try:
        with collected_warnings() as said:
            array, geometry = read(path, is_label=is_label)
    except DatasetError:
        raise
    except MemoryError as cause:
        raise DatasetError(
            f"'{path}': there is not enough memory to read it; close other programs, run with "
            "fewer processes (-np), or use a machine with more memory"
        ) from cause
    except Exception as cause:  # what the libraries raise for a damaged file is not documented
        raise DatasetError(_reading_problem(path, ending, cause)) from cause
    if array.size == 0:
        raise DatasetError(
            f"'{path}': expected voxels, found the shape {geometry.shape}; export the file again"
        )
    if not (array.dtype == bool or np.issubdtype(array.dtype, np.number)) or np.issubdtype(
        array.dtype, np.complexfloating
    ):
        raise DatasetError(
            f"'{path}': expected integers or real numbers, found {array.dtype}; save the magnitude"
        )
    if not all(np.isfinite(size) and size > 0 for size in geometry.spacing_mm):
        raise DatasetError(
            f"'{path}': expected a positive spacing, found {in_words(geometry.spacing_mm)} mm; "
            "correct the header"
        )
    doubts = tuple(f"'{path.name}': {doubt}" for doubt in (*geometry.doubts, *said))
    return array, replace(geometry, doubts=doubts)


def _reading_problem(path: Path, ending: str, cause: Exception) -> str:
    try:
        is_empty = path.stat().st_size == 0
    except OSError:
        return f"'{path}': expected a {ending} file, found none (a link to nothing?); add the file"
    if is_empty:
        return f"'{path}': expected a {ending} file, found an empty one (0 bytes); copy it again"
    if isinstance(cause, PermissionError) or not _is_readable(path):
        return f"'{path}': expected a readable file, found no permission; allow reading (chmod +r)"
    reason = " ".join(str(cause).split())[-200:]
    return (
        f"'{path}': expected a {ending} file, found one that cannot be read "
        f"({type(cause).__name__}: {reason}); it may be truncated or of another format: copy or "
        "export it again"
    )


def _is_readable(path: Path) -> bool:
    try:
        path.open("rb").close()
    except IsADirectoryError:
        return True
    except OSError:
        return False
    return True
