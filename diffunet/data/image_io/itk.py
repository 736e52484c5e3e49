"""NIfTI, NRRD, MetaImage and GIPL through SimpleITK."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io import nifti
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    import SimpleITK

# The reader is named, since ITK knows the endings in lower case only.
_IMAGE_IO = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".gipl": "GiplImageIO",
}
FILE_ENDINGS = tuple(_IMAGE_IO)


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, *spatial); channels are a fourth axis, or the components of a voxel.

    A NIfTI file whose axes are not perpendicular, which ITK refuses, is read through nibabel.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_image_io(path))
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError as cause:
        if _image_io(path) == "NiftiImageIO" and "orthonormal" in str(cause):
            return nifti.read(path)
        raise
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif image.GetDimension() < 4:
        array = array[None]
    if array.ndim not in (3, 4):
        raise DatasetError(
            f"'{path}': expected 2 or 3 spatial axes, found the shape {array.shape}; "
            "split the file into one per case and channel"
        )
    return np.ascontiguousarray(array), _geometry_of(image, array.shape[1:])


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (*spatial) with the spacing, origin and direction of `geometry`, compressed."""
    import SimpleITK

    if _image_io(path) == "NiftiImageIO" and not geometry.is_orthonormal:
        nifti.write(path, array, geometry)
        return
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


def _image_io(path: Path) -> str:
    name = path.name.lower()
    return next(io for ending, io in _IMAGE_IO.items() if name.endswith(ending))


def _geometry_of(image: "SimpleITK.Image", shape: tuple[int, ...]) -> ImageGeometry:
    """Return the geometry of the spatial axes; a fourth axis of the file holds channels."""
    axes, dimensions = image.GetDimension(), len(shape)
    direction = np.reshape(image.GetDirection(), (axes, axes))[:dimensions, :dimensions]
    return ImageGeometry(
        shape=tuple(int(size) for size in shape),
        spacing_mm=tuple(image.GetSpacing()[:dimensions][::-1]),
        origin=tuple(image.GetOrigin()[:dimensions]),
        direction=tuple(float(value) for value in direction.ravel()),
    )
