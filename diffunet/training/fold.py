"""One fold from preprocessed data to weights and validation scores: the run, top to bottom."""

import contextlib
import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import BatchLoader, indices_of_rank
from diffunet.data.batches.patches import PatchSampler
from diffunet.errors import UsageError
from diffunet.jsonio import copy_file, remove_unfinished
from diffunet.locks import in_use
from diffunet.methods import METHODS
from diffunet.needs import require_memory_to_train
from diffunet.networks.memory_order import channels_last
from diffunet.parallel import Progress, without_progress
from diffunet.plans import ResolvedPlans
from diffunet.randomness import derive_seed
from diffunet.stopping import StopRequest
from diffunet.training.distributed import joined_ranks
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.fold_data import FoldData, open_fold
from diffunet.training.graphs import as_graphs
from diffunet.training.loop import (
    TrainingLoop,
    own_random_state,
    training_precision,
)
from diffunet.training.method import TrainingMethod
from diffunet.training.metrics import keep_records_until
from diffunet.training.model_folder import check_same_dataset
from diffunet.training.objective import Objective
from diffunet.training.optim import build_optimizer, num_warmup_iterations
from diffunet.training.reporting import Pictures, log_file
from diffunet.training.state import (
    BEST,
    FINAL,
    LATEST,
    Origin,
    TrainingState,
    load_pretrained,
    trained_model,
)
from diffunet.workspace import (
    DATASET_FILE,
    FINGERPRINT_FILE,
    LOG_FILE,
    METRICS_FILE,
    RESOLVED_PLANS_FILE,
    VALIDATION_SUMMARY,
)

logger = logging.getLogger(__name__)

_RESULTS = (FINAL, BEST, VALIDATION_SUMMARY)
"""Files of a training that no other training of the fold may replace."""

_COMPILED = ("body", "image_encoder")
"""The parts of a network that do nearly all of its work, as every backbone names them."""


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """How a training ended.

    Attributes:
        is_finished: all the work is done. Otherwise the training was asked to stop, and has saved
            the finished iterations, if any.
        iteration: finished optimiser steps of the weights.
        summary: what `validation/summary.json` holds; None where there was no final validation.
    """

    is_finished: bool
    iteration: int
    summary: dict[str, Any] | None


def train_fold(
    plans: ResolvedPlans,
    *,
    preprocessed_folder: Path,
    fold_folder: Path,
    fold: str,
    seed: int,
    device: torch.device,
    num_processes: int,
    continues: bool = False,
    pretrained_weights: Path | None = None,
    compiles: bool = False,
    only_validates: bool = False,
    validates_all_cases: bool = False,
    checkpoint_interval_s: float = 300.0,
    validation_time_share: float = 0.1,
    progress: Progress = without_progress,
) -> FoldResult:
    """Train one fold, or continue to, and validate it.

    Every draw is a function of the seed, the iteration and the sample's number in the global batch.
    Neither `num_processes` nor the number of ranks changes a sample, and on the CPU a training that
    was killed and continued ends with exactly the weights of an unbroken one.

    Under `torchrun` every process calls this; they share the global batch.

    Args:
        preprocessed_folder: of the dataset; holds `dataset.json`, `splits_final.json` and the
            configuration's stores.
        fold_folder: results/DATASET/METHOD__PLANS__CONFIGURATION/fold_k.
        fold: "0", "1", ... or "all" (every case; then there is no validation).
        seed: of all random draws.
        num_processes: that load data, per rank; 0 means "in this process".
        continues: from `checkpoint_latest`; starts anew, with a warning, where there is none.
        pretrained_weights: a checkpoint to start from, as far as its tensors fit.
        compiles: `torch.compile` the U-Nets.
        only_validates: only run the final validation, with the latest weights.
        validates_all_cases: in the final validation, not at most the planned number.
        checkpoint_interval_s: between two `checkpoint_latest`.
        validation_time_share: largest share of the time that sampled validation takes.

    Returns:
        How it ended. After SIGINT, SIGTERM or SIGHUP it saves the finished iterations, and returns
        unfinished.

    Raises:
        InUseError: another command trains or validates the fold.
        UsageError: there is a training already, or options contradict each other.
        WorkspaceError: the data are not preprocessed, or folds that are there had another dataset.
        DatasetError: the fold does not exist.
        PlansError: plans changed since the training that is to be continued, or need more memory
            than there is.
        CheckpointError: a checkpoint is damaged or does not fit.
        DiffunetError: the training diverged, or a loading process was killed.
    """
    method = METHODS[plans.method].training()
    if only_validates:
        return _validate_fold(
            plans,
            preprocessed_folder=preprocessed_folder,
            fold_folder=fold_folder,
            fold=fold,
            device=device,
            validates_all_cases=validates_all_cases,
            progress=progress,
        )
    with contextlib.ExitStack() as stack:
        ranks, device = stack.enter_context(joined_ranks(device))
        stack.enter_context(ranks.entered_by_first(in_use(fold_folder)))
        _check_start(fold_folder, continues=continues, pretrained_weights=pretrained_weights)
        check_same_dataset(fold_folder.parent, preprocessed_folder)
        require_memory_to_train(
            plans.configuration, method=plans.method, device=device, num_ranks=ranks.num_ranks
        )
        stack.enter_context(own_random_state(device))
        if ranks.is_first:
            stack.enter_context(log_file(fold_folder / LOG_FILE))
        data = open_fold(
            plans,
            preprocessed_folder,
            fold=fold,
            device=device,
        )
        objective = method.objective(plans.configuration, labels=data.labels, seed=seed)
        origin = Origin(plans=plans, fold=fold, seed=seed, data=data.content())
        state = _new_state(
            data, objective, seed=seed, device=device, pretrained_weights=pretrained_weights
        )
        if continues and (fold_folder / LATEST).exists():
            state.restore(fold_folder / LATEST, origin)
        if ranks.is_first:
            _prepare_folder(fold_folder, preprocessed_folder, origin, state)
        if compiles:
            compile_networks(state.model)
        pictures = stack.enter_context(Pictures(fold_folder))
        if not data.split.val:
            logger.info("fold 'all' has no validation cases: '%s' will not be written", BEST)
        precision, trained = training_precision(device), state.model
        if not compiles and not ranks.is_distributed:
            trained = as_graphs(
                state.model,
                plans.configuration,
                labels=data.labels,
                num_image_channels=data.num_channels,
                precision=precision,
            )
        loop = TrainingLoop(
            objective=objective,
            model=trained,
            plan=plans.configuration.training,
            validation=method.sampled_validation(data, pictures=pictures),
            origin=origin,
            folder=fold_folder,
            ranks=ranks,
            device=device,
            checkpoint_interval_s=checkpoint_interval_s,
            validation_time_share=validation_time_share,
            precision=precision,
            augmentation=_batch_augmentation(data, method, device=device),
            has_dropout=_draws_dropout(state.model),
            pictures=pictures,
        )
        source = _source(data, method, seed=seed, device=device)
        if not _run(loop, state, source, num_processes=num_processes, progress=progress):
            logger.warning("%s", _sentence_of_stop(state.iteration))
            return FoldResult(is_finished=False, iteration=state.iteration, summary=None)
        summary = method.finish(
            data,
            state.ema.model,
            fold_folder,
            ranks=ranks,
            is_whole=validates_all_cases,
            progress=progress,
        )
        return FoldResult(is_finished=True, iteration=state.iteration, summary=summary)


def _validate_fold(
    plans: ResolvedPlans,
    *,
    preprocessed_folder: Path,
    fold_folder: Path,
    fold: str,
    device: torch.device,
    validates_all_cases: bool,
    progress: Progress,
) -> FoldResult:
    """Only run the final validation of a fold; see `train_fold`."""
    method = METHODS[plans.method].training()
    with contextlib.ExitStack() as stack:
        ranks, device = stack.enter_context(joined_ranks(device))
        stack.enter_context(ranks.entered_by_first(in_use(fold_folder)))
        if ranks.is_first:
            stack.enter_context(log_file(fold_folder / LOG_FILE))
        data = open_fold(
            plans,
            preprocessed_folder,
            fold=fold,
            device=device,
        )
        objective = method.objective(plans.configuration, labels=data.labels, seed=0)
        model = objective.build_model(num_image_channels=data.num_channels)
        trained = trained_model(model, fold_folder, device=device)
        summary = method.finish(
            data,
            trained.model,
            fold_folder,
            ranks=ranks,
            is_whole=validates_all_cases,
            progress=progress,
        )
        return FoldResult(is_finished=True, iteration=trained.iteration, summary=summary)


def _sentence_of_stop(iteration: int) -> str:
    if iteration == 0:
        return "stopped before the first iteration ended: nothing is saved; train again"
    return f"stopped at iteration {iteration} and saved; continue with --c"


def compile_networks(model: nn.Module) -> None:
    """Compile the U-Nets in `model` when they are first called; weights keep their names."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _COMPILED:
            module.compile()


def _draws_dropout(model: nn.Module) -> bool:
    """Whether the model, in training, draws random numbers that must be seeded."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())


def _check_start(fold_folder: Path, *, continues: bool, pretrained_weights: Path | None) -> None:
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


def _new_state(
    data: FoldData,
    objective: Objective,
    *,
    seed: int,
    device: torch.device,
    pretrained_weights: Path | None,
) -> TrainingState:
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
    model = objective.build_model(num_image_channels=data.num_channels)
    if pretrained_weights is not None:
        load_pretrained(model, pretrained_weights)
    model = channels_last(model.to(device), dimensions=configuration.dimensions)
    return TrainingState(
        model=model,
        ema=ExponentialMovingAverage(model, decay=plan.ema_decay),
        optimizer=build_optimizer(model, plan),
    )


def _prepare_folder(
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


def _batch_augmentation(
    data: FoldData, method: TrainingMethod, *, device: torch.device
) -> BatchAugmentation | None:
    """Return the changes that a GPU makes to whole batches; for a CPU, workers make them."""
    if device.type != "cuda":
        return None
    return BatchAugmentation(plan=method.augmentation(data.plans.configuration))


def _source(
    data: FoldData, method: TrainingMethod, *, seed: int, device: torch.device
) -> PatchSampler:
    configuration = data.plans.configuration
    augmentation = method.augmentation(configuration)
    if device.type == "cuda":
        augmentation = augmentation.before_batching()
    return PatchSampler(
        data.images,
        data.label_maps,
        cases=data.split.train,
        configuration=dataclasses.replace(configuration, augmentation=augmentation),
        batch_size=configuration.training.batch_size,
        seed=seed,
    )


def _run(
    loop: TrainingLoop,
    state: TrainingState,
    source: PatchSampler,
    *,
    num_processes: int,
    progress: Progress,
) -> bool:
    """Load batches and train on them; returns whether all iterations are done."""
    plan, ranks = loop.plan, loop.ranks
    first = state.iteration
    loader = BatchLoader(
        source,
        indices=indices_of_rank(plan.batch_size, rank=ranks.rank, num_ranks=ranks.num_ranks),
        first_iteration=first,
        num_iterations=plan.num_iterations,
        num_processes=num_processes,
    )
    with loader, StopRequest() as should_stop:
        shown = progress if ranks.is_first else without_progress
        batches = shown(loader, max(0, plan.num_iterations - first), f"fold {loop.origin.fold}")
        is_finished = loop.run(state, batches, should_stop=should_stop)
    if is_finished and ranks.is_first:
        state.save_weights(loop.folder / FINAL, loop.origin)
    return is_finished
