"""What a fold's folder says about its training, for whoever goes on with it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from diffunet.checkpoint import entry_of, load_checkpoint
from diffunet.plans import ResolvedPlans
from diffunet.training.metrics import read_records
from diffunet.training.state import BEST, FINAL, LATEST, checkpoint_to_validate
from diffunet.workspace import METRICS_FILE, RESOLVED_PLANS_FILE, VALIDATION_SUMMARY

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BegunTraining:
    """A training of which there are weights, or plans alone: it ended before it saved any.

    Attributes:
        plans: that it began with, before any choice that a training makes at its end.
        iteration: finished optimiser steps of the weights.
        is_finished: all planned iterations are done, and the final validation too.
        pretrained_weights: that it began from, if it has saved none of its own; "" for chance.
    """

    plans: ResolvedPlans
    seed: int
    iteration: int
    has_weights: bool = True
    is_finished: bool = False
    pretrained_weights: str = ""


def begun_training(fold_folder: Path, *, only_validates: bool = False) -> BegunTraining | None:
    """Return the training of a fold's folder; None where there is none to go on with.

    Args:
        only_validates: what validates has to be whole, and not what trains on.

    Raises:
        CheckpointError, PlansError: its checkpoint, or the plans that it began with, are damaged.
    """
    paths = [fold_folder / name for name in (LATEST, FINAL) if (fold_folder / name).exists()]
    path = checkpoint_to_validate(fold_folder) if only_validates else next(iter(paths), None)
    if path is None:
        return None if only_validates else _begun_without_weights(fold_folder)
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


def _begun_without_weights(fold_folder: Path) -> BegunTraining | None:
    """Return a training that a full disk, a kill or a crash ended before its first checkpoint."""
    path = fold_folder / RESOLVED_PLANS_FILE
    if not path.is_file() or (fold_folder / BEST).exists():
        return None
    starts = [
        each for each in read_records(fold_folder / METRICS_FILE) if each.get("kind") == "start"
    ]
    start = starts[-1] if starts else {}
    seed = start.get("seed")
    return BegunTraining(
        plans=ResolvedPlans.load(path),
        seed=seed if type(seed) is int else 0,
        iteration=0,
        has_weights=False,
        pretrained_weights=str(start.get("pretrained_weights") or ""),
    )
