"""DICOM: the slices of one series as a volume on the grid of the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io import ImageGeometry
from diffunet.data.image_io.bounds import require_room
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    import SimpleITK

_INSTANCE = "0008|0018"
_SERIES = "0020|000e"
_NUMBER = "0020|0013"
_POSITION = "0020|0032"
_ORIENTATION = "0020|0037"

_SAME_PLACE_MM = 0.01  # nearer than slices are: two of one place
_TOLERANCE = 0.25  # of a voxel, by which a slice may lie beside the even grid
_GAP = 1.5  # of the usual distance: more means that a slice is missing
_ORIENTATION_TOLERANCE = 1e-4
_ITEM_BYTES = 4  # ITK gives 32 bits where the header rescales


@dataclass(frozen=True, kw_only=True)
class Series:
    """A volume of one series.

    Attributes:
        voxels: (z, y, x), rescaled as the headers say (CT: Hounsfield units), int16 where it holds
            them; z rises along the normal of the slices.
        slices: SOPInstanceUID to index along z; two files of one place have the same.
        files: of each slice, along z.
        z_mm: the third coordinate of each slice in the patient.
        remarks: what was left out, and why.
    """

    voxels: np.ndarray
    geometry: ImageGeometry
    slices: dict[str, int]
    files: tuple[Path, ...]
    z_mm: tuple[float, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Slice:
    path: Path
    series: str
    instance: str
    number: int
    position: np.ndarray
    orientation: np.ndarray
    spacing_mm: tuple[float, float]
    voxels: np.ndarray


def read_series(files: Sequence[Path], *, has_one_uid: bool = True) -> Series:
    """Return the volume of the slices in `files`, which may come in any order.

    Where two lie at the same place, that of the lower instance number counts.

    Args:
        has_one_uid: whether all files name the same series; anonymising may give each its own.

    Raises:
        DatasetError: a file is damaged, the slices are of several series, sizes or orientations,
            or their places are no even grid: slices are missing, or the gantry was tilted.
    """
    found = [_read_slice(path, len(files)) for path in files]
    first = found[0]
    for each in found[1:]:
        _require_alike(each, first, has_one_uid=has_one_uid)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    along = {each.path: float(each.position @ normal) for each in found}
    found.sort(key=lambda each: (along[each.path], each.number))
    kept: list[_Slice] = []
    slices: dict[str, int] = {}
    for each in found:
        if not kept or along[each.path] - along[kept[-1].path] > _SAME_PLACE_MM:
            kept.append(each)
        slices[each.instance] = len(kept) - 1
    spacing_mm = _spacing_between(kept, normal)
    voxels = np.stack([each.voxels for each in kept])
    matrix = np.column_stack([first.orientation[:3], first.orientation[3:], normal])
    left_out = len(found) - len(kept)
    return Series(
        voxels=voxels,
        geometry=ImageGeometry(
            shape=tuple(voxels.shape),
            spacing_mm=(spacing_mm, *first.spacing_mm),
            origin=tuple(float(value) for value in kept[0].position),
            direction=tuple(float(value) for value in matrix.ravel()),
        ),
        slices=slices,
        files=tuple(each.path for each in kept),
        z_mm=tuple(float(each.position[2]) for each in kept),
        remarks=(f"slices left out, since another lies at their place: {left_out}",)
        * bool(left_out),
    )


def _read_slice(path: Path, num_slices: int) -> _Slice:
    import SimpleITK

    reader = _reader(path)
    try:
        reader.ReadImageInformation()
        size = (num_slices, *reader.GetSize())
        require_room(path, shape=size, num_bytes=_ITEM_BYTES * int(np.prod(size, dtype=object)))
        image = reader.Execute()
    except RuntimeError as cause:
        raise _unreadable(path, cause) from cause
    voxels = SimpleITK.GetArrayFromImage(image)
    if voxels.ndim != 3 or len(voxels) != 1:
        raise DatasetError(
            f"'{path}': expected one grey slice, found the shape {voxels.shape}; take the file out "
            "of the folder"
        )
    numbers = {
        key: np.array(_numbers(path, _text(reader, key), length))
        for key, length in ((_POSITION, 3), (_ORIENTATION, 6))
    }
    number = _text(reader, _NUMBER)
    return _Slice(
        path=path,
        series=_text(reader, _SERIES),
        instance=_text(reader, _INSTANCE),
        number=int(number) if number.isdecimal() else 0,
        position=numbers[_POSITION],
        orientation=numbers[_ORIENTATION],
        spacing_mm=(image.GetSpacing()[1], image.GetSpacing()[0]),
        voxels=_compact(voxels[0]),
    )


def _compact(voxels: np.ndarray) -> np.ndarray:
    """Return them as int16 where that holds them; ITK gives 32 bits, or 64 of floating point."""
    if not np.issubdtype(voxels.dtype, np.integer):
        return voxels.astype(np.float32)
    limits = np.iinfo(np.int16)
    fits = limits.min <= voxels.min() and voxels.max() <= limits.max
    return voxels.astype(np.int16 if fits else np.int32)


def _require_alike(each: _Slice, first: _Slice, *, has_one_uid: bool) -> None:
    """Check that two slices are of one series, size and orientation."""
    turned = np.abs(each.orientation - first.orientation).max() > _ORIENTATION_TOLERANCE
    for what, found, expected, differs in (
        ("series", each.series, first.series, has_one_uid and each.series != first.series),
        ("size", each.voxels.shape, first.voxels.shape, each.voxels.shape != first.voxels.shape),
        (
            "pixel spacing",
            each.spacing_mm,
            first.spacing_mm,
            not np.allclose(each.spacing_mm, first.spacing_mm, rtol=1e-4, atol=0),
        ),
        ("orientation", list(each.orientation), list(first.orientation), turned),
    ):
        if differs:
            raise DatasetError(
                f"'{each.path}': expected the {what} {expected} of '{first.path.name}', found "
                f"{found}; keep the slices of one series alone in a folder"
            )


def _spacing_between(slices: Sequence[_Slice], normal: np.ndarray) -> float:
    """Return the distance of the slices, which are sorted, in mm.

    Raises:
        DatasetError: they are no even grid along their normal.
    """
    folder = slices[0].path.parent
    if len(slices) < 2:
        raise DatasetError(f"'{folder}': expected the slices of a volume, found one; copy it again")
    offsets = np.array([each.position - slices[0].position for each in slices])
    along = offsets @ normal
    spacing_mm = float(along[-1]) / (len(slices) - 1)
    even = np.arange(len(slices)) * spacing_mm
    steps = np.diff(along)
    is_uneven = np.abs(along - even).max() > _TOLERANCE * spacing_mm
    if is_uneven or steps.max() > _GAP * np.median(steps):
        gap = int(steps.argmax())
        raise DatasetError(
            f"'{folder}': expected slices at even distances, found {np.median(steps):g} mm, and "
            f"{steps[gap]:g} mm between '{slices[gap].path.name}' and "
            f"'{slices[gap + 1].path.name}': slices are missing, or the distance changes; copy the "
            "series again, or take it out of the download"
        )
    beside_mm = float(np.linalg.norm(offsets - along[:, None] * normal, axis=1).max())
    if beside_mm > _TOLERANCE * min(slices[0].spacing_mm):
        raise DatasetError(
            f"'{folder}': expected slices straight above each other, found them shifted sideways "
            f"by up to {beside_mm:.3g} mm, as a tilted gantry makes them; resample the series to a "
            "straight grid, or take it out of the download"
        )
    return spacing_mm


def _reader(path: Path) -> "SimpleITK.ImageFileReader":
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _text(reader: "SimpleITK.ImageFileReader", key: str) -> str:
    return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else ""


def _numbers(path: Path, text: str, length: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split("\\")]
    except ValueError:
        numbers = []
    if len(numbers) != length or not np.isfinite(numbers).all():
        raise DatasetError(
            f"'{path}': expected position and orientation of the slice in the patient (0020,0032 "
            f"and 0020,0037), found '{text}'; export the file again, or take it out of the folder"
        )
    return numbers


def _unreadable(path: Path, cause: Exception) -> DatasetError:
    reason = str(cause).strip().splitlines()[-1][-150:]
    return DatasetError(
        f"'{path}': expected a DICOM file, found one that cannot be read ({reason}); it may be "
        "truncated: copy it again"
    )
