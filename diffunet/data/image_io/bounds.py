"""Check what a header declares against the file's size and the limit, before reading a voxel."""

from collections.abc import Sequence
from pathlib import Path

from diffunet.errors import DatasetError
from diffunet.limits import how_to_allow, max_image_bytes

MOST_UNPACKED = 1032  # bytes that deflate, which .gz, .png and .tif use, can make of one
_GB = 2**30


def require_room(path: Path, *, shape: Sequence[int], num_bytes: int) -> None:
    """Check that the voxels of a file fit into the memory that an image may take.

    Args:
        shape: for the message.
        num_bytes: of the voxels, as the header declares them.

    Raises:
        DatasetError: they do not; with what raises the limit.
    """
    if num_bytes > max_image_bytes():
        raise DatasetError(
            f"'{path}': expected at most {max_image_bytes() / _GB:.3g} GB of voxels, found a "
            f"header that declares {_product(shape)}, {num_bytes / _GB:.3g} GB; correct the "
            f"header or, if the image is that large, raise the limit: "
            f"{how_to_allow(num_bytes)}"
        )


def require_whole(path: Path, *, shape: Sequence[int], num_bytes: int, is_compressed: bool) -> None:
    """Check that a file is large enough for the voxels that its header declares.

    Raises:
        DatasetError: it is not, however well they are compressed.
    """
    size = path.stat().st_size
    if num_bytes > (size * MOST_UNPACKED if is_compressed else size):
        raise DatasetError(
            f"'{path}': expected {_product(shape)} voxels, as the header says, {num_bytes} bytes; "
            f"found a file of {size} bytes, too small for them; it may be truncated: copy or "
            "export it again"
        )


def _product(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
