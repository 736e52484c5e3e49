"""NIfTI, through nibabel: the header's forms decide where voxels lie, and masks get them unchanged.

ITK's reader silently turns NaN, and the missing end of a truncated file, into zeros. Its writer
does not notice a full disk, and puts its own forms into the header. nibabel keeps NaN and refuses
truncated files, and files are written here through an open file. The content says whether a file is
compressed: other tools (ITK) take a file that is not for one named `.nii.gz`.

Of the two forms, the sform counts if its code is set, then the qform, as in nibabel; without a code
the file gives only its voxel size. So two programs can disagree about a file. Every mask therefore
gets the header's fields, through `ImageGeometry.nifti_header`: whichever form a program uses, it
sees the mask where it sees the image.
"""

import gzip
import io
import math
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np

from diffunet.data.image_io.bounds import require_room, require_whole
from diffunet.data.image_io.checksums import require_sound_end
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.nifti_geometry import QUATERNION, RAS_TO_LPS, geometry_of
from diffunet.errors import DatasetError
from diffunet.jsonio import atomic_file

if TYPE_CHECKING:
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.nifti1 import Nifti1Header

FILE_ENDINGS = (".nii.gz", ".nii")

_FORMS = (
    "pixdim",
    "xyzt_units",
    "qform_code",
    "sform_code",
    *QUATERNION,
    *(f"qoffset_{name}" for name in "xyz"),
    *(f"srow_{name}" for name in "xyz"),
)
_NUM_SPATIAL = 3
_MOST_AXES = 5  # three of space, one of time, one of a vector's components
_HEADER_BYTES = {1: 348, 2: 540}
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_LEVEL = 6
_GZIP_LEVEL_OF_MAPS = 3  # real numbers hardly become smaller with more work


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, *spatial); channels are a fourth or fifth axis, or a voxel's colours."""
    header = _read_header(path)
    _require_room(path, header)
    with _opened(path) as file:
        stored = np.asanyarray(_voxels(path, header, file))
        if _is_compressed(path):
            require_sound_end(file)
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
    if array.dtype == np.float64 and np.dtype(header.get_data_dtype()).itemsize < 4:
        array = array.astype(np.float32)  # short integers with a slope: 24 bits hold them
    shape = tuple(int(size) for size in array.shape[1:])
    geometry = geometry_of(path, header, shape=shape)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), geometry


def declared_shape(path: Path) -> tuple[int, ...]:
    """Return the size of each axis that the header of a file declares."""
    return tuple(_declared_sizes(_read_header(path)))


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (*spatial) with the header's forms and codes; without, as `geometry` says."""
    header = _new_header(array.dtype, geometry, shape=array.shape)
    _write_content(path, header, [array])


def write_stack(
    path: Path,
    maps: Iterable[np.ndarray],
    geometry: ImageGeometry,
    *,
    num_maps: int,
    dtype: np.dtype[Any],
) -> None:
    """Write maps (z, y, x) of a volume as one file (x, y, z, map), one map at a time.

    Where voxels lie is told as in a file of one map, so that viewers lay them over the image.
    """
    header = _new_header(dtype, geometry, shape=(num_maps, *geometry.shape))
    header["pixdim"][4] = 1.0  # a step; a header of the image may hold NaN or 0 here
    _write_content(path, header, (np.ascontiguousarray(each, dtype) for each in maps))


def open_stack(
    path: Path,
) -> tuple[int, Callable[[int], tuple[np.ndarray, ImageGeometry]]]:
    """Return how many maps a file (x, y, z, map) holds, and what reads one, (z, y, x), from it.

    The file stays open; of a compressed one, maps are read fastest in their order.
    """
    header = _read_header(path)
    _require_room(path, header, num_at_once=1)
    file = _opened(path)
    voxels = _voxels(path, header, file)
    weakref.finalize(voxels, file.close)
    if len(voxels.shape) != 4:
        raise DatasetError(
            f"'{path}': expected four axes, the last one over label maps, found the shape "
            f"{voxels.shape}; join the label maps along a fourth axis"
        )
    shape = tuple(int(size) for size in voxels.shape[2::-1])
    geometry = geometry_of(path, header, shape=shape)

    def read_map(number: int) -> tuple[np.ndarray, ImageGeometry]:
        array = np.asanyarray(voxels[..., number]).T
        if number == voxels.shape[3] - 1 and _is_compressed(path):
            require_sound_end(file)
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), geometry

    return int(voxels.shape[3]), read_map


def _write_content(path: Path, header: "Nifti1Header", arrays: Iterable[np.ndarray]) -> None:
    """Write header and voxels; C order of (map, z, y, x) is the file's order of (x, y, z, map)."""
    is_real = np.dtype(header.get_data_dtype()).kind == "f"
    with atomic_file(path) as file, _packed(path, file, is_real=is_real) as packed:
        packed.write(header.binaryblock)
        packed.write(b"\0" * (int(header["vox_offset"]) - len(header.binaryblock)))  # no extensions
        for array in arrays:
            packed.write(array.data)


@contextmanager
def _packed(path: Path, file: BinaryIO, *, is_real: bool) -> Iterator[BinaryIO]:
    """Yield what compresses into `file`, where the name of the file asks for it."""
    if not path.name.lower().endswith(".gz"):
        yield file
        return
    level = _GZIP_LEVEL_OF_MAPS if is_real else _GZIP_LEVEL
    packing = {"compresslevel": level, "mtime": 0}  # same voxels, same bytes
    with gzip.GzipFile("", "wb", fileobj=file, **packing) as packed:
        yield cast(BinaryIO, packed)


def _new_header(
    dtype: np.dtype[Any], geometry: ImageGeometry, *, shape: tuple[int, ...]
) -> "Nifti1Header":
    source = geometry.nifti_header
    header = _empty_header(2 if source is not None and len(source) == _HEADER_BYTES[2] else 1)
    header.set_data_dtype(dtype)
    header.set_data_shape(shape[::-1])
    if source is None:
        _set_forms(header, geometry)
    else:
        given = _parse(source)
        for name in _FORMS:
            header[name] = given[name]
    header.set_slope_inter(1, 0)
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    return header


def _set_forms(header: "Nifti1Header", geometry: ImageGeometry) -> None:
    """Set both forms to what `geometry` says; the sform alone where axes are not perpendicular."""
    spacing = np.asarray(geometry.spacing_mm[::-1], np.float64)
    header.set_xyzt_units("mm")
    header["pixdim"][1 : 1 + len(spacing)] = spacing
    if geometry.direction is None:
        return
    dimensions = geometry.num_dimensions
    affine = np.eye(4)
    direction = np.reshape(np.asarray(geometry.direction), (dimensions, dimensions))
    affine[:dimensions, :dimensions] = direction * spacing
    affine[:dimensions, 3] = geometry.origin or 0.0
    affine[:3] *= RAS_TO_LPS[:, None]
    header.set_sform(affine, code=1)
    if geometry.is_orthonormal:
        header.set_qform(affine, code=1)


def _read_header(path: Path) -> "Nifti1Header":
    """Return the header as it stands in the file, native in byte order, nothing mended."""
    with _opened(path) as file:
        return _parse(file.read(_HEADER_BYTES[2]))


def _opened(path: Path) -> io.BufferedIOBase:
    """Open a file, unpacked if it is compressed, whichever of the two its name says."""
    return gzip.open(path) if _is_compressed(path) else path.open("rb")


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC


def _voxels(path: Path, header: "Nifti1Header", file: io.BufferedIOBase) -> "ArrayProxy":
    """Return what reads the voxels (x, y, ...) of an open file, scaled as the header says.

    The header is understood as NIfTI's own library does (nifti_clib), where nibabel takes the
    header itself for voxels, or refuses the file.

    Raises:
        ValueError: the header declares no numbers, or no voxels.
    """
    from nibabel.arrayproxy import ArrayProxy

    sizes = _declared_sizes(header)
    dtype = np.dtype(header.get_data_dtype()).newbyteorder(_byte_order(path))
    if dtype.itemsize == 0:
        raise ValueError(f"its header has the datatype {int(header['datatype'])}, of no numbers")
    if min(sizes, default=0) < 1:
        raise ValueError(f"its header declares axes of the sizes {sizes}")

    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0
    elif not np.isfinite(intercept):
        intercept = 0.0
    offset = max(int(header["vox_offset"]), header.single_vox_offset)
    return ArrayProxy(file, (tuple(sizes), dtype, offset, slope, intercept))


def _parse(block: bytes) -> "Nifti1Header":
    found = _order_and_size(block)
    if found is None:
        raise ValueError("its first bytes are not those of a NIfTI header")
    version = next(version for version, size in _HEADER_BYTES.items() if size == found[1])
    header_class: Any = type(_empty_header(version))
    header = header_class(block[: _HEADER_BYTES[version]], check=False)
    return header.as_byteswapped("<" if sys.byteorder == "little" else ">")


def _byte_order(path: Path) -> Literal["<", ">"]:
    """Return the byte order of the voxels, which is that of the header, as numpy has it."""
    with _opened(path) as file:
        found = _order_and_size(file.read(_HEADER_BYTES[1]))
    return ">" if found is not None and found[0] == "big" else "<"


def _order_and_size(block: bytes) -> tuple[Literal["little", "big"], int] | None:
    """Return the byte order and the size of a header, which is its first number."""
    for order in _ORDERS:
        size = int.from_bytes(block[:4], order)
        if size in _HEADER_BYTES.values():
            return order, size
    return None


def _empty_header(version: int) -> "Nifti1Header":
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    return Nifti1Header() if version == 1 else Nifti2Header()


def _declared_sizes(header: "Nifti1Header") -> list[int]:
    """Return the size of each axis, but not of further ones of length 1, or 0, which means that."""
    sizes = [int(size) for size in header["dim"][1 : 1 + int(header["dim"][0])]]
    sizes = [*sizes[:_NUM_SPATIAL], *(size or 1 for size in sizes[_NUM_SPATIAL:])]
    while len(sizes) > _MOST_AXES and sizes[-1] == 1:
        sizes.pop()
    return sizes


def _require_room(path: Path, header: "Nifti1Header", *, num_at_once: int | None = None) -> None:
    """Check that the file is whole, and that there is memory for what is read of it at once.

    Args:
        num_at_once: how far along the fourth axis; None: all.
    """
    sizes = _declared_sizes(header)
    dtype = np.dtype(header.get_data_dtype())
    num_bytes = dtype.itemsize
    for size in sizes:
        num_bytes *= max(size, 0)
    divisor = 1 if num_at_once is None else max(1, math.prod(sizes[3:]) // num_at_once)
    require_room(path, shape=sizes, num_bytes=num_bytes // divisor)
    require_whole(path, shape=sizes, num_bytes=num_bytes, is_compressed=_is_compressed(path))
    if header["scl_slope"] not in (0, 1) and np.isfinite(header["scl_slope"]):
        # the numbers that the slope makes of them have 64 bits
        require_room(path, shape=sizes, num_bytes=num_bytes // divisor // dtype.itemsize * 8)
