"""LIDC-IDRI from TCIA: CT volumes in DICOM, and what each radiologist outlined in XML."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.dicom import Series, read_series
from diffunet.conversion.dicom_header import Header, read_header
from diffunet.conversion.lidc_nodules import nodules
from diffunet.conversion.lidc_readings import Outline, Reading, read_readings, series_of
from diffunet.conversion.outlines import fill
from diffunet.conversion.tree import refuse_all
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_TOLERANCE = 0.25  # of the distance of slices, by which an outline may lie beside one
_MANY = 1000  # files of which the headers take a while
_SECONDS_BETWEEN_LINES = 10.0
_REMARKS = (
    "raters are numbered anew in each case: r00 of two cases need not be one radiologist",
    "outlines lie just outside of a nodule and are no part of it; findings of less than 3 mm, "
    "which have no outline, and those that are no nodules are background",
)
_MARGIN = 1  # pixel: an outline lies outside of its nodule, which may touch the border


@dataclass(frozen=True, kw_only=True)
class _Series:
    """The files of a series, wherever they lie; `header` is that of the first."""

    header: Header
    files: list[Path]

    @property
    def folder(self) -> Path:
        return self.files[0].parent


def scan(source: Path, slices: Sequence[Path], tables: Sequence[Path]) -> Conversion:
    """Return the CT series that have readings; X-rays and others are counted.

    A damaged file is the fault of its case, or of a case of its own where nothing tells which. So
    are readings that contradict each other.

    Args:
        slices, tables: all DICOM and XML files below `source`.

    Raises:
        DatasetError: there is none, or a file lies there twice.
    """
    headers, damaged = _each(_said(slices), read_header)
    series = _series_of(headers)
    computed = [each for each in series if each.header.modality == "CT"]
    lost = _give_damaged(damaged, computed)
    readings, contradictions, unused, damaged_tables = _readings_of(computed, tables)
    read = [each for each in computed if each.header.series in readings]
    unread = [each for each in computed if each.header.series not in readings]
    if unread:
        lost |= damaged_tables
    if not read:
        raise DatasetError(
            f"'{source}': expected CT series with readings, LIDC-IDRI-0001/STUDY/SERIES/*.dcm and "
            f"*.xml, found {len(computed)} CT series and {len(tables)} XML files, of which "
            "none belong together; add the readings (LIDC-XML-only.zip of TCIA, unpacked below it)"
        )
    cases = [
        SourceCase(
            name=name,
            read=partial(_refuse, contradictions[uid])
            if (uid := each.header.series) in contradictions
            else partial(_read_case, name, each.header.patient, each.files, readings[uid]),
        )
        for name, each in _names(read).items()
    ]
    cases += [
        SourceCase(name=f"unknown_{number}", read=partial(_refuse, fault))
        for number, fault in enumerate(lost.values(), start=1)
    ]
    return nodules(
        cases,
        description="lung nodules of 3 mm and more, outlined by up to four radiologists",
        licence="CC BY 3.0",
        channel="CT",
        file_ending=".nii.gz",
        remarks=(
            *_left_out(series, unread),
            *_left_aside(unused, damaged_tables if not unread else {}),
            *(
                f"a case cannot be converted: {fault}"
                for fault in (*contradictions.values(), *lost.values())
            ),
            *_REMARKS,
        ),
    )


def _said(slices: Sequence[Path]) -> Iterator[Path]:
    """Yield the files, and log now and then how many of them were read."""
    if len(slices) > _MANY:
        logger.info("reading the headers of %d DICOM files", len(slices))
    said = time.monotonic()
    for number, path in enumerate(slices):
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            logger.info("read %d of %d headers", number, len(slices))
            said = time.monotonic()
        yield path


def _each(
    files: Iterable[Path], read: Callable[[Path], Result]
) -> tuple[dict[Path, Result], dict[Path, str]]:
    """Return what `read` returns for each file, and what is wrong with those it cannot read."""
    found: dict[Path, Result] = {}
    damaged: dict[Path, str] = {}
    for path in files:
        try:
            found[path] = read(path)
        except DatasetError as fault:
            damaged[path] = str(fault)
    return found, damaged


def _series_of(headers: Mapping[Path, Header]) -> list[_Series]:
    """Return the series of some files, sorted.

    Raises:
        DatasetError: two folders hold the same slice.
    """
    by_series: dict[str, dict[str, Path]] = defaultdict(dict)
    series: dict[str, _Series] = {}
    twice: dict[tuple[Path, Path], str] = {}
    for path, header in headers.items():
        same = by_series[header.series].setdefault(header.instance, path)
        if same.parent != path.parent:
            twice[same.parent, path.parent] = header.series
        series.setdefault(header.series, _Series(header=header, files=[])).files.append(path)
    refuse_all(
        [
            f"'{first}' and '{second}' hold the same slices of the series {name}"
            for (first, second), name in twice.items()
        ],
        remedy="remove one of each, or name the folder of one download",
    )
    return [series[name] for name in sorted(series)]


def _give_damaged(damaged: Mapping[Path, str], computed: Sequence[_Series]) -> dict[Path, str]:
    """Add damaged files to the series of their folder; return the fault of each other folder."""
    beside: dict[Path, dict[str, _Series]] = defaultdict(dict)
    for each in computed:
        for path in each.files:
            beside[path.parent][each.header.series] = each
    lost: dict[Path, str] = {}
    for path, fault in damaged.items():
        for each in beside.get(path.parent, {}).values():
            each.files.append(path)
        if path.parent not in beside:
            lost.setdefault(path.parent, fault)
    return lost


def _readings_of(
    computed: Sequence[_Series], tables: Sequence[Path]
) -> tuple[dict[str, Path], dict[str, str], list[Path], dict[Path, str]]:
    """Return the XML file of each series that has one: beside its slices, or anywhere else.

    A damaged file beside the slices of a series that has no other one is its file.

    Returns:
        It by series; what is wrong with series that have several which differ, by series; files
        that belong to no series here; and the faults of other damaged files.
    """
    named, damaged = _each(tables, series_of)
    by_series: dict[str, list[Path]] = defaultdict(list)
    for path, series in named.items():
        if series:
            by_series[series].append(path)
    readings: dict[str, Path] = {}
    contradictions: dict[str, str] = {}
    for each in computed:
        found = by_series.pop(each.header.series, [])
        found = [path for path in found if path.parent == each.folder] or found
        if len({path.read_bytes() for path in found}) > 1:
            shown = ", ".join(f"'{path}'" for path in found)
            contradictions[each.header.series] = (
                f"{shown}: expected one file of readings of the series {each.header.series}, found "
                "several that differ; keep the one that counts, and remove the others"
            )
        found = found or [path for path in damaged if path.parent == each.folder]
        if found:
            readings[each.header.series] = found[0]
    unused = [path for found in by_series.values() for path in found]
    taken = set(readings.values())
    left = {path: damaged[path] for path in damaged if path not in taken}
    return readings, contradictions, unused, left


def _names(read: Sequence[_Series]) -> dict[str, _Series]:
    """Return names of cases: the patient's, numbered where there are several series of it.

    A series without the name of a patient is named as itself.
    """
    of_patient: dict[str, list[_Series]] = defaultdict(list)
    for each in read:
        patient = each.header.patient or each.header.series
        of_patient[patient.replace("/", "_").replace("\\", "_")].append(each)
    return {
        patient if len(found) == 1 else f"{patient}_{number}": each
        for patient, found in sorted(of_patient.items())
        for number, each in enumerate(found, start=1)
    }


def _left_out(series: Sequence[_Series], unread: Sequence[_Series]) -> Iterator[str]:
    others = Counter(each.header.modality or "?" for each in series)
    del others["CT"]
    left_out = [f"{number} series of {name} (no CT)" for name, number in sorted(others.items())]
    if unread:
        shown = listing({each.header.patient or each.header.series for each in unread})
        left_out.append(f"{len(unread)} series of CT without readings ({shown})")
    if left_out:
        yield f"left out: {', '.join(left_out)}"


def _left_aside(unused: Sequence[Path], damaged: Mapping[Path, str]) -> Iterator[str]:
    if unused:
        yield f"files of readings whose CT is not here: {listing({path.name for path in unused})}"
    for fault in damaged.values():
        yield f"left aside, since each CT series has its readings: {fault}"


def _refuse(fault: str) -> Iterator[ConvertedCase]:
    """Raise what is wrong with files of a case that nothing names."""
    raise DatasetError(fault)


def _read_case(name: str, patient: str, files: list[Path], table: Path) -> Iterator[ConvertedCase]:
    """Yield the volume of a series with the label map of each of its readings."""
    readings = read_readings(table)
    if not readings:
        raise DatasetError(
            f"'{table}': expected readings, found no <readingSession>; copy the file again, or "
            f"take it out of the download: then '{name}' is left out"
        )
    series = read_series(files)
    yield ConvertedCase(
        name=name,
        image=series.voxels[None],
        geometry=series.geometry,
        masks={
            f"r{rater:02d}": _label_map(reading, series, table)
            for rater, reading in enumerate(readings)
        },
        patient=patient,
        remarks=series.remarks,
    )


def _label_map(reading: Reading, series: Series, table: Path) -> np.ndarray:
    """Return the nodules of one reading, (z, y, x), of 0 and 1."""
    label_map = np.zeros(series.geometry.shape, np.uint8)
    for nodule in reading:
        by_slice: dict[int, list[Outline]] = defaultdict(list)
        for outline in nodule:
            if len(outline.points):
                by_slice[_slice_of(outline, series, table)].append(outline)
        for index, outlines in by_slice.items():
            label_map[index] |= _surrounded(outlines, label_map.shape[1:], table)
    return label_map


def _surrounded(outlines: Sequence[Outline], shape: tuple[int, ...], table: Path) -> np.ndarray:
    """Return the pixels of one slice of a nodule; the lines, of holes as well, are not of it."""
    nodule, holes = np.zeros(shape, bool), np.zeros(shape, bool)
    for outline in outlines:
        beyond = (outline.points < -_MARGIN) | (outline.points >= np.array(shape[::-1]) + _MARGIN)
        if beyond.any():
            x, y = outline.points[beyond.any(axis=1)][0]
            raise DatasetError(
                f"'{table}': expected outlines within {shape[1]} x {shape[0]} pixels, found the "
                f"point ({x}, {y}); is it the file of this series?"
            )
        within, line = fill(outline.points, (shape[0], shape[1]))
        if outline.is_hole:
            holes |= within | line
        else:
            nodule |= within
    return nodule & ~holes


def _slice_of(outline: Outline, series: Series, table: Path) -> int:
    """Return the index of the slice with the outline: by its name, or else by its place."""
    if outline.instance in series.slices:
        return series.slices[outline.instance]
    if outline.z_mm is not None:
        distances = np.abs(np.array(series.z_mm) - outline.z_mm)
        nearest = int(distances.argmin())
        if distances[nearest] <= _TOLERANCE * series.geometry.spacing_mm[0]:
            return nearest
    raise DatasetError(
        f"'{table}': expected each outline in a slice of its series, found one of the slice "
        f"'{outline.instance}' at z = {outline.z_mm} mm, which is none of them (z from "
        f"{min(series.z_mm):g} to {max(series.z_mm):g} mm); are slices missing?"
    )
