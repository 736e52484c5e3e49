"""What a training begins with: a folder that nothing is lost from, and weights."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffunet.errors import UsageError
from diffunet.inference.compute import Precision
from diffunet.jsonio import copy_file, remove_unfinished
from diffunet.networks.memory_order import channels_last
from diffunet.randomness import derive_seed
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.fold_data import FoldData
from diffunet.training.metrics import keep_records_until
from diffunet.training.optim import build_optimizer, num_warmup_iterations
from diffunet.training.state import BEST, FINAL, LATEST, Origin, TrainingState, load_pretrained
from diffunet.workspace import (
    DATASET_FILE,
    FINGERPRINT_FILE,
    METRICS_FILE,
    RESOLVED_PLANS_FILE,
    VALIDATION_SUMMARY,
)

logger = logging.getLogger(__name__)

_RESULTS = (FINAL, BEST, VALIDATION_SUMMARY)
"""Files of a training that no other training of the fold may replace."""


def check_start(fold_folder: Path, *, continues: bool, pretrained_weights: Path | None) -> None:
    """Check that a training may begin, or go on, in its folder.

    Raises:
        UsageError: it would replace what another has left, or has its weights twice.
    """
    latest = fold_folder / LATEST
    if continues and pretrained_weights is not None:
        raise UsageError(
            "a continued training already has its weights; leave out either -pretrained_weights "
            "or --c"
        )
    if latest.exists():
        if not continues:
            raise UsageError(
                f"'{fold_folder}' holds a training already; continue it with --c, or remove the "
                "folder"
            )
        return
    kept = [str(name) for name in _RESULTS if (fold_folder / name).exists()]
    if kept:
        raise UsageError(
            f"'{fold_folder}' holds files of a training ({', '.join(kept)}) but no '{LATEST}': "
            "there is nothing to continue from, and a new training would replace them; validate "
            "its weights with --val, or move or remove the folder to train anew"
        )
    if continues:
        logger.warning("there is no '%s' to continue from; starting from the beginning", latest)


def new_state(
    data: FoldData,
    *,
    seed: int,
    pretrained_weights: Path | None,
    pretrained_source: Path | None,
) -> TrainingState:
    """Return a training before its first iteration."""
    configuration = data.plans.configuration
    plan = configuration.training
    if num_warmup_iterations(plan) < plan.num_warmup_iterations:
        logger.warning(
            "training.num_warmup_iterations %d is too long for %d iterations; using %d",
            plan.num_warmup_iterations,
            plan.num_iterations,
            num_warmup_iterations(plan),
        )
    torch.manual_seed(derive_seed(seed, "weights"))
    model = data.build_model()
    if pretrained_weights is not None:
        load_pretrained(model, pretrained_weights, source=pretrained_source)
    model = channels_last(model.to(data.compute.device), dimensions=configuration.dimensions)
    return TrainingState(
        model=model,
        ema=ExponentialMovingAverage(model, decay=plan.ema_decay),
        optimizer=build_optimizer(model, plan),
    )


def start_record(
    model: nn.Module,
    *,
    iteration: int,
    seed: int,
    pretrained_weights: Path | None,
    device: torch.device,
    num_ranks: int,
    precision: Precision,
) -> dict[str, Any]:
    """Return what `metrics.jsonl` says of where a training begins or goes on, and on what.

    Args:
        iteration: finished ones.
        pretrained_weights: that the training began from, as the user named them.
        num_ranks: processes that train together, each on a device.
    """
    is_cuda = device.type == "cuda"
    return {
        "kind": "start",
        "iteration": iteration,
        "seed": seed,
        "pretrained_weights": None if pretrained_weights is None else str(pretrained_weights),
        "num_parameters": sum(each.numel() for each in model.parameters()),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "num_devices": num_ranks,
        "num_threads": torch.get_num_threads(),
        "precision": precision,
    }


def prepare_folder(
    fold_folder: Path, preprocessed_folder: Path, origin: Origin, state: TrainingState
) -> None:
    """Write what a model folder needs besides weights; delete files that will be written again."""
    remove_unfinished(fold_folder)
    (fold_folder / VALIDATION_SUMMARY).unlink(missing_ok=True)
    origin.plans.save(fold_folder / RESOLVED_PLANS_FILE)
    keep_records_until(
        fold_folder / METRICS_FILE, state.iteration, last_validation=state.last_validation
    )
    # beside the folds, so that the model's folder needs no other files
    for name in (DATASET_FILE, FINGERPRINT_FILE, f"{origin.plans.plans_name}.json"):
        if (preprocessed_folder / name).exists():
            copy_file(preprocessed_folder / name, fold_folder.parent / name)
