"""Miniatures of public downloads, in their true layout."""

import json
from pathlib import Path

import nibabel
import numpy as np

from diffunet.api import convert_dataset
from diffunet.data.raw.dataset import RawDataset, open_dataset


def convert(format_name: str, source: Path, workspace: Path, **wishes: object) -> RawDataset:
    """Convert into `workspace`, in this process, and open what came of it."""
    return open_dataset(
        convert_dataset(format_name, source, workspace=workspace, num_processes=0, **wishes)  # pyright: ignore[reportArgumentType]
    )


def save_nifti(path: Path, array: np.ndarray, *, spacing: tuple[float, ...] = (1, 1, 1)) -> None:
    """Save (x, y, z[, channel])."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([*spacing, 1.0]))
    nibabel.save(image, path)


def decathlon(folder: Path, *, num_channels: int = 1) -> Path:
    """Make a task of two training cases and a test case, with macOS' leftovers; returns it."""
    source = folder / "Task04_Hippocampus"
    random = np.random.default_rng(0)
    names = ["hippocampus_001", "hippocampus_003"]
    shape = (5, 6, 4) if num_channels == 1 else (5, 6, 4, num_channels)
    for part, cases in (("Tr", names), ("Ts", ["hippocampus_002"])):
        for name in cases:
            image = random.integers(0, 900, shape, dtype=np.int16)
            save_nifti(source / f"images{part}" / f"{name}.nii.gz", image, spacing=(1, 1, 2))
            (source / f"images{part}" / f"._{name}.nii.gz").write_bytes(b"\0" * 30)
    for name in names:
        mask = random.integers(0, 3, (5, 6, 4), dtype=np.uint8)
        save_nifti(source / "labelsTr" / f"{name}.nii.gz", mask, spacing=(1, 1, 2))
    content = {
        "name": "Hippocampus",
        "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "3D",
        "modality": {str(index): f"MRI {index}" for index in range(num_channels)},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": 2,
        "numTest": 1,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": ["./imagesTs/hippocampus_002.nii.gz"],
    }
    (source / "dataset.json").write_text(json.dumps(content))
    return source


def nnunet_v1(folder: Path) -> Path:
    """Make a raw dataset of two channels with two training cases and a labelled test case."""
    source = folder / "Task500_Own"
    random = np.random.default_rng(1)
    for part, cases in (("Tr", ["a_01", "b_02"]), ("Ts", ["c_03"])):
        for name in cases:
            for channel in range(2):
                image = random.normal(size=(4, 5, 3)).astype(np.float32)
                save_nifti(source / f"images{part}" / f"{name}_{channel:04d}.nii.gz", image)
            mask = random.integers(0, 2, (4, 5, 3), dtype=np.uint8)
            save_nifti(source / f"labels{part}" / f"{name}.nii.gz", mask)
    content = {
        "name": "Own",
        "modality": {"0": "T1", "1": "CT"},
        "labels": {"0": "background", "1": "lesion"},
        "numTraining": 2,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in ("a_01", "b_02")
        ],
    }
    (source / "dataset.json").write_text(json.dumps(content))
    return source
