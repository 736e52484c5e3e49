"""Maps of numbers, such as probabilities or saliency, from their files and into them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffunet.data.image_io.formats import file_ending_of
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.images import read_image, write_array

_TOLERANCE = 1e-4
_PNG_MAXIMUM = 65535


@dataclass(frozen=True, kw_only=True)
class MapScale:
    """How the numbers of a map stand in its file: number = offset + factor * stored.

    Attributes:
        offset, factor: 0 and 1 where the file holds the numbers themselves.
    """

    offset: float = 0.0
    factor: float = 1.0

    def restore(self, stored: np.ndarray) -> np.ndarray:
        """Return the numbers, float32, of what `read_map` gives."""
        if self == MapScale():
            return stored
        return (self.offset + self.factor * stored.astype(np.float64)).astype(np.float32)


def read_map(path: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Read what `write_map` or `write_signed_map` stored, float32 (*spatial), and its geometry.

    Raises:
        DatasetError: the file cannot be read or has several channels.
    """
    array, geometry = read_image([path], num_channels=1)
    if array.dtype == np.uint16 and file_ending_of(path) == ".png":
        return array[0].astype(np.float32) / np.float32(_PNG_MAXIMUM), geometry
    return array[0].astype(np.float32, copy=False), geometry


def write_map(path: Path, values: np.ndarray, geometry: ImageGeometry) -> None:
    """Write a map (*spatial) of numbers in [0, 1] atomically: float32, in PNG 16 bit.

    Raises:
        ValueError: a value is outside [0, 1] or NaN, the shape is not the geometry's, or the format
            cannot hold the array (BMP: see `map_file_ending`).
    """
    lowest, highest = float(values.min(initial=1)), float(values.max(initial=0))
    if not (lowest >= -_TOLERANCE and highest <= 1 + _TOLERANCE):
        raise ValueError(f"'{path}': a map holds numbers in [0, 1], got {lowest} to {highest}")
    clipped = np.clip(values, 0, 1).astype(np.float32, copy=False)
    if file_ending_of(path) == ".png":
        clipped = np.rint(clipped * np.float64(_PNG_MAXIMUM)).astype(np.uint16)
    write_array(path, clipped, geometry)


def write_signed_map(path: Path, values: np.ndarray, geometry: ImageGeometry) -> MapScale:
    """Write a map (*spatial) of any finite numbers atomically, and return how to get them back.

    float32, as they are; in PNG 16 bit, from the smallest number to the largest.

    Raises:
        ValueError: a value is not finite, the shape is not the geometry's, or the format cannot
            hold the array (BMP: see `map_file_ending`).
    """
    lowest, highest = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    if not np.isfinite([lowest, highest]).all():
        raise ValueError(f"'{path}': a map holds finite numbers, got {lowest} to {highest}")
    if file_ending_of(path) != ".png":
        write_array(path, values.astype(np.float32, copy=False), geometry)
        return MapScale()
    scale = MapScale(offset=lowest, factor=highest - lowest or 1.0)
    stored = (values.astype(np.float64) - scale.offset) / scale.factor
    write_array(path, np.rint(stored * _PNG_MAXIMUM).astype(np.uint16), geometry)
    return scale
