"""Where the header of a NIfTI file says that voxels lie, and what of it is doubtful."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io.geometry import (
    SPACING_TOLERANCE,
    ImageGeometry,
    in_words,
    is_orthonormal,
)
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

# NIfTI counts towards right, anterior, superior; ITK towards left, posterior, superior.
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
_ROUNDING = 1e-4  # of a quaternion's length
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # of xyzt_units: metres, micrometres; else millimetres


def geometry_of(path: Path, header: "Nifti1Header", *, shape: tuple[int, ...]) -> ImageGeometry:
    """Return the geometry of an image, with what is doubtful about it in words.

    Args:
        header: as it stands in the file, native in byte order.
        shape: of the image, z y x.

    Raises:
        DatasetError: the header does not say where voxels lie.
    """
    num_axes = len(shape)
    scale = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    pixdim = np.asarray(header["pixdim"][1:4], np.float64)
    if not np.isfinite(pixdim[:num_axes]).all():
        raise _no_geometry(path, f"pixdim is {in_words(tuple(pixdim))}")
    sizes = np.abs(pixdim)
    doubts = []
    if (pixdim[:num_axes] < 0).any():
        doubts.append(f"pixdim is {in_words(tuple(pixdim))}: the signs are left out")
    doubts += _doubts_about_values(header)
    affine, form, other = _affine_of(path, header, sizes, num_axes=num_axes)
    if form == "qform" and _length_of_quaternion(header) > 1 + _ROUNDING:
        doubts.append("the header's quatern_b, c and d are no rotation: they are scaled to one")
    spacing = sizes if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    if affine is not None:
        if other is not None and not _is_same(affine, other, num_axes=num_axes):
            doubts.append(
                "the header's sform and qform differ: the sform is used, but other programs may "
                "use the qform"
            )
        if np.allclose(sizes[:num_axes], spacing[:num_axes], rtol=SPACING_TOLERANCE, atol=0):
            spacing = np.where(sizes > 0, sizes, spacing)  # the same, without its rounding
        elif form == "sform":
            doubts.append(
                f"pixdim tells voxels of {in_words(tuple(pixdim[:num_axes]))} mm, the sform "
                f"{in_words(tuple(spacing[:num_axes]))} mm: the sform is taken"
            )
    has_spacing = bool((spacing[:num_axes] > 0).all())
    spacing = np.where(spacing > 0, spacing, 1.0)
    origin, direction = _place(affine, num_axes=num_axes, scale=scale)
    return ImageGeometry(
        shape=shape,
        spacing_mm=tuple(float(value * scale) for value in spacing[:num_axes][::-1]),
        has_spacing=has_spacing,
        origin=origin,
        direction=direction,
        nifti_header=header.binaryblock,
        doubts=tuple(doubts),
    )


def _doubts_about_values(header: "Nifti1Header") -> list[str]:
    """Return in words where `_voxels` takes other numbers than the header's."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    doubts = []
    if np.isfinite(slope) and slope != 0 and not np.isfinite(intercept):
        doubts.append(f"the header's scl_inter is {intercept:g}: 0 is taken")
    if 0 < int(header["vox_offset"]) < header.single_vox_offset:
        doubts.append(
            f"the header's vox_offset is {int(header['vox_offset'])}, within the header: "
            f"{header.single_vox_offset} is taken"
        )
    return doubts


def _affine_of(
    path: Path, header: "Nifti1Header", sizes: np.ndarray, *, num_axes: int
) -> tuple[np.ndarray | None, str, np.ndarray | None]:
    """Return the affine that counts and its form's name, and that of the other form, if set."""
    forms: dict[str, np.ndarray] = {}
    if int(header["sform_code"]) > 0:
        forms["sform"] = np.asarray(header.get_sform(), np.float64)
    if int(header["qform_code"]) > 0:
        mended = header.copy()
        mended["pixdim"][1:4] = np.where(np.arange(3) < num_axes, sizes, np.maximum(sizes, 1.0))
        for name in QUATERNION:
            mended[name] = float(header[name]) / max(1.0, _length_of_quaternion(header))
        forms["qform"] = np.asarray(mended.get_qform(), np.float64)
    if not forms:
        return None, "", None
    form = next(iter(forms))
    affine = forms[form]
    is_finite = np.isfinite(affine).all()
    if not is_finite or np.linalg.matrix_rank(affine[:3, :num_axes]) < num_axes:
        raise _no_geometry(path, f"its {form} is {affine[:3].round(6).tolist()}")
    return affine, form, forms.get("qform") if form == "sform" else None


def _length_of_quaternion(header: "Nifti1Header") -> float:
    """Return the length of what is stored of a rotation; of a true one it is at most 1."""
    return float(np.linalg.norm([float(header[name]) for name in QUATERNION]))


def _is_same(affine: np.ndarray, other: np.ndarray, *, num_axes: int) -> bool:
    """Whether two affines put voxels at one place, to a tenth of a voxel or a thousandth."""
    lengths = np.linalg.norm(affine[:3, :num_axes], axis=0)
    columns = np.abs(affine[:3, :num_axes] - other[:3, :num_axes]).max(axis=0)
    offset = np.abs(affine[:3, 3] - other[:3, 3]).max()
    return bool((columns <= SPACING_TOLERANCE * lengths).all() and offset <= 0.1 * lengths.min())


def _place(
    affine: np.ndarray | None, *, num_axes: int, scale: float
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return origin and direction as ITK counts; None where an image does not lie in its plane."""
    if affine is None:
        return None, None
    matrix = affine[:num_axes, :num_axes] / np.linalg.norm(affine[:3, :num_axes], axis=0)
    if num_axes == 2 and not is_orthonormal(matrix):
        return None, None
    signs = RAS_TO_LPS[:num_axes]
    origin = signs * affine[:num_axes, 3] * scale
    direction = signs[:, None] * matrix
    return tuple(float(v) for v in origin), tuple(float(v) for v in direction.ravel())


def _no_geometry(path: Path, found: str) -> DatasetError:
    return DatasetError(
        f"'{path}': expected a header that says where voxels lie, with a positive size along each "
        f"axis, found that {found}; set the header's qform, sform and pixdim"
    )
