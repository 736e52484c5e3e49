"""NIfTI through nibabel: for files whose axes are not perpendicular, which ITK refuses."""

from pathlib import Path

import numpy as np

from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.errors import DatasetError

# NIfTI counts towards right, anterior, superior; ITK towards left, posterior, superior.
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def read(path: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, z, y, x); a fourth axis of the file holds channels."""
    import nibabel

    image = nibabel.load(path)
    stored = np.asanyarray(image.dataobj)  # type: ignore[attr-defined] # nibabel's stubs miss it
    array = stored.T if stored.ndim == 4 else stored.T[None]
    if array.ndim != 4:
        raise DatasetError(
            f"'{path}': expected 3 spatial axes, found the shape {stored.shape}; "
            "split the file into one per case and channel"
        )
    affine = np.asarray(image.affine, np.float64)  # type: ignore[attr-defined] # as above
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)) or not np.all(spacing > 0):
        raise DatasetError(
            f"'{path}': expected an affine matrix with three axes of a positive spacing, found "
            f"{affine.tolist()}; set the header's qform and sform"
        )
    direction = _RAS_TO_LPS[:, None] * affine[:3, :3] / spacing
    geometry = ImageGeometry(
        shape=tuple(int(size) for size in array.shape[1:]),
        spacing_mm=tuple(float(value) for value in spacing[::-1]),
        origin=tuple(float(value) for value in _RAS_TO_LPS * affine[:3, 3]),
        direction=tuple(float(value) for value in direction.ravel()),
    )
    native = array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype=native), geometry


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (z, y, x) with the affine of `geometry`, whose origin and direction are given."""
    import nibabel

    direction = np.reshape(np.asarray(geometry.direction), (3, 3))
    affine = np.eye(4)
    affine[:3, :3] = _RAS_TO_LPS[:, None] * direction * np.asarray(geometry.spacing_mm[::-1])
    affine[:3, 3] = _RAS_TO_LPS * np.asarray(geometry.origin)
    image = nibabel.Nifti1Image(array.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
