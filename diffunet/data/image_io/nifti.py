"""NIfTI: voxels through nibabel, the geometry through ITK.

ITK's own reader turns NaN into 0, and what is cut off the end of a file into zeros, without a word;
nibabel keeps the one and refuses the other. The geometry is ITK's, which also writes it; only files
whose axes are not perpendicular, which ITK refuses, have theirs from nibabel.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from diffunet.data.image_io import itk
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

FILE_ENDINGS = (".nii.gz", ".nii")

# NIfTI counts towards right, anterior, superior; ITK towards left, posterior, superior.
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, *spatial); channels are a fourth or fifth axis, or a voxel's colours."""
    import nibabel

    image = cast("Nifti1Image", nibabel.load(path))
    stored = np.asanyarray(image.dataobj)
    if stored.dtype.names:
        colours = [stored[name] for name in stored.dtype.names]
        stored = np.stack(colours, axis=-1)
    elif stored.ndim == 5 and stored.shape[3] == 1:
        stored = stored[:, :, :, 0]  # components of a vector, along the fifth axis
    array = stored.T if stored.ndim == 4 else stored.T[None]
    if array.ndim not in (3, 4):
        raise DatasetError(
            f"'{path}': expected 2 or 3 spatial axes and at most one of channels, found the shape "
            f"{stored.shape}; split the file into one per case and channel"
        )
    if array.dtype == np.float64 and np.dtype(image.get_data_dtype()).itemsize < 4:
        array = array.astype(np.float32)  # short integers with a slope: 24 bits hold them
    shape = tuple(int(size) for size in array.shape[1:])
    try:
        geometry = itk.read_geometry(path, shape=shape)
    except RuntimeError:  # axes that are not perpendicular
        geometry = _geometry_of(path, image, shape=shape)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), geometry


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (*spatial) with the spacing, origin and direction of `geometry`."""
    if geometry.is_orthonormal:
        itk.write(path, array, geometry)
        return
    import nibabel

    direction = np.reshape(np.asarray(geometry.direction), (3, 3))
    affine = np.eye(4)
    affine[:3, :3] = _RAS_TO_LPS[:, None] * direction * np.asarray(geometry.spacing_mm[::-1])
    affine[:3, 3] = _RAS_TO_LPS * np.asarray(geometry.origin)
    image = nibabel.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _geometry_of(path: Path, image: "Nifti1Image", *, shape: tuple[int, ...]) -> ImageGeometry:
    affine = np.asarray(image.affine, np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if len(shape) != 3 or not np.all(np.isfinite(affine)) or not np.all(spacing > 0):
        raise DatasetError(
            f"'{path}': expected an affine matrix of three axes with a positive spacing, found "
            f"{affine.tolist()}; set the header's qform and sform"
        )
    direction = _RAS_TO_LPS[:, None] * affine[:3, :3] / spacing
    return ImageGeometry(
        shape=shape,
        spacing_mm=tuple(float(value) for value in spacing[::-1]),
        origin=tuple(float(value) for value in _RAS_TO_LPS * affine[:3, 3]),
        direction=tuple(float(value) for value in direction.ravel()),
    )
