"""How much memory one image file may ask for, checked before it is taken.

A few megabytes can declare, and even unpack to, more than a machine has. Readers compare what a
header declares with this limit before they read a voxel.
"""

import math

DEFAULT_MAX_IMAGE_GB = 4.0
"""2^30 bytes of voxels: 1,024 x 1,024 x 1,024 of 32 bits, or 16 CT scans of the usual size."""

VARIABLE = "diffunet_max_image_gb"
"""The environment variable that raises the limit; the commands read it."""

_GB = 2**30
_MOST_GB = 2.0**30  # more than any machine has; infinity is refused
_max_image_bytes = round(DEFAULT_MAX_IMAGE_GB * _GB)


def max_image_bytes() -> int:
    """Return how many bytes the voxels of one image file may take."""
    return _max_image_bytes


def set_max_image_bytes(num_bytes: int) -> None:
    """Set the limit of this process; worker processes that it starts then take it over."""
    global _max_image_bytes
    _max_image_bytes = num_bytes


def how_to_allow(num_bytes: int) -> str:
    """Return in words how to raise the limit to `num_bytes`."""
    gigabytes = math.ceil(num_bytes / _GB)
    return (
        f"{VARIABLE}={gigabytes} in the environment of a command, or in Python "
        f"diffunet.limits.set_max_image_bytes({gigabytes} * 2**30)"
    )


def max_image_bytes_from(text: str | None) -> int:
    """Return the limit in bytes that `text`, in GB, asks for; None means the default.

    Raises:
        ValueError: `text` is no positive, finite number.
    """
    try:
        gigabytes = DEFAULT_MAX_IMAGE_GB if text is None else float(text)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < _MOST_GB:
        raise ValueError(f"{VARIABLE}: expected a positive number of GB, found {text!r}")
    return round(gigabytes * _GB)
