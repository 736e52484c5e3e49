"""Which part of a case is kept: the box around everything that is not zero, as in nnU-Net."""

from typing import Any

import numpy as np
from scipy import ndimage

from diffunet.geometry import Box


def crop_box(image: np.ndarray) -> Box:
    """Return the box of an image (channel, *spatial) that is kept.

    For a volume the smallest that holds every voxel at which some channel is not zero (filling
    holes of that mask would not change its box); the whole where all is zero. A 2D picture is kept
    whole: it costs little, and its frame stays what the photographer or the dataset's author chose.
    """
    shape = image.shape[1:]
    whole = Box((0,) * len(shape), tuple(shape))
    if len(shape) < 3:
        return whole
    is_nonzero = image[0] != 0
    for channel in image[1:]:
        is_nonzero |= channel != 0
    return Box.of_mask(is_nonzero) or whole


def body_mask(image: np.ndarray) -> np.ndarray:
    """Return where some channel of an image (channel, *spatial) is not zero, holes filled.

    A hole is a region of zeros that no path along axes connects with the border.
    """
    is_zero = (image == 0).all(axis=0)
    regions: Any = np.empty(is_zero.shape, np.int32)
    num_regions: Any = ndimage.label(is_zero, output=regions)
    is_outside = np.zeros(num_regions + 1, bool)
    for axis in range(regions.ndim):
        is_outside[np.take(regions, [0, -1], axis=axis)] = True
    is_outside[0] = False
    return ~is_outside[regions]
