"""What a fold's folder says about its training, for whoever goes on with it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from diffunet.checkpoint import entry_of, load_checkpoint
from diffunet.plans import ResolvedPlans
from diffunet.training.state import FINAL, LATEST
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


def begun_training(fold_folder: Path) -> BegunTraining | None:
    """Return the training of a fold's folder; None where there is none to go on with.

    Raises:
        CheckpointError, PlansError: its checkpoint is damaged.
    """
    path = next(
        (fold_folder / each for each in (LATEST, FINAL) if (fold_folder / each).exists()), None
    )
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
