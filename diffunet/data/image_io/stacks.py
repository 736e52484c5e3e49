"""Several label maps of one grid in one file, as viewers take them: with a slider over the maps.

A stack of volumes is a NIfTI (x, y, z, map), one of images a TIFF of pages. Maps are written and
read one at a time.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from diffunet.data.image_io import nifti, tiff
from diffunet.data.image_io.formats import file_ending_of
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.images import read_checked, reading_problem
from diffunet.data.image_io.label_maps import read_label_map, whole_numbers
from diffunet.errors import DatasetError

STACK_FILE_ENDINGS = {2: ".tif", 3: ".nii.gz"}
"""By the number of spatial axes."""

_FORMATS = {
    **dict.fromkeys(nifti.FILE_ENDINGS, nifti),
    **dict.fromkeys(tiff.FILE_ENDINGS, tiff),
}
_FAST = 1  # zlib's level; label maps shrink a hundredfold even so

ReadMap = Callable[[int], tuple[np.ndarray, ImageGeometry]]


@dataclass(frozen=True, kw_only=True)
class StoredMap:
    """Where a label map is stored.

    Attributes:
        number: its place in a file that holds several; None: it has the file to itself.
    """

    path: Path
    number: int | None = None


@final
class StackWriter:
    """Takes label maps of one grid in any order, compressed in memory, until all are written."""

    def __init__(self, path: Path, geometry: ImageGeometry, *, dtype: np.dtype[Any]):
        self.path = path
        self._geometry = geometry
        self._dtype = dtype
        self._packed: dict[int, bytes] = {}

    def add(self, number: int, label_map: np.ndarray) -> None:
        """Take a map (*spatial), whose values `dtype` holds.

        Raises:
            ValueError: its shape is another.
        """
        if label_map.shape != self._geometry.shape:
            raise ValueError(
                f"'{self.path}': the array is {label_map.shape}, its geometry "
                f"{self._geometry.shape}"
            )
        stored = np.ascontiguousarray(label_map, self._dtype)
        self._packed[number] = zlib.compress(stored.data, _FAST)

    def write(self) -> None:
        """Write the file atomically.

        Raises:
            ValueError: the numbers of the maps have a gap.
            WriteError: the file cannot be written.
        """
        numbers = range(len(self._packed))
        if set(numbers) != set(self._packed):
            raise ValueError(f"'{self.path}': got the maps {sorted(self._packed)}, with a gap")
        _FORMATS[STACK_FILE_ENDINGS[self._geometry.num_dimensions]].write_stack(
            self.path,
            (self._unpacked(number) for number in numbers),
            self._geometry,
            num_maps=len(numbers),
            dtype=self._dtype,
        )

    def _unpacked(self, number: int) -> np.ndarray:
        content = zlib.decompress(self._packed[number])
        return np.frombuffer(content, self._dtype).reshape(self._geometry.shape)


def stack_size(path: Path) -> int:
    """Return how many label maps a stack holds.

    Raises:
        DatasetError: it cannot be read.
    """
    return _opened(path)[0]


@final
class LabelMapReader:
    """Reads label maps, also out of stacks, which stay open until the reader goes."""

    def __init__(self) -> None:
        self._stacks: dict[Path, tuple[int, ReadMap]] = {}

    def __call__(self, stored: StoredMap) -> tuple[np.ndarray, ImageGeometry]:
        """Return the integers (*spatial) and their geometry.

        Raises:
            DatasetError: as `read_label_map`, or the stack has no map of this number.
        """
        path, number = stored.path, stored.number
        if number is None:
            return read_label_map(path)
        if path not in self._stacks:
            self._stacks[path] = _opened(path)
        size, read_map = self._stacks[path]
        if number >= size:
            raise DatasetError(f"'{path}': expected more than {number} label maps, found {size}")

        def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
            array, geometry = read_map(number)
            return array[None], geometry

        array, geometry = read_checked(read, path, _ending(path), is_label=True)
        return whole_numbers(path, array, geometry), geometry


def _opened(path: Path) -> tuple[int, ReadMap]:
    try:
        return _FORMATS[_ending(path)].open_stack(path)
    except DatasetError:
        raise
    except Exception as cause:  # as in `read_checked`
        raise DatasetError(reading_problem(path, _ending(path), cause)) from cause


def _ending(path: Path) -> str:
    return file_ending_of(path) or path.suffix
