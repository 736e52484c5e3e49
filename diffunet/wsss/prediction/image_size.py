"""Images that are larger than those that a weak model learned from.

Its networks see whole slices, and learned from patches that hold the largest training image. What a
larger image shows as a whole is new to them, and where they attend to all positions at once, time
grows with the square of their number.
"""

import logging
import math
from collections.abc import Sequence

from diffunet.errors import DatasetError

MOST_TOLD, MOST = 4, 64
"""Times the area of a patch from which an image is warned of, and from which it is refused."""

logger = logging.getLogger(__name__)


def check_size(size: Sequence[int], *, patch_size: Sequence[int], case: str) -> None:
    """Warn of a slice much larger than those of the training.

    Args:
        size: (y, x) of the slice in voxels, on the grid of training.
        patch_size: (y, x).

    Raises:
        DatasetError: it is so large that the answer would mean nothing, and take hours.
    """
    times = math.prod(size) / math.prod(patch_size)
    if times <= MOST_TOLD:
        return
    found, learned = (" x ".join(map(str, each)) for each in (size, patch_size))
    told = (
        f"case '{case}': expected at most the {learned} voxels of the largest images that the "
        f"model learned from, found {found} on its grid, {times:.0f} times as many"
    )
    if times > MOST:
        raise DatasetError(f"{told}; crop the image, or correct its voxel size, if that is wrong")
    logger.warning(
        "%s: it has never seen as much at once, and may be wrong about it, and slow; crop the "
        "image, or correct its voxel size, if that is wrong",
        told,
    )
