"""LIDC-IDRI from TCIA: CT volumes in DICOM, and what each radiologist outlined in XML."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.dicom import Header, Series, read_header, read_series
from diffunet.conversion.lidc_nodules import nodules
from diffunet.conversion.lidc_readings import Outline, Reading, read_readings, series_of
from diffunet.conversion.outlines import fill
from diffunet.conversion.tree import for_each, refuse_all
from diffunet.errors import DatasetError

_TOLERANCE = 0.25  # of the distance of slices, by which an outline may lie beside one
_MARGIN = 1  # pixel: an outline lies outside of its nodule, which may touch the border


def scan(source: Path, slices: Sequence[Path], tables: Sequence[Path]) -> Conversion:
    """Return the CT series that have readings; X-rays and others are counted.

    Args:
        slices, tables: all DICOM and XML files below `source`.

    Raises:
        DatasetError: there is none, a series lies there twice, or its readings contradict.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in slices:
        folders[path.parent].append(path)
    headers = for_each(sorted(folders), lambda folder: _header_of(folders[folder]))
    computed = {folder: header for folder, header in headers.items() if header.modality == "CT"}
    _refuse_twice(computed)
    readings = _readings_of(computed, tables)
    read = {folder: header for folder, header in computed.items() if folder in readings}
    if not read:
        raise DatasetError(
            f"'{source}': expected CT series with readings, LIDC-IDRI-0001/STUDY/SERIES/*.dcm and "
            f"*.xml, found {len(computed)} CT series and {len(tables)} XML files, of which "
            "none belong together; add the readings (LIDC-XML-only.zip of TCIA, unpacked below it)"
        )
    cases = [
        SourceCase(
            name=name,
            read=partial(_read_case, name, read[folder].patient, folders[folder], readings[folder]),
        )
        for name, folder in _names(read).items()
    ]
    return nodules(
        cases,
        description="lung nodules of 3 mm and more, outlined by up to four radiologists",
        licence="CC BY 3.0",
        channel="CT",
        file_ending=".nii.gz",
        remarks=_remarks(headers, computed, read),
    )


def _header_of(files: Sequence[Path]) -> Header:
    """Return the header of the first file of a folder that can be read."""
    for path in files[:-1]:
        try:
            return read_header(path)
        except DatasetError:
            continue  # its case will be refused
    return read_header(files[-1])


def _refuse_twice(computed: Mapping[Path, Header]) -> None:
    folders: dict[str, list[Path]] = defaultdict(list)
    for folder, header in computed.items():
        folders[header.series].append(folder)
    refuse_all(
        [
            f"'{found[0]}' and '{found[1]}' hold the same series {series}"
            for series, found in folders.items()
            if len(found) > 1
        ],
        remedy="remove one of each, or name the folder of one download",
    )


def _readings_of(computed: Mapping[Path, Header], tables: Sequence[Path]) -> dict[Path, Path]:
    """Return the XML file of each folder that has one: beside its slices, or anywhere else."""
    by_series: dict[str, list[Path]] = defaultdict(list)
    for path, series in for_each(tables, series_of).items():
        if series:
            by_series[series].append(path)
    readings, problems = {}, []
    for folder, header in computed.items():
        found = by_series.get(header.series, [])
        found = [path for path in found if path.parent == folder] or found
        if len({path.read_bytes() for path in found}) > 1:
            shown = ", ".join(f"'{path}'" for path in found)
            problems.append(
                f"{shown}: expected one file of readings of the series {header.series}, found "
                "several that differ"
            )
        if found:
            readings[folder] = found[0]
    refuse_all(problems, remedy="keep the one that counts, and remove the others")
    return readings


def _names(read: Mapping[Path, Header]) -> dict[str, Path]:
    """Return names of cases: the patient's, numbered where there are several series of it."""
    of_patient: dict[str, list[Path]] = defaultdict(list)
    for folder in sorted(read, key=lambda folder: read[folder].series):
        of_patient[read[folder].patient].append(folder)
    return {
        patient if len(folders) == 1 else f"{patient}_{number}": folder
        for patient, folders in sorted(of_patient.items())
        for number, folder in enumerate(folders, start=1)
    }


def _remarks(
    headers: Mapping[Path, Header], computed: Mapping[Path, Header], read: Mapping[Path, Header]
) -> tuple[str, ...]:
    others = Counter(header.modality for header in headers.values() if header.modality != "CT")
    counts = {f"{modality} (no CT)": number for modality, number in sorted(others.items())}
    counts["CT without readings"] = len(computed) - len(read)
    left_out = [f"{number} series of {what}" for what, number in counts.items() if number]
    remarks = [f"left out: {', '.join(left_out)}"] if left_out else []
    return (
        *remarks,
        "raters are numbered anew in each case: r00 of two cases need not be one radiologist",
        "outlines lie just outside of a nodule and are no part of it; findings of less than 3 mm, "
        "which have no outline, and those that are no nodules are background",
    )


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
