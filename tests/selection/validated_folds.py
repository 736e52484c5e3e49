"""A model of two validated folds in miniature, in a workspace."""

from pathlib import Path

import pytest

from diffunet import api
from diffunet.jsonio import read_json, write_json
from diffunet.training.reporting import Pictures
from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed

NAME = "Dataset001_Discs"
MODEL = "diffusion__diffunet_plans__2d"
CASES_OF = {"0": ["case_06", "case_07", "case_08", "case_09"], "1": ["case_02", "case_03"]}
"""The validation cases of each fold."""


def write_validated_model(root: Path, *, method: str = "diffusion") -> None:
    """Train two folds for two iterations, and keep the samples of their validation."""
    place = Workspace.resolve(folder=root, environment={}, current_folder=root)
    preprocessed = place.preprocessed / NAME
    if not preprocessed.exists():
        write_preprocessed(preprocessed)
        (split,) = read_json(preprocessed / "splits_final.json")
        cases = [*split["train"], *split["val"]]
        splits = [
            {"train": [case for case in cases if case not in val], "val": val}
            for val in CASES_OF.values()
        ]
        write_json(preprocessed / "splits_final.json", splits)
        training = {"num_iterations": 2, "num_validations": 0, "num_final_validation_cases": 10}
        of_dataset(plans(training=training)).save(preprocessed / "diffunet_plans.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "update", lambda self: None)
        api.train(
            1,
            [0, 1],
            workspace=place,
            method=method,
            saves_samples=True,
            device="cpu",
            num_processes=0,
        )
