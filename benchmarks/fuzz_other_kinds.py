"""Kinds of files that stand beside the main road: locks, copies, and what others read again."""

import dataclasses
import os
import shutil
from functools import partial
from pathlib import Path

import mutations as change
import numpy as np
import torch
from fuzz_kind import Kind

from diffunet.arguments import new_summary_path
from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.data.prediction_records import record_path
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.store.nnunet_files import refuse_nnunet_folder
from diffunet.errors import DatasetError
from diffunet.evaluation.scored_files import ScoredFolders, pair_files
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.options import FolderRun
from diffunet.inference.output import OutputFolder
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from diffunet.locks import in_use
from diffunet.plans.edits import edited_fields
from diffunet.wsss.prediction.case_records import read_weak_case
from diffunet.wsss.prediction.shared_masks import write_shared_masks
from diffunet.wsss.second_stage.pseudo_dataset import begin_dataset

SETTINGS = {"seed": 0, "method": "cdm"}
OF_PSEUDO_LABELS = {"dataset": "a", "runs": {"fold_0": SETTINGS}}
LOCK = ".in_use.json"
SHAPE = (16, 16)


def build(root: Path, *, model: Path) -> None:
    """Make one whole file of each kind below `root`."""
    geometry = ImageGeometry(shape=SHAPE, spacing_mm=(1.0, 1.0))
    _write_weak_prediction(root / "weak", model, geometry)
    begin_dataset(root / "pseudo", OF_PSEUDO_LABELS, cases=(), continues=False)
    made = root / "pseudo_made"
    write_json(made / "pseudo_labels.json", {"settings": OF_PSEUDO_LABELS, "cases": {}})
    write_json(made / "dataset.json", {"dataset": {}})
    write_json(root / "summary.json", {"distribution": {"mean": 0.5}, "cases": [1, 2]})
    write_json(root / "nnunet" / "nnUNetPlans.json", {"patch_size": [16, 16], "a": {"b": 1.5}})
    holder = {"host": "h", "machine": "m", "pid": 1, "command": "c", "since": "s", "mark": "k"}
    write_json(root / "locked" / LOCK, holder)
    for folder in (root / "scored" / "labels", root / "scored" / "predictions"):
        write_label_map(folder / "a.png", np.ones(SHAPE, np.uint8), geometry)
    output = OutputFolder(root / "scored" / "predictions", model=_loaded(model), settings=SETTINGS)
    for sample in range(2):
        output.write_sample("a", sample, np.ones((1, *SHAPE), bool), geometry)
    output.write_record("a", {"volumes": {}}, geometry)


def kinds(root: Path, *, model: Path, plans: Path) -> list[Kind]:
    """Return the kinds, with the files that `build` made below `root`."""
    as_json = (change.json_changed, change.json_changed, change.bytes_changed)
    scored = root / "scored"
    return [
        Kind(
            name="plans as the planner wrote them",
            path=plans.with_suffix(".planned.json"),
            read=partial(edited_fields, plans, configuration=None),
            mutations=as_json,
        ),
        Kind(
            name="record of a weak prediction",
            path=record_path(root / "weak", "a"),
            read=partial(_read_weak, root / "weak", _loaded(model)),
            mutations=as_json,
        ),
        Kind(
            name="settings of pseudo-labels",
            path=next((root / "pseudo").rglob("*.json")),
            read=partial(
                begin_dataset, root / "pseudo", OF_PSEUDO_LABELS, cases=(), continues=True
            ),
            mutations=as_json,
        ),
        Kind(
            name="pseudo_labels.json",
            path=root / "pseudo_made" / "pseudo_labels.json",
            read=partial(
                begin_dataset, root / "pseudo_made", OF_PSEUDO_LABELS, cases=(), continues=True
            ),
            mutations=as_json,
        ),
        Kind(
            name="summary.json of scores",
            path=root / "summary.json",
            read=partial(new_summary_path, root / "summary.json"),
            mutations=as_json,
        ),
        Kind(
            name="JSON of others, preprocessed",
            path=root / "nnunet" / "nnUNetPlans.json",
            read=partial(refuse_nnunet_folder, root / "nnunet"),
            mutations=as_json,
        ),
        Kind(
            name="lock",
            path=root / "locked" / LOCK,
            read=partial(_enter, root / "locked"),
            mutations=as_json,
        ),
        Kind(
            name="record, scored",
            path=record_path(scored / "predictions", "a"),
            read=partial(_pair, scored / "labels", scored / "predictions"),
            mutations=as_json,
        ),
    ]


def _loaded(model: Path) -> TrainedModel:
    return load_model(model, folds=None, checkpoint="final", device=torch.device("cpu"))


def _write_weak_prediction(folder: Path, model: Path, geometry: ImageGeometry) -> None:
    trained = _loaded(model)
    output = OutputFolder(folder, model=trained, settings=SETTINGS)
    output.begin(is_alone=True)
    saliency = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    scale = output.write_saliency("a", 0, saliency, geometry)
    about = {
        "case_probability": 0.9,
        "probability": [0.9],
        "is_present": [True],
        "decided_by": ["classifier"],
        "slice_threshold": [0.5],
        "threshold": [0.5],
        "saliency_file": dataclasses.asdict(scale),
    }
    name = trained.labels.names[0]
    content = {"is_decided_by_slice": False, "labels": {name: about}, "volumes": {}}
    output.write_record("a", content, geometry)


def _read_weak(folder: Path, model: TrainedModel) -> None:
    output = OutputFolder(folder, model=model, settings=SETTINGS)
    read_weak_case(output, "a")
    write_shared_masks(
        [CaseFiles(case="a", images=())],
        run=FolderRun(),
        output=output,
        masks_of=lambda maps, thresholds: maps > 0,
    )


def _enter(folder: Path) -> None:
    """Enter where a lock lies whose holder died long ago; a copy, since the lock is removed."""
    copied = folder.with_name("entered") / LOCK
    copied.parent.mkdir(exist_ok=True)
    shutil.copyfile(folder / LOCK, copied)
    os.utime(copied, (0, 0))
    with in_use(copied.parent):
        pass


def _pair(labels: Path, predictions: Path) -> None:
    problems: list[str] = []
    folders = ScoredFolders(
        reference=labels,
        prediction=predictions,
        labels=LabelScheme(names=("object",), values=((1,),)),
        file_ending=".png",
        has_raters=False,
    )
    pair_files(folders, problems=problems)
    if problems:
        raise DatasetError(problems)
