"""A raw dataset with image-level labels, and a weak model of it with random weights."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.image_io import ImageGeometry, write_label_map, write_signed_map
from diffunet.data.raw.case_files import CaseFiles
from diffunet.jsonio import write_json
from diffunet.plans import MaskPlan, ResolvedPlans
from tests.data.tiny_datasets import write_csv
from tests.wsss.weak_models import ONE_LABEL, write_weak_model

NAME, NUM_CASES, SHAPE = "Dataset003_Tags", 8, (20, 18)
CASES = tuple(f"c{number}" for number in range(NUM_CASES))
SPLITS = [
    {"train": [case for case in CASES if case not in held], "val": list(held)}
    for held in (("c0", "c1"), ("c2", "c3"), ("c4", "c5"))
]
"""Of three folds, so that c6 and c7 are in sample for all."""


def is_tagged(case: str) -> int:
    """Whether a case shows the first label: every other one does."""
    return int(case[1:]) % 2


def picture(number: int) -> np.ndarray:
    pixels = np.random.default_rng(number).integers(0, 60, SHAPE).astype(np.uint8)
    if number % 2:
        pixels[4:9, 5:11] += 150
    return pixels


def write_tagged_pictures(workspace: Path, *, name: str = NAME, **content: Any) -> Path:
    """Write pictures c0 ... of which every other one shows a label, and a test picture t0.

    What stands in `labelsTr` is no mask.
    """
    raw = workspace / "raw" / name
    geometry = ImageGeometry(shape=SHAPE, spacing_mm=(1.0, 1.0), has_spacing=False)
    for number, case in enumerate(CASES):
        write_label_map(raw / "imagesTr" / f"{case}_0000.png", picture(number), geometry)
    write_label_map(raw / "imagesTs" / "t0_0000.png", picture(50), geometry)
    (raw / "labelsTr").mkdir()
    for case in CASES:
        (raw / "labelsTr" / f"{case}.png").write_bytes(b"no mask")
    write_csv(raw / "image_labels.csv", [("case", "bright"), *((c, is_tagged(c)) for c in CASES)])
    patients = [(case, f"p{int(case[1:]) // 2}") for case in CASES]
    write_csv(raw / "patients.csv", [("case", "patient"), *patients, ("t0", "p9")])
    described = {
        "channel_names": {"0": "grey"},
        "labels": ONE_LABEL,
        "file_ending": ".png",
        "numTraining": NUM_CASES,
        "image_labels": "image_labels.csv",
    }
    write_json(raw / "dataset.json", described | content)
    write_json(workspace / "preprocessed" / name / "splits_final.json", SPLITS)
    return raw


def write_tagged_model(
    workspace: Path,
    *,
    method: str = "classifier",
    name: str = NAME,
    folds: tuple[str, ...] = ("0", "1"),
    **weak: Any,
) -> Path:
    folder = workspace / "results" / name / f"{method}__diffunet_plans__small"
    return write_weak_model(folder, method=method, folds=folds, **weak)


def change_mask_plan(model: Path, **mask: Any) -> None:
    """Change how maps of every method become masks, in every fold of a model."""
    for path in model.glob("fold_*/plans.resolved.json"):
        plans = ResolvedPlans.load(path)
        configuration = plans.configuration
        names = ("cdm", "cg_cdm", "cg_diff", "layer_cam", "grad_cam")
        weak = dataclasses.replace(configuration.weak, masks=dict.fromkeys(names, MaskPlan(**mask)))
        changed = dataclasses.replace(configuration, weak=weak)
        dataclasses.replace(plans, configuration=changed).save(path)


def write_tagged_volumes(folder: Path, *, num_cases: int = 4) -> Path:
    """Write volumes of six slices, whose tags are of slices; the first case has tags of some."""
    rows: list[tuple[object, ...]] = []
    for number in range(num_cases):
        image = np.random.default_rng(number).normal(size=(6, *SHAPE)).astype(np.float32)
        for index in range(6):
            shows = (number + index) % 2
            image[index, 4:9, 5:11] += 4.0 * shows
            rows.append((f"v{number}", index, shows, int(index == 2)))
        geometry = ImageGeometry(shape=image.shape, spacing_mm=(3.0, 0.5, 0.7))
        write_signed_map(folder / "imagesTr" / f"v{number}_0000.nii.gz", image, geometry)
    write_csv(folder / "image_labels.csv", [("case", "slice", "bright", "dark lesion"), *rows])
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "T1"},
            "labels": {"background": 0, "bright": 1, "dark lesion": 2},
            "file_ending": ".nii.gz",
            "image_labels": "image_labels.csv",
        },
    )
    return folder


def files_of(*cases: str) -> tuple[CaseFiles, ...]:
    return tuple(CaseFiles(case=case, images=(Path(f"{case}.png"),)) for case in cases)
