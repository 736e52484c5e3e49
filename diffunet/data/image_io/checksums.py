"""What ITK does not tell of NRRD and MetaImage, and checksums of compressed voxels.

The libraries stop at the last voxel, before the checksum, or pass over what they cannot unpack. A
stream of compressed voxels should end, and its checksum fit.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from diffunet.errors import DatasetError

_AT_ONCE = 2**20
_MOST_PARTS_BEHIND = 2**10  # of `_AT_ONCE`; a file may go on as long as it likes
_MOST_TIMES = 2  # the voxels that a header declares: beyond, the stream is not theirs
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_MOST_HEADER_BYTES = 2**20
_MOST_LINE_BYTES = 2**16
_PLACES = ("elementdatafile", "data file", "datafile")


def require_sound_end(file: io.BufferedIOBase) -> None:
    """Read the rest of an open file; of one that is compressed, this compares its checksum.

    Other bytes behind the compressed ones are passed over, as gzip itself does.

    Raises:
        gzip.BadGzipFile, zlib.error, EOFError: the content is not what was compressed.
    """
    try:
        for _ in range(_MOST_PARTS_BEHIND):
            if not file.read(_AT_ONCE):
                return
    except gzip.BadGzipFile as cause:
        if not str(cause).startswith("Not a gzipped file"):  # what follows the compressed bytes
            raise


def require_voxel_file(path: Path) -> None:
    """Check that the file to which a NRRD or MetaImage header sends for the voxels is there.

    Raises:
        DatasetError: it is not.
    """
    with path.open("rb") as file:
        place = _read_header(path, file).place
    if place is not None and not (path.parent / place).is_file() and not _is_list(place):
        raise DatasetError(
            f"'{path}': expected the file '{place}', which holds its voxels as the header says, "
            "found none; copy it there too, or export the image into one file"
        )


def tells_spacing(path: Path) -> bool:
    """Whether the header of a NRRD or MetaImage tells the size of a voxel; ITK takes 1 mm else."""
    with path.open("rb") as file:
        return _read_header(path, file).tells_spacing


def require_sound_voxels(path: Path, *, num_bytes: int) -> None:
    """Check the compressed voxels of a NRRD or MetaImage file; where they are not, nothing.

    Args:
        num_bytes: of the voxels, as the header declares them.

    Raises:
        DatasetError: they are damaged, or a MetaImage does not tell how many bytes they take,
            without which ITK returns other voxels.
    """
    with path.open("rb") as file:
        header = _read_header(path, file)
        if not header.is_compressed:
            return
        if not header.tells_size:
            raise DatasetError(
                f"'{path}': expected CompressedDataSize in the header, as its voxels are "
                "compressed, found none; write the image again, for example with SimpleITK"
            )
        if header.place is None:
            problem = _stream_problem(file, num_bytes=num_bytes)
        elif (path.parent / header.place).is_file():
            with (path.parent / header.place).open("rb") as voxels:
                problem = _stream_problem(voxels, num_bytes=num_bytes)
        else:
            return  # several files, which the library joins
    if problem is not None:
        raise DatasetError(
            f"'{path}': expected compressed voxels as they were written, found {problem}; the file "
            "is damaged: copy or export it again"
        )


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a header says about its voxels.

    Attributes:
        place: another file, or several; None where they follow the header.
        is_compressed: into a stream that begins at the first byte of `place`, or after the header.
        tells_size: whether the number of compressed bytes stands there, if it should.
    """

    place: str | None
    is_compressed: bool
    tells_spacing: bool
    tells_size: bool = True


def _read_header(path: Path, file: BinaryIO) -> _Header:
    """Return what the header at the start of `file` says, and leave `file` behind it."""
    if path.name.lower().endswith(".nrrd"):
        fields = _fields(file, separator=b":", last=None)
        skips = any(fields.get(key, "0") != "0" for key in ("line skip", "byte skip"))
        return _Header(
            place=fields.get("data file", fields.get("datafile")),
            is_compressed=fields.get("encoding") in ("gzip", "gz") and not skips,
            tells_spacing="(" in fields.get("space directions", "")
            or any(each != "nan" for each in fields.get("spacings", "").split()),
        )
    fields = _fields(file, separator=b"=", last="elementdatafile")
    place = fields.get("elementdatafile")
    return _Header(
        place=None if place is None or place.lower() == "local" else place,
        is_compressed=fields.get("compresseddata") == "true",
        tells_spacing="elementspacing" in fields or "elementsize" in fields,
        tells_size="compresseddatasize" in fields,
    )


def _fields(file: BinaryIO, *, separator: bytes, last: str | None) -> dict[str, str]:
    """Return the fields of a header: all in lower case, but for the names of files.

    Args:
        last: the field that ends the header; None: an empty line does.
    """
    fields: dict[str, str] = {}
    for line in _lines(file):
        if last is None and not line.strip():
            break
        key, _, value = line.partition(separator)
        name, text = (each.decode("utf-8", "replace").strip() for each in (key, value))
        fields[name.lower()] = text if name.lower() in _PLACES else text.lower()
        if name.lower() == last:
            break
    return fields


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a header; no more than any header has, of a file that has none."""
    while file.tell() < _MOST_HEADER_BYTES and (line := file.readline(_MOST_LINE_BYTES)):
        yield line


def _is_list(place: str) -> bool:
    """Whether a header names several files: by a pattern with their numbers, or line by line."""
    return "%" in place or place.split(" ")[0].upper() in ("", "LIST")


def _stream_problem(file: BinaryIO, *, num_bytes: int) -> str | None:
    """Return in words what is wrong with compressed bytes; None if nothing is.

    The memory for it does not depend on what they unpack to.
    """
    unpack = zlib.decompressobj(_ZLIB_OR_GZIP)
    num_unpacked = 0
    try:
        while not unpack.eof and num_unpacked <= _MOST_TIMES * num_bytes + _AT_ONCE:
            packed = unpack.unconsumed_tail or file.read(_AT_ONCE)
            unpacked = unpack.decompress(packed, _AT_ONCE)
            if not packed and not unpacked:
                return "their end missing"
            num_unpacked += len(unpacked)
    except zlib.error as cause:
        return f"others ({cause})"
    if unpack.eof and num_unpacked >= num_bytes:  # ITK may drop some of what a voxel holds
        return None
    return f"{num_unpacked} bytes{'' if unpack.eof else ' or more'}, expected {num_bytes}"
