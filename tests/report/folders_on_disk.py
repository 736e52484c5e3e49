"""Folders of predictions and trainings as the commands leave them, made without a network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, write_image, write_label_map, write_map
from diffunet.evaluation.folder import evaluate_folders
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme

IMAGE, VOLUME = (24, 20), (6, 24, 20)
NASTY = "<script>alert('x')</script>&\"'"
SCRIPTS = "中文 ümlaut"


def write_predictions(
    root: Path,
    cases: Sequence[str] = ("case1", "case2", "case3"),
    *,
    shape: tuple[int, ...] = IMAGE,
    labels: Sequence[str] = ("lesion",),
    num_samples: int = 4,
    num_raters: int = 2,
    has_samples: bool = True,
    has_images: bool = True,
    is_scored: bool = True,
) -> Path:
    """Write `root/predictions`, and `root/raw/Dataset001_X/imagesTs` and `labelsTs`."""
    folder, raw = root / "predictions", root / "raw" / "Dataset001_X"
    ending = ".png" if len(shape) == 2 else ".nii.gz"
    content = dataset_of(labels, ending, has_raters=num_raters > 1)
    for place in (folder, raw):
        write_json(place / "dataset.json", content)
    for number, case in enumerate(cases):
        _write_case(
            folder,
            raw,
            case,
            shape=shape,
            ending=ending,
            labels=labels,
            seed=number,
            num_samples=num_samples,
            num_raters=num_raters,
            has_samples=has_samples,
            has_images=has_images,
        )
    if is_scored and num_raters:
        write_json(folder / "summary.json", score(folder, raw / "labelsTs", content))
    return folder


def dataset_of(labels: Sequence[str], ending: str, *, has_raters: bool) -> dict[str, Any]:
    values = {label: number + 1 for number, label in enumerate(labels)}
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **values},
        "raters": has_raters,
        "numTraining": 1,
        "file_ending": ending,
    }


def score(folder: Path, references: Path, content: dict[str, Any]) -> dict[str, Any]:
    folders = ScoredFolders(
        reference=references,
        prediction=folder,
        labels=LabelScheme.from_dataset_json(content),
        file_ending=content["file_ending"],
        has_raters=content["raters"],
    )
    return evaluate_folders(folders, num_processes=0)


def _write_case(
    folder: Path,
    raw: Path,
    case: str,
    *,
    shape: tuple[int, ...],
    ending: str,
    labels: Sequence[str],
    seed: int,
    num_samples: int,
    num_raters: int,
    has_samples: bool,
    has_images: bool,
) -> None:
    random = np.random.default_rng(seed)
    geometry = ImageGeometry(shape=shape, spacing_mm=(1.0,) * len(shape), has_spacing=False)
    samples = [_mask(shape, random, num_labels=len(labels)) for _ in range(num_samples)]
    raters = [_mask(shape, random, num_labels=len(labels)) for _ in range(num_raters)]
    image = raw / "imagesTs" / f"{case}_0000{ending}"
    if has_images:
        write_image(image, random.integers(0, 255, (1, *shape), np.uint8), geometry)
    for number, mask in enumerate(raters):
        name = f"{case}_r{number:02d}{ending}" if num_raters > 1 else f"{case}{ending}"
        write_label_map(raw / "labelsTs" / name, mask, geometry)
    for number, mask in enumerate(samples if has_samples else ()):
        write_label_map(folder / "samples" / f"{case}_s{number:02d}{ending}", mask, geometry)
    share = np.mean([sample > 0 for sample in samples], axis=0)
    write_label_map(folder / f"{case}{ending}", samples[0], geometry)
    write_map(folder / f"{case}_uncertainty{ending}", 1 - np.abs(2 * share - 1), geometry)
    record = {
        "settings": {"dataset": "Dataset001_X", "method": "diffusion", "folds": ["0"]},
        "shape": shape,
        "seconds": 1.5,
        "volumes": {label: _volumes(samples, number + 1) for number, label in enumerate(labels)},
        "input": [FileState.of(image, has_time=True)] if has_images else None,
        "files": None,
    }
    write_json(folder / "records" / f"{case}.json", record)


def _mask(shape: tuple[int, ...], random: np.random.Generator, *, num_labels: int) -> np.ndarray:
    """Return boxes of random size, one per label; sometimes nothing."""
    mask = np.zeros(shape, np.uint8)
    if random.random() < 0.2:
        return mask
    for label in range(1, num_labels + 1):
        start = [random.integers(1, max(2, edge // 3)) for edge in shape]
        box = tuple(
            slice(int(at), int(at + random.integers(1, max(2, edge // 2))))
            for at, edge in zip(start, shape, strict=True)
        )
        mask[box] = label
    return mask


def _volumes(samples: Sequence[np.ndarray], value: int) -> dict[str, Any]:
    found = [float(np.count_nonzero(sample == value)) for sample in samples]
    low, high = np.quantile(found, [0.05, 0.95])
    return {
        "unit": "mm^2",
        "mean": float(np.mean(found)),
        "median": float(np.median(found)),
        "percentile_5": float(low),
        "percentile_95": float(high),
        "samples": found,
    }


def write_fold(
    folder: Path, *, num_iterations: int = 40, planned: int = 40, summary: Any = None
) -> Path:
    """Write a fold with curves, and the scores of its final validation."""
    start = {"kind": "start", "iteration": 0, "num_parameters": 1234567, "device": "cpu"}
    lines = [json.dumps({**start, "num_devices": 1, "num_threads": 2})]
    for iteration in range(1, num_iterations + 1):
        lines.append(
            f'{{"kind": "training", "iteration": {iteration}, "loss": {1 / iteration}, '
            f'"gradient_norm": 1.0, "learning_rate": 0.1, "seconds": {iteration}.5, '
            '"samples_per_second": 30.0}'
        )
        if iteration % 10 == 0:
            lines.append(
                f'{{"kind": "validation", "iteration": {iteration}, "num_cases": 4, '
                f'"ged_fully_unbiased": {1 / iteration}, '
                '"ged_fully_unbiased_of_always_empty": 0.4, "is_best": true, "seconds": 1.0}'
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    training = {"num_iterations": planned, "batch_size": 2}
    write_json(
        folder / "plans.resolved.json",
        {
            "method": "diffusion",
            "configuration_name": "2d",
            "set_by_user": ["training.num_iterations"],
            "configuration": {"patch_size": [24, 20], "training": training},
            "reasons": {"training": {"num_iterations": f"Set. {NASTY}"}},
        },
    )
    if summary is not None:
        write_json(folder / "validation" / "summary.json", summary)
    return folder
