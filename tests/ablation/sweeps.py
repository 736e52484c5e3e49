"""A workspace in miniature, and sweeps in it that take a second."""

from pathlib import Path
from typing import Any

from diffunet import api
from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed

NAME = "Dataset001_Discs"


def write_workspace(root: Path, *, num_raters: int = 2) -> Workspace:
    """Write preprocessed discs, and plans that train for two iterations."""
    place = Workspace.resolve(folder=root, environment={}, current_folder=root)
    write_preprocessed(place.preprocessed / NAME, num_raters=num_raters)
    training = {"num_iterations": 2, "num_validations": 0, "num_final_validation_cases": 3}
    of_dataset(plans(training=training)).save(place.preprocessed / NAME / "diffunet_plans.json")
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
