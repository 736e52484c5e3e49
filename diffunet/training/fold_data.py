"""What one fold trains and validates on."""

from dataclasses import dataclass
from pathlib import Path

import torch

from diffunet.data.case_store import CaseStore
from diffunet.data.splits import Split, load_splits
from diffunet.errors import DatasetError, WorkspaceError
from diffunet.inference.compute import Compute
from diffunet.inference.model import DATASET_FILE
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.plans import Plans
from diffunet.randomness import derive_seed
from diffunet.training.drawing import CaseDrawer
from diffunet.training.objective import OBJECTIVES, DiffusionObjective, SupervisedObjective

IMAGES, LABELS, SPLITS_FILE = "images", "labels", "splits_final.json"


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """The stores, the split and the method of a fold.

    Attributes:
        patients: of every case.
        drawer: answers of a model for a case; what it draws depends on the case alone, so that two
            trainings are validated with the same noise.
    """

    plans: Plans
    images: CaseStore
    labels: CaseStore
    split: Split
    patients: dict[str, str]
    objective: DiffusionObjective | SupervisedObjective
    drawer: CaseDrawer


def open_fold(
    plans: Plans, preprocessed_folder: Path, *, fold: str, seed: int, device: torch.device
) -> FoldData:
    """Open the preprocessed data of a fold.

    Raises:
        WorkspaceError: something of it is missing.
        DatasetError: `dataset.json` or the splits are not valid, or there is no such fold.
    """
    configuration = plans.resolved
    content = read_json(preprocessed_folder / DATASET_FILE, WorkspaceError)
    labels = LabelScheme.from_dataset_json(content)
    folder = preprocessed_folder / configuration.data_identifier
    images = CaseStore(folder / IMAGES)
    patients = {case: images.properties(case).patient for case in images.cases}
    objective = OBJECTIVES[plans.method](configuration=configuration, labels=labels, seed=seed)
    precision = "bfloat16" if device.type == "cuda" else "float32"
    return FoldData(
        plans=plans,
        images=images,
        labels=CaseStore(folder / LABELS),
        split=split_of(fold, preprocessed_folder / SPLITS_FILE, patients),
        patients=patients,
        objective=objective,
        drawer=CaseDrawer(
            objective=objective,
            images=images,
            compute=Compute(device=device, precision=precision),
            seed=derive_seed("validation"),
        ),
    )


def split_of(fold: str, splits_file: Path, patients: dict[str, str]) -> Split:
    """Return the cases of a fold; "all" trains on every case and validates on none.

    Args:
        patients: of every preprocessed case.

    Raises:
        DatasetError: there is no such fold, or the file of splits is not valid.
    """
    if fold == "all":
        return Split(train=tuple(patients), val=())
    splits = load_splits(splits_file, cases=patients, patients=patients)
    if not fold.isdigit() or int(fold) >= len(splits):
        raise DatasetError(
            f"there is no fold '{fold}' in '{splits_file}', which has the folds 0 to "
            f"{len(splits) - 1}; choose one of them, or 'all' to train on every case"
        )
    return splits[int(fold)]
