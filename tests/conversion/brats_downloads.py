"""Miniatures of releases of BraTS: volumes of 10 x 8 x 6 voxels (x, y, z) with a tumour."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.conversion.downloads import save_nifti

CHANNELS = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"}
SPACING = (1, 1.5, 2)


def tumour(values: tuple[int, int, int]) -> np.ndarray:
    """Return (x, y, z): necrosis 2, oedema 12 (or 6) and enhancing 4 pixels of slices 2 and 3."""
    necrosis, oedema, enhancing = values
    mask = np.zeros((10, 8, 6), np.uint8)
    mask[2:8, 2:5, 2] = oedema
    mask[2:6, 2:5, 3] = oedema
    mask[3:5, 2:5, 2:4] = enhancing
    mask[3:5, 3, 2:4] = necrosis
    return mask


def brats_case(
    folder: Path, *, values: tuple[int, int, int] | None = (1, 2, 4), ending: str = ".nii.gz"
) -> Path:
    """Make a folder of a case as its name says; `values` are of the mask, None leaves it out."""
    is_new = folder.name.startswith("BraTS-")
    random = np.random.default_rng(zlib.crc32(folder.name.encode()))
    for old, new in CHANNELS.items():
        name = f"{folder.name}-{new}" if is_new else f"{folder.name}_{old}"
        image = random.integers(0, 3000, (10, 8, 6), dtype=np.int16)
        save_nifti(folder / f"{name}{ending}", image, spacing=SPACING)
    if values is not None:
        name = f"{folder.name}-seg" if is_new else f"{folder.name}_seg"
        save_nifti(folder / f"{name}{ending}", tumour(values), spacing=SPACING)
    return folder


def brats_2021(folder: Path, numbers: Sequence[int] = (0, 2)) -> Path:
    """Make a training part, and a validation part of one case, with macOS' leftovers."""
    source = folder / "BraTS2021"
    training = source / "BraTS2021_Training_Data"
    for number in numbers:
        case = brats_case(training / f"BraTS2021_{number:05d}")
        (case / f"._{case.name}_flair.nii.gz").write_bytes(b"\0" * 30)
    (source / "__MACOSX" / "BraTS2021_00000").mkdir(parents=True)
    brats_case(
        source / "RSNA_ASNR_MICCAI_BraTS2021_ValidationData" / "BraTS2021_00001", values=None
    )
    return source
