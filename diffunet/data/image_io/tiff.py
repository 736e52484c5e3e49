"""TIFF: 2D grey or RGB, or a volume whose spacing stands in a JSON file beside it."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffunet.data.image_io.bounds import require_room
from diffunet.data.image_io.geometry import ImageGeometry
from diffunet.data.image_io.pillow import without_pixel_limit
from diffunet.data.image_io.tiff_bounds import require_bounded_parts
from diffunet.errors import DatasetError
from diffunet.jsonio import atomic_file, read_json, write_json

if TYPE_CHECKING:
    import tifffile

FILE_ENDINGS = (".tif", ".tiff")

_CHANNEL_AXES = "SC"  # tifffile's letters for samples of a pixel and for channels
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _YCBCR = 0, 1, 2, 3, 4, 6
_PHOTOMETRIC = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _YCBCR)
_ALPHA = {1, 2}  # of the tag ExtraSamples: multiplied into the colours, or not
_JPEG = (6, 7, 33007, 34892)  # of the tag Compression
_SUFFIX = re.compile(r"_([0-9]{4}|r[0-9]{2,})$")


def read(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, y, x) or (channel, z, y, x).

    The spacing of a volume is `{"spacing": [z, y, x]}` in mm in `CASE.json` beside `CASE_0000.tif`
    and `CASE.tif`, as nnU-Net has it.
    """
    array, axes = _read_array(path, is_label=is_label)
    channel_axes = [index for index, axis in enumerate(axes) if axis in _CHANNEL_AXES]
    num_spatial = len(axes) - len(channel_axes)
    if len(channel_axes) > 1 or num_spatial not in (2, 3):
        raise DatasetError(
            f"'{path}': expected an image (y, x) or a volume (z, y, x), grey or with one axis of "
            f"channels; found the axes {axes} of shape {array.shape}; split the file"
        )
    array = np.moveaxis(array, channel_axes[0], 0) if channel_axes else array[None]
    if array.dtype == bool:
        array = array.astype(np.uint8)
    spacing = _read_spacing(path) if num_spatial == 3 else None
    geometry = ImageGeometry(
        shape=tuple(int(size) for size in array.shape[1:]),
        spacing_mm=spacing or (1.0,) * num_spatial,
        has_spacing=spacing is not None,
    )
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), geometry


def write(path: Path, array: np.ndarray, geometry: ImageGeometry) -> None:
    """Write (y, x) or (z, y, x) with lossless compression; the spacing by `write_spacing`."""
    import tifffile

    with atomic_file(path) as file:
        tifffile.imwrite(file, array, photometric="minisblack", compression="zlib")


def write_stack(
    path: Path,
    maps: Iterable[np.ndarray],
    geometry: ImageGeometry,
    *,
    num_maps: int,
    dtype: np.dtype[Any],
) -> None:
    """Write maps (y, x) of an image as the pages of one file, which ImageJ and napari show as such.

    They are grey and have an axis of their own: three or four are no colours of one image.
    """
    import tifffile

    names = [f"sample {number}" for number in range(num_maps)]
    with atomic_file(path) as file:
        tifffile.imwrite(
            file,
            (np.ascontiguousarray(each, dtype) for each in maps),
            shape=(num_maps, *geometry.shape),
            dtype=dtype,
            imagej=True,
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": "TYX", "Labels": names},
        )


def open_stack(
    path: Path,
) -> tuple[int, Callable[[int], tuple[np.ndarray, ImageGeometry]]]:
    """Return how many pages a file has, and what reads one, (y, x), from it."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape = tuple(int(size) for size in series.shape)
        is_grey = int(series.keyframe.photometric) == _BLACK_IS_ZERO
        if len(file.series) != 1 or len(shape) not in (2, 3) or not is_grey or "S" in series.axes:
            raise DatasetError(
                f"'{path}': expected grey pages (map, y, x) of one shape, found "
                f"{len(file.series)} series, the first with the axes {series.axes} of shape "
                f"{shape}; save each label map as one grey page"
            )
        num_bytes = series.dtype.itemsize * shape[-1] * shape[-2]
        require_room(path, shape=shape, num_bytes=num_bytes)
        require_bounded_parts(path, file, series)
    geometry = ImageGeometry(shape=shape[-2:], spacing_mm=(1.0, 1.0), has_spacing=False)

    def read_map(number: int) -> tuple[np.ndarray, ImageGeometry]:
        array = tifffile.imread(path, key=number)
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), geometry

    return shape[0] if len(shape) == 3 else 1, read_map


def write_spacing(path: Path, geometry: ImageGeometry) -> None:
    """Write the JSON file beside the volume at `path`; nothing for an image, or no spacing."""
    if geometry.num_dimensions == 3 and geometry.has_spacing:
        write_json(path.with_suffix(".json"), {"spacing": geometry.spacing_mm})


def spacing_file(path: Path) -> Path | None:
    """Return the JSON file beside `path` that tells its spacing; None where there is none."""
    bare_name = _SUFFIX.sub("", path.stem)
    candidates = [path.with_name(f"{name}.json") for name in (path.stem, bare_name)]
    return next((candidate for candidate in candidates if _is_there(candidate)), None)


def _read_array(path: Path, *, is_label: bool) -> tuple[np.ndarray, str]:
    """Return the array and one letter per axis: Y, X, S or C for channels, others for depth.

    The photometric interpretation counts: if 0 is white, the values are inverted. Of a palette, a
    label map takes the indices, an image the colours.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise DatasetError(
                f"'{path}': expected one image or volume, found {len(file.series)} of different "
                "shape in one file; save each in its own"
            )
        series = file.series[0]
        page = series.keyframe
        photometric = int(page.photometric)
        require_room(path, shape=series.shape, num_bytes=series.size * series.dtype.itemsize)
        if series.size:
            require_bounded_parts(path, file, series)
        if photometric not in _PHOTOMETRIC:
            raise DatasetError(
                f"'{path}': expected a grey or RGB image, or a palette, found the photometric "
                f"interpretation {photometric}; save it as grey or RGB"
            )
        axes = str(series.axes)
        array = None if photometric == _YCBCR else _decoded(series)
        colours = page.colormap
        bits = int(page.bitspersample)
        has_alpha = _ALPHA.intersection(int(each) for each in page.extrasamples)
        is_lossy = int(page.compression) in _JPEG
    if is_lossy and is_label:
        raise DatasetError(
            f"'{path}': expected a label map without loss, found JPEG in it, whose values blur at "
            "edges; write the label map again from its source"
        )
    if array is None:
        array, axes = _read_with_pillow(path, bits=bits, photometric=photometric)
    if photometric == _WHITE_IS_ZERO:
        return _turned_round(path, array, bits=bits), axes
    if photometric == _PALETTE and not is_label:
        return (colours >> 8).astype(np.uint8)[:, array.astype(np.uint16)], f"S{axes}"
    return (_without_opaque_alpha(array, axes) if has_alpha else array), axes


def _without_opaque_alpha(array: np.ndarray, axes: str) -> np.ndarray:
    """Return an image without its last sample if that says of no pixel that it is transparent."""
    axis = axes.find("S")
    if axis < 0 or not np.issubdtype(array.dtype, np.unsignedinteger):
        return array
    samples = np.moveaxis(array, axis, 0)
    if (samples[-1] != np.iinfo(array.dtype).max).any():
        return array
    return np.moveaxis(samples[:-1], 0, axis)


def _decoded(series: "tifffile.TiffPageSeries") -> np.ndarray | None:
    """Return the stored values; None where tifffile leaves the compression to another package."""
    try:
        return series.asarray()
    except ValueError as cause:
        if "imagecodecs" not in str(cause):
            raise
    return None


def _turned_round(path: Path, array: np.ndarray, *, bits: int) -> np.ndarray:
    if array.dtype == bool:
        return ~array
    if not np.issubdtype(array.dtype, np.unsignedinteger):
        raise DatasetError(
            f"'{path}': expected unsigned integers where 0 is white (MinIsWhite), found "
            f"{array.dtype}; save it with 0 as black (MinIsBlack)"
        )
    return np.asarray(2**bits - 1, array.dtype) - array


def _read_with_pillow(path: Path, *, bits: int, photometric: int) -> tuple[np.ndarray, str]:
    """Return the stored values of a compression that tifffile leaves to others (LZW, JPEG)."""
    from PIL import Image, ImageSequence

    with without_pixel_limit(), Image.open(path) as image:
        frames = ImageSequence.Iterator(image)
        colour = photometric == _YCBCR
        pages = np.stack([np.array(page.convert("RGB") if colour else page) for page in frames])
    if photometric == _WHITE_IS_ZERO and bits <= 8:
        pages = ~pages  # Pillow turned them round
    if bits in (2, 4) and photometric != _PALETTE:
        pages = pages // (255 // (2**bits - 1))  # Pillow stretches them over 0 to 255
    axes = "ZYX" if pages.ndim == 3 else "ZYXS"
    return (pages, axes) if len(pages) > 1 else (pages[0], axes[1:])


def _read_spacing(path: Path) -> tuple[float, ...] | None:
    sidecar = spacing_file(path)
    if sidecar is None:
        return None
    content = read_json(sidecar, DatasetError)
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if not isinstance(spacing, list) or len(spacing) != 3 or not all(map(_is_positive, spacing)):
        raise DatasetError(
            f"'{sidecar}': expected {{\"spacing\": [z, y, x]}} with three positive numbers in mm, "
            f"found {content!r}; correct the file"
        )
    return tuple(float(value) for value in spacing)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
