"""Raw datasets of a few voxels, written without the code under test."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

SHAPE_2D = (8, 6)
SHAPE_3D = (4, 6, 8)
SPACING_MM = (2.0, 1.0, 0.5)
LABELS = {"background": 0, "lesion": 1}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_json(path: Path, *, without: Sequence[str] = (), **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: value for key, value in content.items() if key not in without})


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_volume(
    path: Path,
    array: np.ndarray,
    *,
    spacing_mm: Sequence[float] = SPACING_MM,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    direction: Sequence[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing([float(value) for value in spacing_mm[::-1]])
    image.SetOrigin([float(value) for value in origin])
    image.SetDirection([float(value) for value in direction])
    SimpleITK.WriteImage(image, str(path))


def write_sheared_nifti(path: Path, array: np.ndarray) -> np.ndarray:
    """Write a NIfTI file whose axes are not perpendicular; return its affine."""
    affine = np.array([[-0.5, 0.2, 0, 3], [0, -1, 0, -4], [0, 0, 2, 5], [0, 0, 0, 1]])
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array.T, affine)
    nibabel.save(image, path)
    return affine


def image_2d(seed: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE_2D, *channels), np.uint8)


def mask_2d(*, is_empty: bool = False) -> np.ndarray:
    mask = np.zeros(SHAPE_2D, np.uint8)
    mask[2:4, 2:4] = not is_empty
    return mask


def image_3d(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE_3D).astype(np.float32)


def mask_3d() -> np.ndarray:
    mask = np.zeros(SHAPE_3D, np.uint8)
    mask[1:3, 2:4, 2:5] = 1
    return mask


def describe(folder: Path, *, file_ending: str, channels: Sequence[str], **more: Any) -> None:
    names = {str(index): name for index, name in enumerate(channels)}
    write_json(
        folder / "dataset.json",
        {"channel_names": names, "labels": LABELS, "file_ending": file_ending, **more},
    )


def build_2d(folder: Path) -> None:
    """Cases a, b, c for training and t for testing: grey PNG, one rater."""
    describe(folder, file_ending=".png", channels=["CT"], numTraining=3)
    for seed, case in enumerate("abct"):
        part = "Ts" if case == "t" else "Tr"
        write_png(folder / f"images{part}" / f"{case}_0000.png", image_2d(seed))
        write_png(folder / f"labels{part}" / f"{case}.png", mask_2d())


def build_raters(folder: Path) -> None:
    """Cases a (two raters, one of whom saw nothing) and b (one rater)."""
    describe(folder, file_ending=".png", channels=["CT"], raters=True, numTraining=2)
    for seed, case in enumerate("ab"):
        write_png(folder / "imagesTr" / f"{case}_0000.png", image_2d(seed))
        write_png(folder / "labelsTr" / f"{case}_r00.png", mask_2d())
    write_png(folder / "labelsTr" / "a_r01.png", mask_2d(is_empty=True))


def build_colour(folder: Path) -> None:
    """Case a in one RGB file, case b in one file per channel."""
    describe(folder, file_ending=".png", channels=["R", "G", "B"])
    write_png(folder / "imagesTr" / "a_0000.png", image_2d(0, 3))
    for channel in range(3):
        write_png(folder / "imagesTr" / f"b_{channel:04d}.png", image_2d(channel + 1))
    for case in "ab":
        write_png(folder / "labelsTr" / f"{case}.png", mask_2d())


def build_tagged(folder: Path) -> None:
    """Cases a and b, of which only a shows the lesion, without any label map."""
    describe(folder, file_ending=".png", channels=["T1"], image_labels="image_labels.csv")
    for seed, case in enumerate("ab"):
        write_png(folder / "imagesTr" / f"{case}_0000.png", image_2d(seed))
    write_csv(folder / "image_labels.csv", [("case", "lesion"), ("a", 1), ("b", 0)])


def build_tagged_slices(folder: Path) -> None:
    """Volumes a and b with labels of single slices."""
    describe(folder, file_ending=".nii.gz", channels=["T1"], image_labels="image_labels.csv")
    for seed, case in enumerate("ab"):
        write_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", image_3d(seed))
    rows = [("a", 0, 0), ("a", 3, 1), ("b", 1, 0)]
    write_csv(folder / "image_labels.csv", [("case", "slice", "lesion"), *rows])


def build_3d(folder: Path) -> None:
    """Volumes a and b with two channels."""
    describe(folder, file_ending=".nii.gz", channels=["T1", "T2"])
    for seed, case in enumerate("ab"):
        for channel in range(2):
            path = folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz"
            write_volume(path, image_3d(2 * seed + channel))
        write_volume(folder / "labelsTr" / f"{case}.nii.gz", mask_3d())


def build_tiff(folder: Path) -> None:
    """Volumes a and b in TIFF, whose spacing stands in a.json and b.json."""
    describe(folder, file_ending=".tif", channels=["fluorescence"])
    for seed, case in enumerate("ab"):
        for kind, array in (("images", image_3d(seed)), ("labels", mask_3d())):
            path = (
                folder / f"{kind}Tr" / (f"{case}_0000.tif" if kind == "images" else f"{case}.tif")
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, array, photometric="minisblack")
            write_json(folder / f"{kind}Tr" / f"{case}.json", {"spacing": SPACING_MM})


def build_table(folder: Path) -> None:
    """Cases a and b, named one by one in dataset.json."""
    table = {case: {"images": [f"scans/{case}.png"], "label": f"masks/{case}.png"} for case in "ab"}
    describe(folder, file_ending=".png", channels=["CT"], dataset=table)
    for seed, case in enumerate("ab"):
        write_png(folder / "scans" / f"{case}.png", image_2d(seed))
        write_png(folder / "masks" / f"{case}.png", mask_2d())


VALID_DATASETS = {
    "2d": build_2d,
    "raters": build_raters,
    "colour": build_colour,
    "tagged": build_tagged,
    "tagged_slices": build_tagged_slices,
    "3d": build_3d,
    "tiff": build_tiff,
    "table": build_table,
}
