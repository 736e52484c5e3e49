"""Where the voxels of an image file lie in the patient, or on the paper."""

from dataclasses import dataclass

import numpy as np

_ORTHONORMAL_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ImageGeometry:
    """What a file of the same grid needs besides its voxels.

    Attributes:
        shape: voxels per spatial axis, in array order: (y, x) or (z, y, x).
        spacing_mm: distance between voxel centres, in array order; 1.0 where the file tells none.
        has_spacing: whether the file told its spacing; PNG, BMP and a TIFF alone do not.
        origin: position of the first voxel in mm, in file order (x, y[, z]) and ITK's directions
            (towards left, posterior, superior); None for PNG, BMP, TIFF.
        direction: rows of the matrix whose columns are the unit vectors of the file axes; None as
            for `origin`.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    has_spacing: bool = True
    origin: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None

    @property
    def num_dimensions(self) -> int:
        return len(self.shape)

    @property
    def is_orthonormal(self) -> bool:
        """Whether the file axes are perpendicular, which ITK demands of NIfTI files."""
        if self.direction is None:
            return True
        matrix = np.reshape(self.direction, (self.num_dimensions, self.num_dimensions))
        product = matrix.T @ matrix
        return bool(np.allclose(product, np.eye(len(product)), atol=_ORTHONORMAL_TOLERANCE))
