"""What a header declares, held against the file's size and the limit, before a voxel is read."""

import math
from collections.abc import Sequence
from pathlib import Path

from diffunet.errors import DatasetError
from diffunet.limits import VARIABLE, max_image_bytes

_MOST_UNPACKED = 1032  # bytes that deflate, which .gz, .png and .tif use, can make of one
_GB = 2**30


def require_room(
    path: Path, *, shape: Sequence[int], num_bytes: int, is_whole: bool = False
) -> None:
    """Check that the voxels of a file can be read.

    Args:
        shape: for the message.
        num_bytes: of the voxels, as the header declares them.
        is_whole: the file holds all of them uncompressed.

    Raises:
        DatasetError: they need more memory than the limit allows, or the file is too small for
            them.
    """
    declared = " x ".join(str(size) for size in shape)
    if num_bytes > max_image_bytes():
        raise DatasetError(
            f"'{path}': expected at most {max_image_bytes() / _GB:.3g} GB of voxels, found a "
            f"header that declares {declared}, {num_bytes / _GB:.3g} GB; correct the header, or "
            f"where the image is that large raise the limit: {VARIABLE}="
            f"{math.ceil(num_bytes / _GB)}"
        )
    size = path.stat().st_size
    most = size if is_whole else size * _MOST_UNPACKED
    if num_bytes > most:
        raise DatasetError(
            f"'{path}': expected {declared} voxels, as the header says, {num_bytes} bytes; found a "
            f"file of {size} bytes, too small for them; it may be truncated: copy or export it "
            "again"
        )
