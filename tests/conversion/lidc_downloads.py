"""Miniatures of LIDC-IDRI in the three forms of its download."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from PIL import Image

PREFIX = "1.3.6.1.4.1.14519.5.2.1.6279.6001"
SQUARE = [(2, 2), (3, 2), (4, 2), (5, 2), (5, 3), (5, 4), (5, 5), (4, 5), (3, 5), (2, 5), (2, 4)]
"""An outline, without (2, 3): the line is closed from its last point to its first."""

Roi = tuple[int, Sequence[tuple[int, int]], bool]
"""Index of the slice, points (x, y), and whether they include."""


def ct(shape: tuple[int, int, int] = (5, 9, 8), seed: int = 0) -> np.ndarray:
    """Return Hounsfield units, (z, y, x)."""
    return np.random.default_rng(seed).integers(-1000, 1200, shape, dtype=np.int16)


def save_slice(
    path: Path,
    voxels: np.ndarray,
    *,
    patient: str,
    series: str,
    number: int,
    position: Sequence[float],
    modality: str = "CT",
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    instance: str | None = None,
) -> None:
    """Save (y, x), of pixels 0.7 wide and 0.8 mm high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_ct = modality == "CT"
    image = SimpleITK.GetImageFromArray(voxels[None] if is_ct else voxels[None].astype(np.uint16))
    image.SetSpacing((0.7, 0.8, 1.0))
    tags = {
        "0008|0060": modality,
        "0010|0020": patient,
        "0020|000d": f"{series}.9",
        "0020|000e": series,
        "0008|0018": instance or f"{series}.{number}",
        "0020|0013": str(number),
        "0020|0032": "\\".join(f"{value:g}" for value in position),
        "0020|0037": "\\".join(f"{value:g}" for value in orientation),
    } | ({"0028|1052": "-1024", "0028|1053": "1"} if is_ct else {})
    for key, value in tags.items():
        image.SetMetaData(key, value)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def save_series(
    folder: Path,
    voxels: np.ndarray,
    *,
    patient: str = "LIDC-IDRI-0001",
    series: str = f"{PREFIX}.1",
    z_mm: Sequence[float] | None = None,
    shift_mm: float = 0.0,
    modality: str = "CT",
) -> Path:
    """Save a series whose first file is its topmost slice; returns the folder."""
    z_mm = [-100.0 + 2.5 * index for index in range(len(voxels))] if z_mm is None else z_mm
    for index, (z, plane) in enumerate(zip(z_mm, voxels, strict=True)):
        number = len(voxels) - index
        save_slice(
            folder / f"1-{number:03d}.dcm",
            plane,
            patient=patient,
            series=series,
            number=number,
            position=(-10.5, -20.25 + shift_mm * index, z),
            modality=modality,
        )
    return folder


def readings_xml(
    readings: Sequence[Sequence[Sequence[Roi]]],
    *,
    series: str = f"{PREFIX}.1",
    num_slices: int = 5,
    root: str = "LidcReadMessage",
    names_slices: bool = True,
) -> str:
    """Return the XML of readings, each of nodules, each of outlines."""
    sessions = ""
    for nodules in readings:
        marked = ""
        for number, rois in enumerate(nodules):
            outlines = ""
            for index, points, includes in rois:
                edges = "".join(
                    f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>"
                    for x, y in points
                )
                name = f"{series}.{num_slices - index}" if names_slices else ""
                outlines += (
                    f"<roi><imageZposition>{-100 + 2.5 * index:g} </imageZposition>"
                    f"<imageSOP_UID>{name}</imageSOP_UID>"
                    f"<inclusion>{'TRUE' if includes else 'FALSE'}</inclusion>{edges}</roi>"
                )
            marked += (
                f"<unblindedReadNodule><noduleID>{number}</noduleID>{outlines}"
                "</unblindedReadNodule>"
            )
        sessions += f"<readingSession>{marked}<nonNodule/></readingSession>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="http://www.nih.gov">'
        f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
        f"{sessions}</{root}>"
    )


def lidc_dicom(folder: Path) -> Path:
    """Make two patients: one with a CT and an X-ray, one with two CTs and a CT without readings."""
    source = folder / "manifest-1" / "LIDC-IDRI"
    first = source / "LIDC-IDRI-0001" / "01-01-2000-NA-NA-30178" / "3000566.000000-NA-03192"
    save_series(first, ct())
    hole = [(3, 3)]
    readings = [[[(1, SQUARE, True), (1, hole, False), (2, SQUARE, True)]], [], [[(3, hole, True)]]]
    (first / "069.xml").write_text(readings_xml(readings))
    (first / "._069.xml").write_bytes(b"\0" * 20)
    (first / "._1-001.dcm").write_bytes(b"\0" * 20)
    ray = first.parent.parent / "01-01-2000-NA-NA-90001" / "3000923.000000-NA-62357"
    save_series(ray, ct(seed=1)[:1], series=f"{PREFIX}.7", modality="DX")
    (ray / "070.xml").write_text(readings_xml([[]], series=f"{PREFIX}.4", root="IdriReadMessage"))
    for number in (2, 3, 4):
        series = f"{PREFIX}.{number}"
        path = source / "LIDC-IDRI-0132" / f"study-{number}" / f"series-{number}"
        save_series(path, ct(seed=number), patient="LIDC-IDRI-0132", series=series)
        if number != 4:
            table = source / "tcia-lidc-xml" / "157" / f"{number}.xml"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text(readings_xml([[[(2, SQUARE, True)]]] * 4, series=series))
    return folder / "manifest-1"


def lidc_slices(folder: Path) -> Path:
    """Make two patients, one with two nodules, one folder deeper than asked for."""
    source = folder / "archive" / "LIDC-IDRI-slices"
    random = np.random.default_rng(3)
    for patient, nodule, num_slices in ((1, 0, 2), (3, 0, 1), (3, 10, 2)):
        place = source / f"LIDC-IDRI-{patient:04d}" / f"nodule-{nodule}"
        for index in range(num_slices):
            save_png(place / "images" / f"slice-{index}.png", random.integers(0, 256, (16, 16)))
            for rater in range(4):
                mask = np.zeros((16, 16))
                mask[4 : 8 + rater, 4:9] = 0 if rater == 3 else 255
                save_png(place / f"mask-{rater}" / f"slice-{index}.png", mask)
        (place / "images" / "._slice-0.png").write_bytes(b"\0" * 20)
    save_png(
        folder / "archive" / "__MACOSX" / "LIDC-IDRI-0001" / "nodule-0" / "images" / "slice-9.png",
        np.zeros((16, 16)),
    )
    return folder / "archive"


def save_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def slices_by_name() -> dict[str, dict[str, object]]:
    """Return what the pickle holds: four slices of three series."""
    random = np.random.default_rng(4)
    made: dict[str, dict[str, object]] = {}
    for uid, index in ((111, 0), (111, 1), (222, 0), (333, 0)):
        masks = [np.zeros((16, 16), np.uint8) for _ in range(4)]
        for rater, mask in enumerate(masks[:3]):
            mask[4:9, 4 : 7 + rater] = 1
        made[f"{uid}_slice{index}"] = {
            "image": random.random((16, 16)),
            "masks": masks,
            "series_uid": f"{PREFIX}.{uid}",
        }
    return made


def lidc_pickle(folder: Path, *, protocol: int = 2) -> Path:
    """Make data_lidc.pickle; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data_lidc.pickle").write_bytes(pickle.dumps(slices_by_name(), protocol))
    return folder
