"""Where the voxels of an image file lie in the patient, or on the paper."""

from dataclasses import dataclass, field

import numpy as np

SPACING_TOLERANCE = 1e-3
"""Relative: headers hold 32 bit numbers, and tools round to few digits."""

_ORTHONORMAL_TOLERANCE = 1e-4
_ORIGIN_TOLERANCE = 0.1  # in voxels: less moves no voxel to its neighbour
_DIRECTION_TOLERANCE = 1e-3  # cosine; 1 voxel over 1000
_TOWARDS = (("R", "L"), ("A", "P"), ("I", "S"))  # falling and rising along ITK's x, y, z


@dataclass(frozen=True, kw_only=True)
class ImageGeometry:
    """What a file of the same grid needs besides its voxels.

    Attributes:
        shape: voxels per spatial axis, in array order: (y, x) or (z, y, x).
        spacing_mm: distance between voxel centres, in array order; 1.0 where the file tells none.
        has_spacing: whether the file told its spacing; PNG, BMP and a TIFF alone do not.
        origin: position of the first voxel in mm, in file order (x, y[, z]) and ITK's directions
            (towards left, posterior, superior); None for PNG, BMP, TIFF, and a NIfTI that says
            nothing about it.
        direction: rows of the matrix whose columns are the unit vectors of the file axes; None as
            for `origin`.
        nifti_header: of a NIfTI, as it stands in the file: masks get its forms and codes.
        doubts: contradictions in the header, and warnings of a library.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    has_spacing: bool = True
    origin: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None
    nifti_header: bytes | None = field(default=None, repr=False, compare=False)
    doubts: tuple[str, ...] = field(default=(), compare=False)

    @property
    def num_dimensions(self) -> int:
        return len(self.shape)

    @property
    def volume_unit(self) -> str:
        """In what a volume counts: "mm^3" or "mm^2", or "voxels" or "pixels" without a spacing."""
        if self.has_spacing:
            return f"mm^{self.num_dimensions}"
        return "voxels" if self.num_dimensions == 3 else "pixels"

    @property
    def is_orthonormal(self) -> bool:
        """Whether the file axes are perpendicular, which ITK demands of NIfTI files."""
        return self.direction is None or is_orthonormal(self._matrix(self.direction))

    @property
    def orientation(self) -> str | None:
        """To where x, y and z of a volume's file rise, such as "LPS"; None where nothing tells."""
        if self.direction is None or self.num_dimensions != 3:
            return None
        columns = self._matrix(self.direction).T
        axes = [int(np.abs(column).argmax()) for column in columns]
        pairs = zip(columns, axes, strict=True)
        return "".join(_TOWARDS[axis][int(column[axis] > 0)] for column, axis in pairs)

    def _matrix(self, direction: tuple[float, ...]) -> np.ndarray:
        return np.reshape(direction, (self.num_dimensions, self.num_dimensions))


@dataclass(frozen=True, kw_only=True)
class GridDifference:
    """How the grid of one file differs from another's: `what` is `found`, not `expected`."""

    what: str
    found: str
    expected: str


def grid_difference(
    geometry: ImageGeometry, expected: ImageGeometry, *, attributes: tuple[str, ...]
) -> GridDifference | None:
    """Return the first difference of two grids; None if equal indices mean equal places.

    What one of the files does not tell is not compared.

    Args:
        attributes: what is compared: "shape", "spacing", "origin", "direction".
    """
    found = _differences(geometry, expected)
    return next((found[name] for name in attributes if name in found), None)


def turned_axes(
    found: ImageGeometry, expected: ImageGeometry
) -> tuple[tuple[int, bool], ...] | None:
    """Return how a grid is another one with its axes turned; None if it is not, or not turned.

    Both have a voxel at the same places then, but under other indices, as of a volume that was
    saved in another orientation. A header of other directions around the same first voxel is not
    that: there the header may be wrong.

    Returns:
        For each axis of `expected`, in array order, the axis of `found` that runs along it, and
        whether it runs backwards.
    """
    if found.num_dimensions != expected.num_dimensions:
        return None
    if not all(each.origin and each.direction for each in (found, expected)):
        return None
    one, other = _affine(found), _affine(expected)
    steps = np.linalg.solve(other[0], one[0])  # of `found`'s axes, in voxels of `expected`
    axes = np.abs(steps).argmax(axis=1)
    signs = np.sign(steps[range(len(axes)), axes])
    turn = np.zeros_like(steps)
    turn[range(len(axes)), axes] = signs
    is_turn = len({*axes.tolist()}) == len(axes) and np.allclose(
        steps, turn, rtol=0, atol=SPACING_TOLERANCE
    )
    shape, size = np.array(found.shape[::-1]), np.array(expected.shape[::-1])
    if not is_turn or (turn == np.eye(len(turn))).all() or (shape[axes] != size).any():
        return None
    first = one[1] + one[0] @ np.where(turn.sum(axis=0) < 0, shape - 1, 0)
    if np.abs(first - other[1]).max() > _ORIGIN_TOLERANCE * min(expected.spacing_mm):
        return None
    last = len(axes) - 1
    return tuple(
        (int(last - axes[last - axis]), bool(signs[last - axis] < 0)) for axis in range(len(axes))
    )


def _affine(geometry: ImageGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the step of each axis of the file, in columns, and the first voxel's place, in mm."""
    sizes = np.array(geometry.spacing_mm[::-1])
    direction = np.reshape(geometry.direction or (), (len(sizes), len(sizes)))
    return direction * sizes, np.array(geometry.origin)


def _differences(found: ImageGeometry, expected: ImageGeometry) -> dict[str, GridDifference]:
    if found.shape != expected.shape:
        shapes = (str(found.shape), str(expected.shape))
        return {"shape": GridDifference(what="shape", found=shapes[0], expected=shapes[1])}
    differences = {}
    if found.has_spacing and expected.has_spacing:
        is_same = np.allclose(found.spacing_mm, expected.spacing_mm, rtol=SPACING_TOLERANCE, atol=0)
        if not is_same:
            sizes = [f"{in_words(each.spacing_mm)} mm" for each in (found, expected)]
            differences["spacing"] = GridDifference(
                what="spacing", found=sizes[0], expected=sizes[1]
            )
    tolerance_mm = _ORIGIN_TOLERANCE * min(expected.spacing_mm)
    for name, unit, tolerance in (
        ("origin", " mm", tolerance_mm),
        ("direction", "", _DIRECTION_TOLERANCE),
    ):
        one, other = getattr(found, name), getattr(expected, name)
        if one and other and not np.allclose(one, other, rtol=0, atol=tolerance):
            differences[name] = GridDifference(
                what=name, found=in_words(one) + unit, expected=in_words(other) + unit
            )
    return differences


def is_orthonormal(matrix: np.ndarray) -> bool:
    """Whether the columns are unit vectors, perpendicular to each other."""
    product = matrix.T @ matrix
    return bool(np.allclose(product, np.eye(len(product)), atol=_ORTHONORMAL_TOLERANCE))


def in_words(values: tuple[float, ...]) -> str:
    """Return "(2, 1, 0.5)"; adding 0 makes -0 a 0."""
    return f"({', '.join(f'{value + 0:g}' for value in values)})"
