"""Label maps, from their files and into them: integers, whatever numbers a file holds."""

from pathlib import Path

import numpy as np

from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.images import read_array, without_equal_colours, write_array
from diffunet.errors import DatasetError

_WHOLE_TOLERANCE = 0.05  # of a label: whole numbers up to 25 that were scaled to 8 bits miss less
_LARGEST_LABEL = 2.0**53  # beyond it floating point numbers skip integers


def read_label_map(path: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Read the integers of a label map, (*spatial), and its geometry.

    Files of floating point numbers are accepted where every number is whole, to a twentieth.

    Raises:
        DatasetError: the file cannot be read, has several channels, or holds other numbers.
    """
    array, geometry = read_array(path, is_label=True)
    return whole_numbers(path, array, geometry), geometry


def whole_numbers(path: Path, array: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """Return the integers (*spatial) of an array (channel, *spatial) that was read from a file.

    Raises:
        DatasetError: as `read_label_map`.
    """
    array = without_equal_colours(array)
    if len(array) != 1:
        raise DatasetError(
            f"'{path}': expected a label map of one channel, found {len(array)} channels; "
            f"{_one_channel_remedy(geometry)}"
        )
    label_map = array[0]
    if np.issubdtype(label_map.dtype, np.integer):
        return label_map
    whole = np.rint(label_map)
    is_wrong = ~(np.abs(whole - label_map) <= _WHOLE_TOLERANCE) | (np.abs(whole) > _LARGEST_LABEL)
    if is_wrong.any():
        value = float(label_map[is_wrong].flat[0])
        remedy = "resample label maps by nearest neighbour only"
        if not np.isfinite(value):
            remedy = "write the integer of the label that it stands for, such as the background's"
        elif label_map.min() >= 0 and label_map.max() <= 1:
            remedy += (
                "; of a soft mask (shares or probabilities from 0 to 1) write 1 from 0.5 on or, if "
                "it is the mean of several raters, the mask of each"
            )
        raise DatasetError(
            f"'{path}': expected integers, found {label_map.dtype} with values such as {value:g}; "
            f"save the label map as integers, and {remedy}"
        )
    return whole.astype(np.int64 if whole.min(initial=0) < 0 else _smallest_dtype(whole))


def write_label_map(path: Path, label_map: np.ndarray, geometry: ImageGeometry) -> None:
    """Write the integers (*spatial) atomically, in the smallest unsigned dtype that holds them.

    Raises:
        ValueError: a value is negative, the shape is not the geometry's, or the format cannot hold
            the array.
    """
    if label_map.dtype != bool and not np.issubdtype(label_map.dtype, np.integer):
        raise ValueError(f"'{path}': a label map holds integers, got {label_map.dtype}")
    if label_map.min(initial=0) < 0:
        raise ValueError(f"'{path}': a label map holds no negative values, got {label_map.min()}")
    write_array(path, label_map.astype(_smallest_dtype(label_map), copy=False), geometry)


def _one_channel_remedy(geometry: ImageGeometry) -> str:
    """Return the remedy for the usual causes of a label map with several channels."""
    if len(geometry.shape) == 2:
        return "save it as one channel of integers (a grey image, not a coloured one)"
    return (
        "a file with layers for segments that overlap (as 3D Slicer writes them) or with several "
        "points in time is not one label map: export each layer as a label map of its own"
    )


def _smallest_dtype(values: np.ndarray) -> type[np.unsignedinteger]:
    highest = int(values.max(initial=0))
    return next(
        t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if highest <= np.iinfo(t).max
    )
