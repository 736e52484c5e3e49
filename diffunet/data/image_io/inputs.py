"""Images to predict: as those of a raw dataset, or photographs as a camera wrote them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffunet.data.image_io import pillow
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.images import read_image, require_channels, without_equal_colours
from diffunet.data.image_io.photograph import LOSSY_ENDINGS, read_photograph

_COLOURS = 3


def takes_photographs(file_ending: str) -> bool:
    """Whether a model of images of this ending learned from pictures, as photographs are."""
    return file_ending.lower() in pillow.FILE_ENDINGS


def is_photograph(path: Path) -> bool:
    """Whether a file is one that no raw dataset holds, but that may be predicted."""
    return path.name.lower().endswith(LOSSY_ENDINGS)


def read_input(
    paths: Sequence[Path], *, num_channels: int | None = None
) -> tuple[np.ndarray, ImageGeometry]:
    """Read an image to predict: see `read_image`; a photograph as a conversion reads it.

    It is turned as its EXIF tag says, and a grey one gets three equal channels where colours are
    expected, so that it is as the training images of the same camera are.

    Raises:
        DatasetError: see `read_image`.
    """
    if len(paths) != 1 or not is_photograph(paths[0]):
        return read_image(paths, num_channels=num_channels)
    array, geometry = read_photograph(paths[0])
    if num_channels == 1:
        array = without_equal_colours(array)
    elif num_channels == _COLOURS and len(array) == 1:
        array = np.repeat(array, _COLOURS, axis=0)
    if num_channels is not None:
        require_channels(array, num_channels, path=paths[0])
    return array, geometry
