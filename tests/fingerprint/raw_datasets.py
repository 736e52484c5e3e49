"""Small raw datasets whose fingerprints can be told by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.raw.dataset import RawDataset, open_dataset
from tests.data.tiny_datasets import write_csv, write_json, write_png, write_volume

LABELS = {"background": 0, "lesion": 1}


def image_2d(seed: int, shape: tuple[int, int] = (32, 40)) -> np.ndarray:
    """A smooth image: neighbouring pixels are alike."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (100 + 50 * np.sin(x / 9 + seed) + 40 * np.cos(y / 7)).astype(np.uint8)


def mask_2d(start: Sequence[int], stop: Sequence[int], shape=(32, 40)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[start[0] : stop[0], start[1] : stop[1]] = 1
    return mask


def write_dataset(
    folder: Path,
    images: dict[str, np.ndarray],
    masks: dict[str, np.ndarray],
    *,
    content: dict[str, Any] | None = None,
    tables: dict[str, list[Sequence[object]]] | None = None,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> RawDataset:
    """Write single-channel images and masks (by case, or by case_rNN), and open the dataset."""
    is_volume = next(iter(images.values())).ndim == 3
    ending = ".nii.gz" if is_volume else ".png"
    write_json(
        folder / "dataset.json",
        {"channel_names": {"0": "MR"}, "labels": LABELS, "file_ending": ending, **(content or {})},
    )
    for kind, suffix, arrays in (("imagesTr", "_0000", images), ("labelsTr", "", masks)):
        for name, array in arrays.items():
            path = folder / kind / f"{name}{suffix}{ending}"
            if is_volume:
                write_volume(path, array, spacing_mm=spacing_mm)
            else:
                write_png(path, array)
    for name, rows in (tables or {}).items():
        write_csv(folder / name, rows)
    return open_dataset(folder)
