"""Whose a DICOM file is: read from its first elements, whether or not it holds an image.

ITK reads the headers of images alone, and takes milliseconds for each. A download has hundreds of
thousands of files, and reports and segmentations among them. (DICOM PS3.5, sections 7.1 and 7.5;
PS3.10, section 7.1.)
"""

import os
import re
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, final

from diffunet.errors import DatasetError

_Order = Literal["<", ">"]

_ENDING = ".dcm"
# none, as on discs; of Siemens; the last part of a UID that is the name
_MAY_BE_DICOM = re.compile(r"|\.(dicom|ima|img|[0-9]+)")
_INDEX = "DICOMDIR"  # of a disc
_PREAMBLE = 128  # bytes, of any content
_MAGIC = b"DICM"
_META_GROUP, _FIRST_GROUP = b"\x02\0", b"\x08\0"
_TRANSFER_SYNTAX = 0x00020010
_BIG_ENDIAN, _DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
_INSTANCE, _MODALITY, _PATIENT, _SERIES = 0x00080018, 0x00080060, 0x00100020, 0x0020000E
_WANTED = (_INSTANCE, _MODALITY, _PATIENT, _SERIES)
_LAST = _SERIES
_UNDEFINED = 0xFFFFFFFF  # length of what a delimiter ends
_DELIMITERS, _ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT")
_LONGEST_TEXT = 1000  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Whose a file is; "" for what it does not tell.

    Attributes:
        instance: SOPInstanceUID.
        series: SeriesInstanceUID, which is always there.
    """

    modality: str
    patient: str
    series: str
    instance: str


class _Element(NamedTuple):
    """What stands before a value; `kind` is b"" where elements do not tell theirs."""

    tag: int
    kind: bytes
    length: int


def dicom_among(files: Iterable[Path]) -> list[Path]:
    """Return files that end in .dcm, and those without a telling ending that are DICOM; sorted."""
    return sorted(
        path
        for path in files
        if path.stem.upper() != _INDEX
        and (
            (ending := path.suffix.lower()) == _ENDING
            or (_MAY_BE_DICOM.fullmatch(ending) and _is_dicom(path))
        )
    )


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """Return whose the file is.

    Raises:
        DatasetError: it is no DICOM file, a damaged one, or one of no series.
    """
    try:
        with path.open("rb") as file:
            found = _Reader(file).values()
        if not found.get(_SERIES):
            raise ValueError("it names no series")
    except (OSError, ValueError, RecursionError) as cause:
        reason = (isinstance(cause, OSError) and cause.strerror) or cause
        raise DatasetError(
            f"'{path}': expected a DICOM file, found one that cannot be read ({reason}); it may be "
            "truncated: copy it again"
        ) from cause
    modality, patient, series, instance = (
        sys.intern(found.get(tag, b"").decode("utf-8", "replace").strip(" \0"))  # many are equal
        for tag in (_MODALITY, _PATIENT, _SERIES, _INSTANCE)
    )
    return Header(modality=modality, patient=patient, series=series, instance=instance)


@final
class _Reader:
    """Steps through the elements of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def values(self) -> dict[int, bytes]:
        """Return the wanted elements, by their tags.

        Raises:
            ValueError: it is no DICOM file, or ends early.
        """
        syntax = self._transfer_syntax()
        if syntax == _DEFLATED:
            raise ValueError("it is deflated")
        order: _Order = ">" if syntax == _BIG_ENDIAN else "<"
        is_explicit = self._peek(6)[4:].isalpha()  # its kind, or the low half of a length
        found: dict[int, bytes] = {}
        while self._file.tell() < self._size:
            element = self._next(order, is_explicit=is_explicit)
            if element.tag > _LAST:
                break
            if element.tag in _WANTED and element.length <= _LONGEST_TEXT:
                found[element.tag] = self._take(element.length)
            else:
                self._skip(element, order, is_explicit=is_explicit)
        return found

    def _transfer_syntax(self) -> bytes:
        """Go to the first element of the data set; return how it is written, b"" if not told."""
        if self._peek(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC:
            self._step(_PREAMBLE + len(_MAGIC))
        elif self._peek(2) not in (_META_GROUP, _FIRST_GROUP):
            raise ValueError("it does not begin as one")
        syntax = b""
        while self._peek(2) == _META_GROUP:
            element = self._next("<", is_explicit=True)
            value = self._take(element.length)
            syntax = value.strip(b" \0") if element.tag == _TRANSFER_SYNTAX else syntax
        return syntax

    def _next(self, order: _Order, *, is_explicit: bool) -> _Element:
        start = self._take(8)
        group, number = struct.unpack(f"{order}HH", start[:4])
        tag, kind = group << 16 | number, start[4:6]
        if group == _DELIMITERS or not is_explicit:
            return _Element(tag, b"", *struct.unpack(f"{order}I", start[4:]))
        if kind in _LONG_FORM:
            return _Element(tag, kind, *struct.unpack(f"{order}I", self._take(4)))
        return _Element(tag, kind, *struct.unpack(f"{order}H", start[6:]))

    def _skip(self, element: _Element, order: _Order, *, is_explicit: bool) -> None:
        """Go behind a value; that of a sequence or item of undefined length has elements."""
        if element.length != _UNDEFINED:
            self._step(element.length)
            return
        end = _ITEM_END if element.tag == _ITEM else _SEQUENCE_END
        is_explicit = is_explicit and element.kind != b"UN"
        while (inner := self._next(order, is_explicit=is_explicit)).tag != end:
            self._skip(inner, order, is_explicit=is_explicit)

    def _peek(self, count: int) -> bytes:
        at = self._file.tell()
        found = self._file.read(count)
        self._file.seek(at)
        return found

    def _take(self, count: int) -> bytes:
        found = self._file.read(min(count, self._size))
        if len(found) < count:
            raise ValueError("it ends early")
        return found

    def _step(self, count: int) -> None:
        if self._file.seek(count, os.SEEK_CUR) > self._size:
            raise ValueError("it ends early")
