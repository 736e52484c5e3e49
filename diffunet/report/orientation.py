"""From where a volume is seen, and which way up: slices as a radiologist expects them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffunet.data.image_io import ImageGeometry

_CLEARLY_COARSER = 1.25
_BODY_AXES = ("RL", "AP", "IS")
_PLANES = {"IS": "axial", "AP": "coronal", "RL": "sagittal"}
"""By the axis of the body that they are perpendicular to."""

_DOWN, _RIGHT = {"AP": "P", "IS": "I"}, {"RL": "L", "AP": "P"}
"""To where rows and columns of a picture go on: the patient's right is on the left."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How arrays of one grid are shown.

    Attributes:
        axes: of the array, in the order (slice, row, column); (row, column) of an image.
        is_flipped: of the same three, or two.
        spacing_mm: in the same order.
        plane: "axial", "coronal" or "sagittal"; "" where the files do not tell.
        top, left: where the upper and the left edge of a picture lie in the patient: one of
            "R", "L", "A", "P", "I", "S"; "" where the files do not tell.
    """

    axes: tuple[int, ...]
    is_flipped: tuple[bool, ...]
    spacing_mm: tuple[float, ...]
    plane: str = ""
    top: str = ""
    left: str = ""

    @classmethod
    def of(cls, geometry: ImageGeometry) -> "Orientation":
        """Return how a grid is shown: its slices are perpendicular to the coarsest spacing.

        Without an axis that is clearly the coarsest they are axial, or, where the file does not
        tell how the patient lies, along the first array axis. Images are shown as they are stored.
        """
        spacing = geometry.spacing_mm
        towards = _towards(geometry)
        if len(spacing) != 3:
            axes = tuple(range(len(spacing)))
            return cls(axes=axes, is_flipped=(False,) * len(axes), spacing_mm=spacing)
        through = _coarsest(spacing)
        if through is None:
            through = towards.index("IS") if "IS" in towards else 0
        rows, columns = (axis for axis in range(3) if axis != through)
        if not towards:
            axes = (through, rows, columns)
            spacing = tuple(spacing[axis] for axis in axes)
            return cls(axes=axes, is_flipped=(False,) * 3, spacing_mm=spacing)
        if towards[rows] == "RL" or towards[columns] == "IS":
            rows, columns = columns, rows
        axes = (through, rows, columns)
        letters = geometry.orientation or ""
        down, right = _DOWN[towards[rows]], _RIGHT[towards[columns]]
        return cls(
            axes=axes,
            is_flipped=(False, letters[2 - rows] != down, letters[2 - columns] != right),
            spacing_mm=tuple(spacing[axis] for axis in axes),
            plane=_PLANES[towards[through]],
            top=towards[rows].replace(down, ""),
            left=towards[columns].replace(right, ""),
        )

    def seen(self, array: np.ndarray) -> np.ndarray:
        """Return (slice, row, column) of an array (*spatial); an image is one slice.

        Raises:
            ValueError: the array has another number of axes.
        """
        if array.ndim != len(self.axes):
            raise ValueError(f"expected {len(self.axes)} axes, found the shape {array.shape}")
        turned = array.transpose(self.axes)
        turned = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.is_flipped)]
        return turned[None] if array.ndim == 2 else turned


def _towards(geometry: ImageGeometry) -> tuple[str, ...]:
    """Return the axis of the body along each array axis; () where nothing tells."""
    letters = (geometry.orientation or "")[::-1]  # in array order
    found = tuple(next(axis for axis in _BODY_AXES if letter in axis) for letter in letters)
    return found if set(found) == set(_BODY_AXES) else ()


def _coarsest(spacing_mm: Sequence[float]) -> int | None:
    """Return the axis that is clearly coarser than both others."""
    *_, second, first = sorted(spacing_mm)
    return list(spacing_mm).index(first) if first >= _CLEARLY_COARSER * second else None
