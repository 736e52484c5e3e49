"""Raw datasets of a few voxels for `same_results.py`, written with numpy alone.

Nothing of diffunet takes part, so that every commit is given the same files.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

RATERS, VOLUMES = "Dataset001_Raters", "Dataset002_Volumes"
TAGS, SLICES = "Dataset003_Tags", "Dataset004_Slices"
PSEUDO = "Dataset503_TagsPseudo"

IMAGE_SIZE, TAGGED_SIZE = (24, 20), (16, 18)
VOLUME_SHAPE, SPACING_MM = (7, 18, 16), (2.5, 1.0, 1.2)
SLICES_SHAPE = (3, 16, 18)


def write_datasets(workspace: Path) -> None:
    """Write all datasets into a workspace, and splits of the tagged pictures."""
    raw = workspace / "raw"
    splits = workspace / "preprocessed" / TAGS / "splits_final.json"
    splits.parent.mkdir(parents=True)
    splits.write_text(json.dumps(_splits_of_tags()), encoding="utf-8")
    write_raters(raw / RATERS)
    write_volumes(raw / VOLUMES)
    write_tags(raw / TAGS)
    write_slices(raw / SLICES)


def write_raters(folder: Path) -> None:
    """Write pictures of two channels with three raters, who draw it large, small or not at all."""
    patients = []
    for number in range(15):
        draw = np.random.default_rng([1, number])
        part, case = _part(number, 12), f"case{number:02d}"
        distance = _distance(IMAGE_SIZE, draw.uniform(7, 13, 2))
        brightness = draw.uniform(40, 120)
        for channel, sign in enumerate((1, -1)):
            image = 120 + sign * brightness * (distance < 5) + draw.normal(0, 12, IMAGE_SIZE)
            _write_png(folder / f"images{part}" / f"{case}_{channel:04d}.png", image)
        for rater in range(3):
            radius = draw.choice((0.0, 4.0, 6.0))
            _write_png(folder / f"labels{part}" / f"{case}_r{rater:02d}.png", distance < radius)
        patients.append((case, f"p{number // 2}"))
    _write_csv(folder / "patients.csv", [("case", "patient"), *patients])
    _describe(folder, channels=("T1", "T2"), ending=".png", labels=1, raters=True)


def write_volumes(folder: Path) -> None:
    """Write coarse volumes with one rater and two labels, one inside the other."""
    for number in range(10):
        draw = np.random.default_rng([2, number])
        part, case = _part(number, 8), f"vol{number}"
        distance = _distance(VOLUME_SHAPE, (3.0, *draw.uniform(6, 11, 2)), SPACING_MM)
        labels = (distance < 6).astype(np.uint8) + (distance < 3)
        image = 50.0 * labels + draw.normal(100, 15, VOLUME_SHAPE)
        _write_volume(folder / f"images{part}" / f"{case}_0000.nii.gz", image.astype(np.float32))
        _write_volume(folder / f"labels{part}" / f"{case}.nii.gz", labels)
    _describe(folder, channels=("CT",), ending=".nii.gz", labels=2)


def write_tags(folder: Path) -> None:
    """Write pictures, every other one with a bright blob; tags to learn from, masks of the test."""
    rows, patients = [], []
    for number in range(15):
        draw = np.random.default_rng([3, number])
        part, case = _part(number, 12), f"tag{number:02d}"
        image, mask = _tagged(draw, shows=number % 2)
        _write_png(folder / f"images{part}" / f"{case}_0000.png", image)
        if part == "Ts":
            _write_png(folder / "labelsTs" / f"{case}.png", mask)
        rows.append((case, number % 2))
        patients.append((case, f"p{number // 2}"))
    _write_csv(folder / "image_labels.csv", [("case", "label1"), *rows[:12]])
    _write_csv(folder / "known.csv", [("case", "label1"), *((case, 1) for case, _ in rows[12:])])
    _write_csv(folder / "patients.csv", [("case", "patient"), *patients])
    _describe(folder, channels=("grey",), ending=".png", labels=1, image_labels="image_labels.csv")


def write_slices(folder: Path) -> None:
    """Write volumes whose slices have tags of two labels, one bright and one dark; and masks."""
    rows = []
    for number in range(12):
        draw = np.random.default_rng([4, number])
        part, case = _part(number, 10), f"head{number}"
        image, mask = np.zeros(SLICES_SHAPE, np.float32), np.zeros(SLICES_SHAPE, np.uint8)
        for index in range(SLICES_SHAPE[0]):
            is_bright, is_dark = (number + index) % 2, int((number + 2 * index) % 3 == 0)
            bright, first = _tagged(draw, shows=is_bright)
            dark, second = _tagged(draw, shows=is_dark)
            image[index], mask[index] = bright - dark, np.where(first, 1, 2 * second)
            if part == "Tr":
                rows.append((case, index, is_bright, is_dark))
        _write_volume(folder / f"images{part}" / f"{case}_0000.nii.gz", image)
        _write_volume(folder / f"labels{part}" / f"{case}.nii.gz", mask)
    _write_csv(folder / "image_labels.csv", [("case", "slice", "label1", "label2"), *rows])
    tags = "image_labels.csv"
    _describe(folder, channels=("FLAIR",), ending=".nii.gz", labels=2, image_labels=tags)


def array_of(number: int, *shape: int) -> np.ndarray:
    """Return an image (*shape) of noise, for prediction of what is in memory."""
    return np.random.default_rng([5, number]).normal(100, 40, shape).astype(np.float32)


def _splits_of_tags() -> list[dict[str, list[str]]]:
    """Return two folds; of a single image, so that no clock decides how many are validated."""
    cases = [f"tag{number:02d}" for number in range(12)]
    return [{"train": cases[4:], "val": cases[:4]}, {"train": cases[2:], "val": cases[1:2]}]


def _tagged(draw: np.random.Generator, *, shows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice and its mask."""
    mask = (_distance(TAGGED_SIZE, draw.uniform(5, 11, 2)) < 3.5) & bool(shows)
    return draw.uniform(20, 60, TAGGED_SIZE) + 150 * mask, mask


def _distance(
    shape: Sequence[int], centre: Iterable[float], spacing: Sequence[float] | None = None
) -> np.ndarray:
    """Return the distance from `centre` (voxels) in units of `spacing`, per voxel."""
    axes = zip(np.indices(shape), centre, spacing or (1.0,) * len(shape), strict=True)
    return np.sqrt(sum(((index - middle) * step) ** 2 for index, middle, step in axes))


def _part(number: int, num_training: int) -> str:
    return "Tr" if number < num_training else "Ts"


def _describe(
    folder: Path, *, channels: Sequence[str], ending: str, labels: int, **more: Any
) -> None:
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {"background": 0, **{f"label{i}": i for i in range(1, labels + 1)}},
        "file_ending": ending,
        "numTraining": len(list((folder / "imagesTr").iterdir())) // len(channels),
        **more,
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def _write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8)).save(path)


def _write_volume(path: Path, image: np.ndarray) -> None:
    """Write (z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    nibabel.save(nibabel.Nifti1Image(image.T, affine), path)  # type: ignore[attr-defined]


def _write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
