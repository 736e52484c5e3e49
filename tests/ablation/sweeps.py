"""A workspace in miniature, and sweeps in it that take a second."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diffunet import api
from diffunet.data.store.case_store import CaseStore, Manifest
from diffunet.data.store.shards import PackedArray, PackedCase, write_shard
from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed
from tests.wsss.weak_folds import weak_plans, write_tagged

NAME = "Dataset001_Discs"


def write_workspace(root: Path, *, num_raters: int = 2) -> Workspace:
    """Write preprocessed discs, and plans that train for two iterations."""
    place = Workspace.resolve(folder=root, environment={}, current_folder=root)
    write_preprocessed(place.preprocessed / NAME, num_raters=num_raters)
    training = {"num_iterations": 2, "num_validations": 0, "num_final_validation_cases": 3}
    of_dataset(plans(training=training)).save(place.preprocessed / NAME / "diffunet_plans.json")
    return place


def write_weak_workspace(root: Path) -> Workspace:
    """Write images with image-level labels, and masks that only a score may open."""
    place = Workspace.resolve(folder=root, environment={}, current_folder=root)
    folder = write_tagged(place.preprocessed / NAME)
    images = CaseStore(folder / "2d" / "images")
    packed = {
        case: PackedCase(
            source="test",
            properties=dataclasses.asdict(images.properties(case)) | {"raters": ("r00",)},
            arrays={
                "labels": PackedArray.pack(
                    (np.asarray(images.array(case, "image")[:]) > 1).astype(np.uint8),
                    is_picture=False,
                )
            },
        )
        for case in images.cases
    }
    store = folder / "2d" / "labels"
    store.mkdir()
    write_shard(store / "all.shard", packed)
    Manifest(source="test", cases=dict.fromkeys(packed, "all.shard")).save(store)
    training = {"num_iterations": 2, "num_validations": 0, "num_final_validation_cases": 4}
    of_dataset(weak_plans(training=training)).save(folder / "diffunet_plans.json")
    return place


def ablate(place: Workspace, output: Path, *over: str, **options: Any) -> dict[str, Any]:
    """Run a sweep on the CPU, in this process."""
    return api.ablate(
        1,
        output=output,
        over=over,
        workspace=place,
        **{"device": "cpu", "num_processes": 0, "settings": ["sampling.num_steps=2"], **options},
    )
