"""What a fold's folder says about its training, for whoever goes on with it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from diffunet.checkpoint import entry_of, load_checkpoint
from diffunet.plans import ResolvedPlans
from diffunet.training.state import FINAL, LATEST, checkpoint_to_validate
from diffunet.workspace import VALIDATION_SUMMARY

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BegunTraining:
    """A training that has saved weights.

    Attributes:
        plans: that it began with, before any choice that a training makes at its end.
        iteration: finished optimiser steps.
        is_finished: all planned iterations are done, and the final validation too.
    """

    plans: ResolvedPlans
    seed: int
    iteration: int
    is_finished: bool


def begun_training(fold_folder: Path, *, only_validates: bool = False) -> BegunTraining | None:
    """Return the training of a fold's folder; None where there is none to go on with.

    Args:
        only_validates: what validates has to be whole, and not what trains on.

    Raises:
        CheckpointError, PlansError: its checkpoint is damaged.
    """
    paths = [fold_folder / name for name in (LATEST, FINAL) if (fold_folder / name).exists()]
    path = checkpoint_to_validate(fold_folder) if only_validates else next(iter(paths), None)
    if path is None:
        return None
    content = load_checkpoint(path, "cpu")
    plans = ResolvedPlans.from_json(entry_of(content, "plans", dict, where=path), where=str(path))
    iteration = entry_of(content, "iteration", int, where=path)
    is_validated = (fold_folder / VALIDATION_SUMMARY).exists() or fold_folder.name == "fold_all"
    return BegunTraining(
        plans=plans,
        seed=entry_of(content, "seed", int, where=path),
        iteration=iteration,
        is_finished=(fold_folder / FINAL).exists()
        and is_validated
        and iteration >= plans.configuration.training.num_iterations,
    )
