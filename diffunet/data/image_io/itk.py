"""NRRD, MetaImage and GIPL through SimpleITK.

ITK prints warnings past Python, and ignores a full disk. So its warnings are off, and files that it
wrote are read again before they count.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io.bounds import require_room, require_whole
from diffunet.data.image_io.checksums import (
    require_sound_voxels,
    require_voxel_file,
    tells_spacing,
)
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import DatasetError
from diffunet.jsonio import atomic_path

if TYPE_CHECKING:
    import SimpleITK

FILE_ENDINGS = (".nrrd", ".mha", ".gipl")

HEADER_ENDING = ".mhd"
"""Of MetaImage in two files, which is only read, to be written again in one."""

# ITK's classes are named, since it knows the endings in lower case only.
_IMAGE_IO = {
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    HEADER_ENDING: "MetaImageIO",
    ".gipl": "GiplImageIO",
}


_UNCOMPRESSED = ".gipl"
_GIPL_HEADER_BYTES = 256
_ITEM_BYTES = {"8-bit": 1, "16-bit": 2, "32-bit": 4, "64-bit": 8}


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, *spatial); channels are a fourth axis, or the components of a voxel."""
    import SimpleITK

    reader = _reader(path)
    if not path.name.lower().endswith(_UNCOMPRESSED):
        require_voxel_file(path)
    reader.ReadImageInformation()
    size = _size_of(reader)
    require_room(path, shape=size.shape, num_bytes=size.num_bytes)
    image = _execute(path, reader)
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif image.GetDimension() < 4:
        array = array[None]
    if array.ndim not in (3, 4):
        raise DatasetError(
            f"'{path}': expected 2 or 3 spatial axes and at most one of channels, found the shape "
            f"{array.shape}; split the file into one per case and channel"
        )
    shape = tuple(int(size) for size in array.shape[1:])
    has_spacing = path.name.lower().endswith(_UNCOMPRESSED) or tells_spacing(path)
    return np.ascontiguousarray(array), _geometry_of(reader, shape=shape, has_spacing=has_spacing)


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (*spatial) with the spacing, origin and direction of `geometry`, compressed."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    if geometry.origin is not None:
        image.SetOrigin(geometry.origin)
    if geometry.direction is not None:
        image.SetDirection(geometry.direction)
    with atomic_path(path) as unfinished:
        # ITK knows the endings in lower case only
        lower = unfinished.with_suffix(unfinished.suffix.lower())
        try:
            _write_checked(lower, image, array)
            lower.replace(unfinished)
        finally:
            if lower != unfinished:
                lower.unlink(missing_ok=True)


def _write_checked(path: Path, image: "SimpleITK.Image", array: np.ndarray) -> None:
    """Write, and read again; on a failure of ITK, Python tries the write, to learn the reason."""
    import SimpleITK

    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO(_image_io(path))
    writer.SetFileName(str(path))
    writer.SetUseCompression(True)
    try:
        writer.Execute(image)
        reader = _reader(path)
        reader.ReadImageInformation()
        written = _execute(path, reader)
        if not np.array_equal(SimpleITK.GetArrayViewFromImage(written), array):
            raise RuntimeError(f"'{path}' does not hold what was written to it")
    except (RuntimeError, DatasetError):
        with path.open("wb") as file:
            file.write(array.data)
        raise


def _reader(path: Path) -> "SimpleITK.ImageFileReader":
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_image_io(path))
    reader.SetFileName(str(path))
    return reader


def _execute(path: Path, reader: "SimpleITK.ImageFileReader") -> "SimpleITK.Image":
    """Read the voxels.

    ITK compares no checksum. Of a truncated GIPL file, or a damaged MetaImage, it leaves the rest
    of the memory as it was.
    """
    size = _size_of(reader)
    if not path.name.lower().endswith(_UNCOMPRESSED):
        require_sound_voxels(path, num_bytes=size.num_bytes)
    else:
        voxels = size.num_bytes + _GIPL_HEADER_BYTES
        require_whole(path, shape=size.shape, num_bytes=voxels, is_compressed=False)
    return reader.Execute()


@dataclass(frozen=True)
class _Size:
    """What a header declares."""

    shape: tuple[int, ...]
    num_bytes: int


def _size_of(reader: "SimpleITK.ImageFileReader") -> _Size:
    import SimpleITK

    name = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    item_bytes = next((size for bits, size in _ITEM_BYTES.items() if bits in name), 8)
    if "complex" in name:
        item_bytes *= 2
    shape = tuple(reader.GetSize())
    return _Size(shape, item_bytes * reader.GetNumberOfComponents() * math.prod(shape))


def _image_io(path: Path) -> str:
    name = path.name.lower()
    return next(io for ending, io in _IMAGE_IO.items() if name.endswith(ending))


def _geometry_of(
    reader: "SimpleITK.ImageFileReader", *, shape: tuple[int, ...], has_spacing: bool
) -> ImageGeometry:
    """Return the geometry of the first axes of the file; further ones hold channels."""
    axes, dimensions = reader.GetDimension(), len(shape)
    direction = np.reshape(reader.GetDirection(), (axes, axes))[:dimensions, :dimensions]
    return ImageGeometry(
        shape=shape,
        spacing_mm=tuple(reader.GetSpacing()[:dimensions][::-1]),
        has_spacing=has_spacing,
        origin=tuple(reader.GetOrigin()[:dimensions]),
        direction=tuple(float(value) for value in direction.ravel()),
    )
