"""Check how much a TIFF file can unpack to against what it declares, before unpacking it.

A strip or tile is a compressed stream of its own. tifffile unpacks it whole, however much comes
out, and drops what does not fit.
"""

import lzma
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diffunet.data.image_io.bounds import MOST_UNPACKED, require_room
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    import tifffile

_SLACK = 2**26
"""Bytes that a strip or tile may unpack to beyond its voxels: some writers fill up rows."""

_LZMA_MEMORY = 2**28  # bytes; four times what its strongest preset needs

_DEFLATE, _OLD_DEFLATE, _LZMA = 8, 32946, 34925
_UNPACKED_OF_A_BYTE = {_DEFLATE: MOST_UNPACKED, _OLD_DEFLATE: MOST_UNPACKED, _LZMA: math.inf}
"""At most, for what tifffile unpacks without a bound; Pillow unpacks no more than is declared."""


def require_bounded_parts(
    path: Path, file: "tifffile.TiffFile", series: "tifffile.TiffPageSeries"
) -> None:
    """Check that no strip or tile takes more memory than the image that it belongs to.

    Raises:
        DatasetError: tiles reach far beyond the image, parts are missing, or one unpacks to more
            than its voxels.
    """
    page = series.keyframe
    compression, item_bytes = int(page.compression), series.dtype.itemsize
    if page.is_tiled:
        shape = _whole_tiles(page)
        num_values = len(series.pages) * math.prod(shape) * page.samplesperpixel
        require_room(path, shape=shape, num_bytes=num_values * item_bytes)
    _require_all_parts(path, series)
    most = math.prod(page.chunks) * item_bytes + _SLACK
    for offset, num_bytes in _parts(series):
        if num_bytes * _UNPACKED_OF_A_BYTE.get(compression, 0) <= most:
            continue
        file.filehandle.seek(offset)
        if _unpacks_beyond(most, file.filehandle.read(num_bytes), compression=compression):
            raise DatasetError(
                f"'{path}': expected strips or tiles of {page.chunks} voxels, found one that "
                f"unpacks to more than {most} bytes; the file is damaged: export it again"
            )


def _require_all_parts(path: Path, series: "tifffile.TiffPageSeries") -> None:
    """Check that a page has its parts: tifffile would go through millions that are missing."""
    expected = math.prod(series.keyframe.chunked)
    for page in series.pages:
        if page is not None and not page.is_contiguous and len(page.dataoffsets) < expected:
            raise DatasetError(
                f"'{path}': expected {expected} strips or tiles, as its size says, found "
                f"{len(page.dataoffsets)}; the file is damaged: export it again"
            )


def _whole_tiles(page: "tifffile.TiffPage") -> tuple[int, ...]:
    tile = (page.tiledepth, page.tilelength, page.tilewidth)
    image = (page.imagedepth, page.imagelength, page.imagewidth)
    return tuple(
        math.ceil(size / max(1, edge)) * edge for size, edge in zip(image, tile, strict=True)
    )


def _parts(series: "tifffile.TiffPageSeries") -> Iterator[tuple[int, int]]:
    """Yield offset and length of each part; pages that share theirs are looked at once."""
    seen = {
        part
        for page in series.pages
        if page is not None
        for part in zip(page.dataoffsets, page.databytecounts, strict=False)
    }
    yield from sorted(seen)


def _unpacks_beyond(most: int, content: bytes, *, compression: int) -> bool:
    """Whether more than `most` bytes come out; not where it cannot be unpacked at all."""
    try:
        if compression == _LZMA:
            unpack = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
            return len(unpack.decompress(content, max_length=most + 1)) > most
        return len(zlib.decompressobj().decompress(content, most + 1)) > most
    except (zlib.error, lzma.LZMAError):
        return False
