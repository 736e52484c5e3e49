"""Miniatures of CHAOS: DICOM slices of 8 x 6 pixels, with PNG masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from PIL import Image

MR_VALUES = {1: 63, 2: 126, 3: 189, 4: 252}
SPACING_MM = (7.5, 1.5, 1.25)  # z, y, x


def organs(num_slices: int = 5) -> np.ndarray:
    """Return (z, y, x), z rising: kidneys (2, 3) lie below the liver (1) and the spleen (4)."""
    volume = np.zeros((num_slices, 6, 8), np.uint8)
    volume[2:, 1:4, 1:4] = 1
    volume[:2, 4:6, 1:3] = 2
    volume[1:3, 4:6, 5:7] = 3
    volume[3:, 2:4, 6:8] = 4
    return volume


def intensities(seed: int, num_slices: int = 5) -> np.ndarray:
    """Return stored voxels (z, y, x), 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, (num_slices, 6, 8)).astype(np.int16)


def save_dicom(
    path: Path, plane: np.ndarray, *, z_mm: float, number: int, intercept: int = 0
) -> None:
    """Save a slice (y, x) that lies at the height `z_mm`; the file holds `plane` - `intercept`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(plane[None])
    image.SetSpacing((SPACING_MM[2], SPACING_MM[1], SPACING_MM[0]))
    meta = {
        "0008|0060": "MR",
        "0010|0020": "anonymous",
        "0020|0013": str(number),
        "0020|0032": f"-100\\-120\\{z_mm}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0028|1052": str(intercept),
        "0028|1053": "1",
    }
    for key, value in meta.items():
        image.SetMetaData(key, value)
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.Execute(image)


def save_series(
    folder: Path,
    volume: np.ndarray,
    names: Sequence[str],
    *,
    from_head: bool = False,
    intercept: int = 0,
) -> None:
    """Save (z, y, x), z rising; file k is slice k from the feet, or from the head."""
    order = range(len(volume))[::-1] if from_head else range(len(volume))
    for number, (name, index) in enumerate(zip(names, order, strict=True), start=1):
        z_mm = 30 + SPACING_MM[0] * index
        save_dicom(folder / name, volume[index], z_mm=z_mm, number=number, intercept=intercept)


def save_masks(
    folder: Path, volume: np.ndarray, names: Sequence[str], *, from_head: bool = False
) -> None:
    """Save (z, y, x) as one PNG each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, plane in zip(names, volume[::-1] if from_head else volume, strict=True):
        Image.fromarray(plane).save(folder / name)


def as_stored(labels: np.ndarray) -> np.ndarray:
    """Return the values of the PNG files of MR."""
    stored = np.zeros_like(labels)
    for label, value in MR_VALUES.items():
        stored[labels == label] = value
    return stored


def chaos(folder: Path) -> Path:
    """Make training patients 1 and 2 of MR and 1 of CT, and the test patient 4 of MR and CT."""
    source = folder / "CHAOS"
    for number in ("1", "2"):
        _mr_patient(source / "CHAOS_Train_Sets" / "Train_Sets" / "MR" / number, has_masks=True)
    _mr_patient(source / "CHAOS_Test_Sets" / "Test_Sets" / "MR" / "4", has_masks=False)
    _ct_patient(source / "CHAOS_Train_Sets" / "Train_Sets" / "CT" / "1", has_masks=True)
    _ct_patient(source / "CHAOS_Test_Sets" / "Test_Sets" / "CT" / "4", has_masks=False)
    return source


def _mr_patient(folder: Path, *, has_masks: bool) -> None:
    number = int(folder.name)
    t1, t2 = folder / "T1DUAL", folder / "T2SPIR"
    out_phase = [f"IMG-00{number:02d}-{index:05d}.dcm" for index in range(1, 11, 2)]
    in_phase = [f"IMG-00{number:02d}-{index:05d}.dcm" for index in range(2, 12, 2)]
    spir = [f"IMG-00{number:02d}-{index:05d}.dcm" for index in range(1, 6)]
    save_series(t1 / "DICOM_anon" / "InPhase", intensities(number), in_phase)
    save_series(t1 / "DICOM_anon" / "OutPhase", intensities(number + 10), out_phase)
    save_series(t2 / "DICOM_anon", intensities(number + 20), spir)
    (t2 / "DICOM_anon" / f"._{spir[0]}").write_bytes(b"\0" * 30)
    if has_masks:
        for place, names in ((t1, in_phase), (t2, spir)):
            pngs = [name.replace(".dcm", ".png") for name in names]
            save_masks(place / "Ground", as_stored(organs()), pngs)


def _ct_patient(folder: Path, *, has_masks: bool) -> None:
    names = [f"i{index:04d},0000b.dcm" for index in range(5)]
    save_series(
        folder / "DICOM_anon", intensities(7) - 1024, names, from_head=True, intercept=-1024
    )
    if has_masks:
        pngs = [f"liver_GT_{index:03d}.png" for index in range(5)]
        liver = np.where(organs() == 1, 255, 0).astype(np.uint8)
        save_masks(folder / "Ground", liver, pngs, from_head=True)
