"""Image files: arrays in, arrays out; the only place that knows how a file orders its axes.

Images are (channel, *spatial), label maps (*spatial), with spatial (y, x) or (z, y, x). A library
is imported when the first file of its kind is read.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffunet.data.image_io import itk, nifti, pillow, tiff
from diffunet.data.image_io.checked import Reader, read_checked
from diffunet.data.image_io.geometry import (
    GridDifference,
    ImageGeometry,
    grid_difference,
)
from diffunet.errors import DatasetError, UsageError

__all__ = [
    "LOSSY_FILE_ENDINGS",
    "GridDifference",
    "ImageGeometry",
    "MapScale",
    "file_ending_of",
    "files_of_image",
    "grid_difference",
    "map_file_ending",
    "read_image",
    "read_label_map",
    "read_map",
    "require_library",
    "supported_file_endings",
    "write_image",
    "write_label_map",
    "write_map",
    "write_signed_map",
]

LOSSY_FILE_ENDINGS = (".jpg", ".jpeg", ".webp", ".gif")

_WHOLE_TOLERANCE = 1e-3  # of a label: slopes and 32 bit numbers miss whole ones by less
_LARGEST_LABEL = 2.0**53  # beyond it floating point numbers skip integers
_MAP_TOLERANCE = 1e-4
_PNG_MAP_MAXIMUM = 65535


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


@dataclass(frozen=True, kw_only=True)
class _Format:
    """How files of some endings are read and written, with the `module` of which `package`."""

    read: Reader
    write: Callable[[Path, np.ndarray, ImageGeometry], None]
    module: str
    package: str


_NIFTI = _Format(read=nifti.read, write=nifti.write, module="nibabel", package="nibabel")
_ITK = _Format(read=itk.read, write=itk.write, module="SimpleITK", package="SimpleITK")
_PILLOW = _Format(read=pillow.read, write=pillow.write, module="PIL.Image", package="Pillow")
_TIFF = _Format(read=tiff.read, write=tiff.write, module="tifffile", package="tifffile")
_FORMATS = {
    **dict.fromkeys(nifti.FILE_ENDINGS, _NIFTI),
    **dict.fromkeys(itk.FILE_ENDINGS, _ITK),
    **dict.fromkeys((".png", ".bmp"), _PILLOW),
    **dict.fromkeys(tiff.FILE_ENDINGS, _TIFF),
}


def supported_file_endings() -> tuple[str, ...]:
    """Return every file ending that can be read and written, in lower case, with its dot."""
    return tuple(_FORMATS)


def file_ending_of(path: Path) -> str | None:
    """Return the supported ending of `path`, in lower case, whatever its case; None for others."""
    name = path.name.lower()
    return next((ending for ending in _FORMATS if name.endswith(ending)), None)


def require_library(file_ending: str) -> None:
    """Check that the library for files of a supported ending can be imported.

    Raises:
        UsageError: it cannot.
    """
    wanted = _FORMATS[file_ending.lower()]
    try:
        importlib.import_module(wanted.module)
    except ImportError as cause:
        raise UsageError(
            f"{file_ending} files need the package {wanted.package}, which cannot be imported here "
            f"({cause}); install it (pip install {wanted.package})"
        ) from cause


def files_of_image(path: Path) -> tuple[Path, ...]:
    """Return the files that are opened when `path` is read: itself, and that of its spacing."""
    sidecar = tiff.spacing_file(path) if file_ending_of(path) in tiff.FILE_ENDINGS else None
    return (path,) if sidecar is None else (path, sidecar)


def map_file_ending(file_ending: str) -> str:
    """Return the ending of the float maps of a dataset whose files end in `file_ending`."""
    return ".png" if file_ending.lower() == ".bmp" else file_ending


def read_image(
    paths: Sequence[Path], *, num_channels: int | None = None
) -> tuple[np.ndarray, ImageGeometry]:
    """Read an image: one file per channel, or a single file that holds all of them.

    Args:
        paths: in the order of the channels.
        num_channels: how many there should be; None takes any number.

    Returns:
        The array (channel, *spatial) in the files' own dtype (channels of different dtype in one
        that holds both), and the geometry of the first file.

    Raises:
        DatasetError: a file cannot be read, the files differ in shape or spacing, or the number of
            channels is not `num_channels`.
    """
    array, geometry = _read(paths[0], is_label=False)
    if len(paths) > 1:
        channels = [array]
        for path in paths[1:]:
            channel, other = _read(path, is_label=False)
            _require_same_grid(path, other, paths[0], geometry)
            channels.append(channel)
            moved = _moved(path, other, paths[0], geometry)
            geometry = replace(geometry, doubts=(*geometry.doubts, *other.doubts, *moved))
        for path, channel in zip(paths, channels, strict=True):
            if len(channel) != 1:
                raise DatasetError(
                    f"'{path}': expected one channel, since the case has {len(paths)} files; found "
                    f"{len(channel)}; keep either one file per channel or one file with all"
                )
        array = np.concatenate(channels)
    if num_channels is not None and len(array) != num_channels:
        raise DatasetError(
            f"'{paths[0]}': expected {num_channels} channel(s), from 'channel_names' of "
            f"dataset.json, found {len(array)}; {_channel_remedy(len(array), num_channels)}"
        )
    return array, geometry


def _one_channel_remedy(geometry: ImageGeometry) -> str:
    """Return the remedy for the usual causes of a label map with several channels."""
    if len(geometry.shape) == 2:
        return "save it as one channel of integers (a grey image, not a coloured one)"
    return (
        "a file with layers for segments that overlap (as 3D Slicer writes them) or with several "
        "points in time is not one label map: export each layer as a label map of its own"
    )


def read_label_map(path: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Read the integers of a label map, (*spatial), and its geometry.

    Files of floating point numbers are accepted where every number is whole, to a thousandth.

    Raises:
        DatasetError: the file cannot be read, has several channels, or holds other numbers.
    """
    array, geometry = _read(path, is_label=True)
    if len(array) != 1:
        raise DatasetError(
            f"'{path}': expected a label map of one channel, found {len(array)} channels; "
            f"{_one_channel_remedy(geometry)}"
        )
    label_map = array[0]
    if np.issubdtype(label_map.dtype, np.integer):
        return label_map, geometry
    whole = np.rint(label_map)
    is_wrong = ~(np.abs(whole - label_map) <= _WHOLE_TOLERANCE) | (np.abs(whole) > _LARGEST_LABEL)
    if is_wrong.any():
        value = float(label_map[is_wrong].flat[0])
        remedy = "resample label maps by nearest neighbour only"
        if not np.isfinite(value):
            remedy = "write the integer of the label that it stands for, such as the background's"
        raise DatasetError(
            f"'{path}': expected integers, found {label_map.dtype} with values such as {value:g}; "
            f"save the label map as integers, and {remedy}"
        )
    return whole.astype(np.int64 if whole.min(initial=0) < 0 else _smallest_dtype(whole)), geometry


def read_map(path: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Read what `write_map` or `write_signed_map` stored, float32 (*spatial), and its geometry.

    Raises:
        DatasetError: the file cannot be read or has several channels.
    """
    array, geometry = read_image([path], num_channels=1)
    if array.dtype == np.uint16 and file_ending_of(path) == ".png":
        return array[0].astype(np.float32) / np.float32(_PNG_MAP_MAXIMUM), geometry
    return array[0].astype(np.float32, copy=False), geometry


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
    _write(path, label_map.astype(_smallest_dtype(label_map), copy=False), geometry)


def write_image(path: Path, image: np.ndarray, geometry: ImageGeometry) -> None:
    """Write an image (channel, *spatial) atomically: one channel, or, in PNG and BMP, RGB.

    Raises:
        ValueError: the shape is not the geometry's, or the format cannot hold the array.
    """
    if len(image) == 1:
        _write(path, image[0], geometry)
        return
    if file_ending_of(path) not in (".png", ".bmp"):
        raise ValueError(f"'{path}': this format holds one channel a file, got {len(image)}")
    if image.shape[1:] != geometry.shape:
        raise ValueError(f"'{path}': the image is {image.shape}, its geometry {geometry.shape}")
    pillow.write_colours(path, image)


def write_map(path: Path, values: np.ndarray, geometry: ImageGeometry) -> None:
    """Write a map (*spatial) of numbers in [0, 1] atomically: float32, in PNG 16 bit.

    Raises:
        ValueError: a value is outside [0, 1] or NaN, the shape is not the geometry's, or the format
            cannot hold the array (BMP: see `map_file_ending`).
    """
    lowest, highest = float(values.min(initial=1)), float(values.max(initial=0))
    if not (lowest >= -_MAP_TOLERANCE and highest <= 1 + _MAP_TOLERANCE):
        raise ValueError(f"'{path}': a map holds numbers in [0, 1], got {lowest} to {highest}")
    clipped = np.clip(values, 0, 1).astype(np.float32, copy=False)
    if file_ending_of(path) == ".png":
        clipped = np.rint(clipped * np.float64(_PNG_MAP_MAXIMUM)).astype(np.uint16)
    _write(path, clipped, geometry)


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
        _write(path, values.astype(np.float32, copy=False), geometry)
        return MapScale()
    scale = MapScale(offset=lowest, factor=highest - lowest or 1.0)
    stored = (values.astype(np.float64) - scale.offset) / scale.factor
    _write(path, np.rint(stored * _PNG_MAP_MAXIMUM).astype(np.uint16), geometry)
    return scale


def _read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    ending = file_ending_of(path)
    if ending is None:
        raise DatasetError(
            f"'{path}': expected one of {', '.join(_FORMATS)}; convert the file without loss"
        )
    return read_checked(_FORMATS[ending].read, path, ending, is_label=is_label)


def _write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    if array.shape != geometry.shape:
        raise ValueError(f"'{path}': the array is {array.shape}, its geometry {geometry.shape}")
    ending = file_ending_of(path)
    if ending is None:
        raise ValueError(f"'{path}' should end in one of {', '.join(_FORMATS)}")
    _FORMATS[ending].write(path, np.ascontiguousarray(array), geometry)
    if ending in tiff.FILE_ENDINGS:
        tiff.write_spacing(path, geometry)


def _smallest_dtype(values: np.ndarray) -> type[np.unsignedinteger]:
    highest = int(values.max(initial=0))
    return next(
        t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if highest <= np.iinfo(t).max
    )


def _require_same_grid(
    path: Path, geometry: ImageGeometry, first_path: Path, first: ImageGeometry
) -> None:
    found = grid_difference(geometry, first, attributes=("shape", "spacing"))
    if found is not None:
        raise DatasetError(
            f"'{path}': expected the {found.what} {found.expected} of '{first_path.name}', found "
            f"{found.found}; resample the channels to one grid or correct the header"
        )


def _moved(
    path: Path, geometry: ImageGeometry, first_path: Path, first: ImageGeometry
) -> list[str]:
    """Return the doubts about a channel that lies elsewhere than the first one."""
    differences = (
        grid_difference(geometry, first, attributes=(name,)) for name in ("origin", "direction")
    )
    return [
        f"'{path.name}' has the {doubt.what} {doubt.found}, '{first_path.name}' {doubt.expected}; "
        "voxels are matched by index: overlay both to check"
        for doubt in differences
        if doubt is not None
    ]


def _channel_remedy(found: int, expected: int) -> str:
    if found == 3 and expected == 1:
        return (
            'for colour images name three channels ({"0": "R", "1": "G", "2": "B"}), '
            "or save the images as grey"
        )
    if found == 1 and expected == 3:
        return "save the image as RGB, add _0001 and _0002, or name one channel"
    return "add the missing channels or correct 'channel_names'"
