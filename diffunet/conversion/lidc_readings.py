"""The XML files of LIDC-IDRI: what each radiologist outlined in a CT series."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final
from xml.etree.ElementTree import Element, TreeBuilder  # they build, expat parses
from xml.parsers import expat

import numpy as np

from diffunet.errors import DatasetError

_ROOT = "LidcReadMessage"  # of an X-ray: IdriReadMessage
_HEADER = "ResponseHeader"
_SERIES = "SeriesInstanceUid"
_MOST_BYTES = 64 * 2**20  # the largest has about 2


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A closed line in one slice.

    Attributes:
        instance: SOPInstanceUID of the slice; "" where the file does not tell.
        z_mm: of the slice, in the patient; None where the file does not tell.
        is_hole: the line surrounds what is not nodule.
        points: (number, 2), x before y, of the pixels of the line. They lie just outside of the
            nodule. A nodule of less than 3 mm has a single one.
    """

    instance: str
    z_mm: float | None
    is_hole: bool
    points: np.ndarray


Reading = tuple[tuple[Outline, ...], ...]
"""The nodules that one radiologist marked, each the outlines of its slices."""


class _EnoughError(Exception):
    """Enough was parsed."""


def series_of(path: Path) -> str | None:
    """Return the SeriesInstanceUID of the CT that was read; None where the file is of no CT.

    Raises:
        DatasetError: the file cannot be read.
    """
    root = _parse(path, until=_HEADER)
    if root.tag != _ROOT:
        return None
    return _text(root, f"{_HEADER}/{_SERIES}") or None


def read_readings(path: Path) -> tuple[Reading, ...]:
    """Return what each radiologist marked, in the order of the file; empty where nothing.

    Raises:
        DatasetError: the file cannot be read, or lacks a number.
    """
    return tuple(
        tuple(
            tuple(_outline(path, roi) for roi in nodule.findall("roi"))
            for nodule in session.findall("unblindedReadNodule")
        )
        for session in _parse(path).findall("readingSession")
    )


def _outline(path: Path, roi: Element) -> Outline:
    try:
        z_mm = _text(roi, "imageZposition")
        points = [
            (float(_text(edge, "xCoord")), float(_text(edge, "yCoord")))
            for edge in roi.findall("edgeMap")
        ]
        whole = np.array(points).reshape(-1, 2)
        if not (np.isfinite(whole).all() and (whole == np.rint(whole)).all()):
            raise ValueError(f"pixels between others: {points}")
        return Outline(
            instance=_text(roi, "imageSOP_UID"),
            z_mm=float(z_mm) if z_mm else None,
            is_hole=_text(roi, "inclusion").upper() == "FALSE",
            points=whole.astype(np.int64),
        )
    except ValueError as cause:
        raise DatasetError(
            f"'{path}': expected imageZposition, xCoord and yCoord of an outline as numbers, found "
            f"{str(cause)[:100]}; copy the file again"
        ) from cause


def _text(parent: Element, tag: str) -> str:
    return (parent.findtext(tag) or "").strip()


def _parse(path: Path, *, until: str = "") -> Element:
    """Return the elements, without their namespace; those up to the end of `until`, where given.

    A file that declares a document type is refused, since entities can blow up.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise DatasetError(
            f"'{path}': expected readings of at most {_MOST_BYTES >> 20} MB, found "
            f"{path.stat().st_size >> 20} MB; copy the file again"
        )
    tree = _Tree(path, until)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = tree.refuse
    parser.StartElementHandler = tree.start
    parser.CharacterDataHandler = tree.data
    parser.EndElementHandler = tree.end
    try:
        with path.open("rb") as file, suppress(_EnoughError):
            parser.ParseFile(file)
    except (expat.ExpatError, OSError, ValueError) as cause:
        raise DatasetError(
            f"'{path}': expected an XML file of readings, found one that cannot be read ({cause}); "
            "copy it again"
        ) from cause
    return tree.root


@final
class _Tree:
    """Builds the elements that expat reports."""

    def __init__(self, path: Path, until: str) -> None:
        self._path, self._until = path, until
        self._builder = TreeBuilder()
        self.data = self._builder.data
        self.root = Element("")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        element = self._builder.start(_bare(tag), attributes)
        if not self.root.tag:
            self.root = element

    def end(self, tag: str) -> None:
        self._builder.end(_bare(tag))
        if _bare(tag) == self._until:
            raise _EnoughError

    def refuse(self, *_: object) -> None:
        raise DatasetError(
            f"'{self._path}': expected readings, found an XML file that declares a document type "
            "(<!DOCTYPE), which those of LIDC-IDRI never do; it was not read; copy it "
            "again, or take it out of the folder"
        )


def _bare(tag: str) -> str:
    return tag.rpartition(":")[2]
