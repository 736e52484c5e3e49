"""NRRD, MetaImage and GIPL through SimpleITK, and the geometry of NIfTI."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    import SimpleITK

FILE_ENDINGS = (".nrrd", ".mha", ".gipl")

# ITK's classes are named, since it knows the endings in lower case only.
_IMAGE_IO = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".gipl": "GiplImageIO",
}


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, *spatial); channels are a fourth axis, or the components of a voxel."""
    import SimpleITK

    reader = _reader(path)
    image = reader.Execute()
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
    return np.ascontiguousarray(array), _geometry_of(reader, shape=shape)


def read_geometry(path: Path, *, shape: tuple[int, ...]) -> ImageGeometry:
    """Return the geometry of the spatial axes, `shape` in array order, without reading voxels."""
    reader = _reader(path)
    reader.ReadImageInformation()
    return _geometry_of(reader, shape=shape)


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (*spatial) with the spacing, origin and direction of `geometry`, compressed."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    if geometry.origin is not None:
        image.SetOrigin(geometry.origin)
    if geometry.direction is not None:
        image.SetDirection(geometry.direction)
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO(_image_io(path))
    writer.SetFileName(str(path))
    writer.SetUseCompression(True)
    writer.Execute(image)


def _reader(path: Path) -> "SimpleITK.ImageFileReader":
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_image_io(path))
    reader.SetFileName(str(path))
    return reader


def _image_io(path: Path) -> str:
    name = path.name.lower()
    return next(io for ending, io in _IMAGE_IO.items() if name.endswith(ending))


def _geometry_of(reader: "SimpleITK.ImageFileReader", *, shape: tuple[int, ...]) -> ImageGeometry:
    """Return the geometry of the first axes of the file; further ones hold channels."""
    axes, dimensions = reader.GetDimension(), len(shape)
    direction = np.reshape(reader.GetDirection(), (axes, axes))[:dimensions, :dimensions]
    return ImageGeometry(
        shape=shape,
        spacing_mm=tuple(reader.GetSpacing()[:dimensions][::-1]),
        origin=tuple(reader.GetOrigin()[:dimensions]),
        direction=tuple(float(value) for value in direction.ravel()),
    )
