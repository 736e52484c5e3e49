"""Whose a DICOM file is: read from its first elements, whether or not it holds an image.

ITK reads the headers of images alone, and takes milliseconds for each. A download has hundreds of
thousands of files, and reports and segmentations among them.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffunet.errors import DatasetError

if TYPE_CHECKING:
    import pydicom

_ENDING = ".dcm"
# none, as on discs; of Siemens; the last part of a UID that is the name
_MAY_BE_DICOM = re.compile(r"|\.(dicom|ima|img|[0-9]+)")
_INDEX = "DICOMDIR"  # of a disc
_PREAMBLE = 128  # bytes, of any content
_MAGIC = b"DICM"
_FIRST_GROUPS = (b"\x02\0", b"\x08\0")  # of files without a preamble
_INSTANCE, _MODALITY, _PATIENT, _SERIES = 0x00080018, 0x00080060, 0x00100020, 0x0020000E


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
        found = _first_elements(path)
        if not (series := _text(found, _SERIES)):
            raise ValueError("it names no series")
    except Exception as cause:  # whatever pydicom meets in bytes of any kind
        reason = (isinstance(cause, OSError) and cause.strerror) or cause
        raise DatasetError(
            f"'{path}': expected a DICOM file, found one that cannot be read ({reason}); it may be "
            "truncated: copy it again"
        ) from cause
    return Header(
        modality=_text(found, _MODALITY),
        patient=_text(found, _PATIENT),
        series=series,
        instance=_text(found, _INSTANCE),
    )


def _first_elements(path: Path) -> "pydicom.Dataset":
    """Read as far as the series, with or without a preamble."""
    from pydicom.filereader import read_partial

    with path.open("rb") as file:
        start = file.read(_PREAMBLE + len(_MAGIC))
        if start[_PREAMBLE:] != _MAGIC and start[:2] not in _FIRST_GROUPS:
            raise ValueError("it does not begin as one")
        file.seek(0)
        return read_partial(
            file,
            stop_when=lambda tag, kind, length: tag > _SERIES,
            force=True,
            specific_tags=[_INSTANCE, _MODALITY, _PATIENT, _SERIES],
        )


def _text(elements: "pydicom.Dataset", tag: int) -> str:
    """Return a value as it is stored, which pydicom does not judge; "" where it is none."""
    value = elements.get_item(tag).value if tag in elements else None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
    return sys.intern(text.strip(" \0"))  # many are equal
