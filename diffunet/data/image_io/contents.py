"""What the first bytes of a file say that it is, where its name says something else."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

_NUM_BYTES = 512
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class _Content:
    """A kind of content: how it begins, in words, the endings that mean it, and what to do."""

    starts: tuple[bytes, ...]
    words: str
    endings: tuple[str, ...] = ()
    remedy: str = "convert it to {ending}"
    at: int = 0


_UNPACK = "unpack it"
_DOWNLOAD = "download the file itself"
_CONTENTS = (
    _Content((b"\x89PNG",), "PNG", (".png",)),
    _Content((b"\xff\xd8\xff",), "JPEG", (".jpg", ".jpeg")),
    _Content((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF", (".tif", ".tiff")),
    _Content((b"GIF8",), "GIF", (".gif",)),
    _Content((b"BM",), "BMP", (".bmp",)),
    _Content((b"NRRD0",), "NRRD", (".nrrd",)),
    _Content((b"ObjectType", b"NDims"), "MetaImage", (".mha", ".mhd")),
    _Content((b"\\\x01\0\0", b"\0\0\x01\\", b"\x1c\x02\0\0", b"\0\0\x02\x1c"), "NIfTI", (".nii",)),
    _Content((b"\0\0\0\x01",), "MGH of FreeSurfer"),
    _Content((b"DICM",), "DICOM", (".dcm",), at=128),
    _Content((b"\x89HDF",), "HDF5"),
    _Content((b"\x93NUMPY",), "an array of numpy"),
    _Content((b"MATLAB",), "a file of MATLAB"),
    _Content((b"PK\x03\x04",), "a zip archive", remedy=_UNPACK),
    _Content((b"BZh",), "bzip2", remedy=_UNPACK),
    _Content((b"\xfd7zXZ",), "xz", remedy=_UNPACK),
    _Content((b"\x28\xb5\x2f\xfd",), "zstd", remedy=_UNPACK),
    _Content(
        (b"version https://git-lfs",),
        "a pointer of Git LFS",
        remedy="fetch the file itself (git lfs pull)",
    ),
    _Content(
        (b"/annex/objects/",),
        "a pointer of git-annex",
        remedy="fetch the file itself (git annex get, datalad get)",
    ),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b'{"')


def other_content(path: Path, ending: str) -> tuple[str, str] | None:
    """Return in words what a file is, and what to do, if it is no file of `ending`.

    None where it may well be one, or where its first bytes tell nothing.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_NUM_BYTES)
    except OSError:
        return None
    if not start.startswith(_GZIP):
        return _in_words(start, ending)
    inner = _unpacked_start(path)
    if inner.startswith(_GZIP):
        return "gzip within gzip", "unpack it once (gunzip)"
    takes_gzip = ending.endswith(".gz") or ending == ".nii"  # a NIfTI may be compressed in any case
    return _in_words(inner, ending) or (None if takes_gzip else ("gzip", _UNPACK))


def _in_words(start: bytes, ending: str) -> tuple[str, str] | None:
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "a web page or another text", _DOWNLOAD
    for content in _CONTENTS:
        if start[content.at :].startswith(content.starts):
            if ending.removesuffix(".gz") in content.endings:
                return None
            return content.words, content.remedy.format(ending=ending)
    return None


def _unpacked_start(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(_NUM_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""
