"""Photographs and scans: what cameras and old tools write, turned as their EXIF tag says.

They are only read, to be written again without loss. A raw dataset never holds them as they are.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffunet.data.image_io import pillow, tiff
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.images import read_checked, without_equal_colours
from diffunet.errors import DatasetError

LOSSY_ENDINGS = (".jpg", ".jpeg")
_PNM_ENDINGS = (".ppm", ".pgm", ".pbm", ".pnm")
FILE_ENDINGS = (
    *(*LOSSY_ENDINGS, ".png", ".bmp", ".gif", *tiff.FILE_ENDINGS, *_PNM_ENDINGS),
    *(f"{ending}.gz" for ending in _PNM_ENDINGS),
)

_ORIENTATION = 0x0112
_GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "F")


def photograph_ending_of(path: Path) -> str | None:
    """Return the ending, in lower case, of a file that `read_photograph` reads; None for others."""
    name = path.name.lower()
    return next((ending for ending in FILE_ENDINGS if name.endswith(ending)), None)


def read_photograph(path: Path, *, is_label: bool = False) -> tuple[np.ndarray, ImageGeometry]:
    """Read what a camera or scanner wrote, lossy or not, turned as its EXIF tag says.

    Args:
        is_label: of an image with a palette, return the indices in place of the colours.

    Returns:
        The array (channel, y, x); of a TIFF that is a volume (channel, z, y, x).

    Raises:
        DatasetError: the file cannot be read, has none of `FILE_ENDINGS`, or holds several images.
    """
    ending = photograph_ending_of(path)
    if ending is None:
        raise DatasetError(
            f"'{path}': expected one of {', '.join(FILE_ENDINGS)}; convert the file without loss"
        )
    return read_checked(_read, path, ending, is_label=is_label)


def _read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    array, geometry = (tiff if _is_tiff(path) else pillow).read(path, is_label=is_label)
    if geometry.num_dimensions != 2:
        return array, geometry
    upright = np.ascontiguousarray(_turned(array, _orientation(path)))
    height, width = upright.shape[1:]
    return upright, replace(geometry, shape=(height, width))


def has_colours(path: Path) -> bool:
    """Whether a file shows colours: not what was grey when it was saved as RGB, nor if damaged.

    Whoever reads the file learns what is wrong with it.
    """
    from PIL import Image

    try:
        with pillow.without_pixel_limit(), Image.open(io.BytesIO(pillow.content_of(path))) as file:
            if file.mode in _GREY_MODES:
                return False
        array, _ = read_photograph(path)
    except Exception:  # what Pillow raises for a damaged file is not documented
        return False
    return len(without_equal_colours(array)) > 1


def _is_tiff(path: Path) -> bool:
    return path.name.lower().endswith(tiff.FILE_ENDINGS)


def _orientation(path: Path) -> int:
    """Return the EXIF tag of a file: 1 where it stands upright, or says nothing."""
    if _is_tiff(path):
        import tifffile

        with tifffile.TiffFile(path) as file:
            tag = file.pages.first.tags.get(_ORIENTATION)
            return 1 if tag is None else int(tag.value)
    from PIL import Image

    with pillow.without_pixel_limit(), Image.open(io.BytesIO(pillow.content_of(path))) as file:
        return int(file.getexif().get(_ORIENTATION, 1))


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return (..., y, x) as it should be seen: 5 to 8 exchange height and width first."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, -1, -2)
    if orientation in (3, 4, 7, 8):
        array = np.flip(array, axis=-2)
    if orientation in (2, 3, 6, 7):
        array = np.flip(array, axis=-1)
    return array
