"""One fold from preprocessed data to weights and validation scores: the run, top to bottom."""

import contextlib
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import BatchLoader, indices_of_rank
from diffunet.data.image_io import require_library
from diffunet.inference.compute import Precision
from diffunet.locks import in_use
from diffunet.methods import METHODS
from diffunet.needs import require_memory_to_train
from diffunet.parallel import Progress, without_progress
from diffunet.plans import ResolvedPlans
from diffunet.stopping import StopRequest
from diffunet.training.distributed import Ranks, joined_ranks
from diffunet.training.fold_data import FoldData, open_fold
from diffunet.training.graphs import as_graphs
from diffunet.training.header import sentence_of_time, training_header
from diffunet.training.loggers import NO_LOGGER, Loggers, require_loggers
from diffunet.training.loop import TrainingLoop, own_random_state, training_precision
from diffunet.training.method import FinalModel, Finishing, TrainingMethod
from diffunet.training.metrics import append_record
from diffunet.training.model_folder import check_same_dataset
from diffunet.training.objective import Objective
from diffunet.training.reporting import Pictures, log_file
from diffunet.training.start import check_start, new_state, prepare_folder, start_record
from diffunet.training.state import (
    BEST,
    FINAL,
    LATEST,
    Origin,
    TrainedFold,
    TrainingState,
    trained_model,
)
from diffunet.workspace import LOG_FILE, METRICS_FILE, RESOLVED_PLANS_FILE

logger = logging.getLogger(__name__)

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


@dataclass(frozen=True, kw_only=True)
class FoldOptions:
    """What is asked of a training beyond its plans.

    Attributes:
        num_processes: that load data, per rank; 0 means "in this process".
        continues: from `checkpoint_latest`; starts anew, with a warning, where there is none.
        pretrained_weights: a checkpoint to start from, as far as its tensors fit.
        pretrained_source: the model that it is of, for the log; None for the file itself.
        compiles: `torch.compile` the U-Nets.
        only_validates: only run the final validation, with the latest weights.
        validates: run the final validation; without it, what a method chooses there stays unchosen.
        validates_all_cases: in the final validation, not at most the planned number.
        saves_samples: of the final validation, beside its consensus masks.
        loggers: names of `LOGGERS`, or "none"; None for those that a training that goes on had.
        checkpoint_interval_s: between two `checkpoint_latest`.
        validation_time_share: largest share of the time that sampled validation takes.
    """

    num_processes: int = 0
    continues: bool = False
    pretrained_weights: Path | None = None
    pretrained_source: Path | None = None
    compiles: bool = False
    only_validates: bool = False
    validates: bool = True
    validates_all_cases: bool = False
    saves_samples: bool = False
    loggers: Sequence[str] | None = None
    checkpoint_interval_s: float = 300.0
    validation_time_share: float = 0.1


def train_fold(
    plans: ResolvedPlans,
    *,
    preprocessed_folder: Path,
    fold_folder: Path,
    fold: str,
    seed: int,
    device: torch.device,
    options: FoldOptions,
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

    Returns:
        How it ended. After a signal to stop it saves the finished iterations, and returns
        unfinished.

    Raises:
        InUseError: another command trains or validates the fold.
        UsageError: there is a training already, options contradict each other, or the device does
            not compute in the precision of the plans.
        WorkspaceError: the data are not preprocessed, or folds that are there had another dataset.
        DatasetError: the fold does not exist.
        PlansError: plans changed since the training that is to be continued, or need more memory
            than there is.
        CheckpointError: a checkpoint is damaged or does not fit.
        DiffunetError: the training diverged, or a loading process was killed.
    """
    if options.saves_samples:
        METHODS[plans.method].refuse_options({"saves_samples": True})
    with contextlib.ExitStack() as stack:
        ranks, device = stack.enter_context(joined_ranks(device))
        stack.enter_context(ranks.entered_by_first(in_use(fold_folder)))
        if not options.only_validates:
            require_loggers(name for name in options.loggers or () if name != NO_LOGGER)
            check_start(
                fold_folder,
                continues=options.continues,
                pretrained_weights=options.pretrained_weights,
            )
            check_same_dataset(fold_folder.parent, preprocessed_folder)
            require_memory_to_train(
                plans.configuration, method=plans.method, device=device, num_ranks=ranks.num_ranks
            )
        precision = training_precision(device, plans.configuration.training)
        stack.enter_context(own_random_state(device))
        if ranks.is_first:
            stack.enter_context(log_file(fold_folder / LOG_FILE))
        method = METHODS[plans.method].training()
        data = open_fold(plans, preprocessed_folder, fold=fold, device=device)
        run = _Run(
            method=method,
            data=data,
            objective=method.objective(plans.configuration, labels=data.labels, seed=seed),
            folder=fold_folder,
            fold=fold,
            seed=seed,
            ranks=ranks,
            precision=precision,
            options=options,
            progress=progress,
        )
        if options.saves_samples:
            require_library(str(data.dataset_content["file_ending"]))
        trained = run.last_weights() if options.only_validates else run.train(preprocessed_folder)
        if not (trained.is_finished and options.validates):
            return FoldResult(
                is_finished=trained.is_finished, iteration=trained.iteration, summary=None
            )
        final = FinalModel(
            data=data,
            model=trained.model,
            folder=fold_folder,
            ranks=ranks,
            is_whole=options.validates_all_cases,
            saves_samples=options.saves_samples,
            progress=progress,
        )
        summary = method.finish(final)
        return FoldResult(is_finished=True, iteration=trained.iteration, summary=summary)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A fold whose data are open, and what is asked of it."""

    method: TrainingMethod
    data: FoldData
    objective: Objective
    folder: Path
    fold: str
    seed: int
    ranks: Ranks
    precision: Precision
    options: FoldOptions
    progress: Progress

    def last_weights(self) -> TrainedFold:
        """Return the model as it was trained before; its plans are written again if they are lost.

        Checkpoints hold the plans too.
        """
        trained = trained_model(
            self.data.build_model(), self.folder, device=self.data.compute.device
        )
        if self.ranks.is_first and not (self.folder / RESOLVED_PLANS_FILE).exists():
            self.data.plans.save(self.folder / RESOLVED_PLANS_FILE)
            logger.info("wrote '%s' again, from the checkpoint", RESOLVED_PLANS_FILE)
        return trained

    def train(self, preprocessed_folder: Path) -> TrainedFold:
        """Train from the beginning or from `checkpoint_latest`, until all is done or it is stopped.

        Args:
            preprocessed_folder: whose descriptions are copied beside the folds.
        """
        origin = Origin(
            plans=self.data.plans, fold=self.fold, seed=self.seed, data=self.data.content()
        )
        state = new_state(
            self.data,
            seed=self.seed,
            pretrained_weights=self.options.pretrained_weights,
            pretrained_source=self.options.pretrained_source,
        )
        if self.options.continues and (self.folder / LATEST).exists():
            state.restore(self.folder / LATEST, origin)
        if self.ranks.is_first:
            prepare_folder(self.folder, preprocessed_folder, origin, state)
            append_record(
                self.folder / METRICS_FILE,
                start_record(
                    state.model,
                    iteration=state.iteration,
                    seed=self.seed,
                    pretrained_weights=(
                        self.options.pretrained_source or self.options.pretrained_weights
                    ),
                    device=self.data.compute.device,
                    num_ranks=self.ranks.num_ranks,
                    precision=self.precision,
                ),
            )
            for sentence in training_header(
                self.data,
                fold=self.fold,
                iteration=state.iteration,
                num_ranks=self.ranks.num_ranks,
                model=state.model,
                finishing=self._finishing(),
            ):
                logger.info("%s", sentence)
        if self.options.compiles:
            compile_networks(state.model)
        with (
            Pictures(self.folder, label_names=self.data.labels.names) as pictures,
            self._loggers(state) as loggers,
        ):
            is_finished = self._iterate(state, self._loop(state, origin, pictures, loggers))
            loggers.is_finished = is_finished
        if not is_finished:
            logger.warning("%s", _sentence_of_stop(state.iteration))
        return TrainedFold(
            model=state.ema.model, iteration=state.iteration, is_finished=is_finished
        )

    def _loggers(self, state: TrainingState) -> Loggers:
        """Return the loggers; of several ranks, the first has them."""
        if not self.ranks.is_first:
            return Loggers()
        return Loggers.begin(
            self.options.loggers,
            folder=self.folder,
            plans=self.data.plans,
            iteration=state.iteration,
        )

    def _loop(
        self, state: TrainingState, origin: Origin, pictures: Pictures, loggers: Loggers
    ) -> TrainingLoop:
        data, device = self.data, self.data.compute.device
        model = state.model
        if not self.options.compiles and not self.ranks.is_distributed:
            model = as_graphs(
                model,
                data.plans.configuration,
                labels=data.labels,
                num_image_channels=data.num_channels,
                precision=self.precision,
            )
        if not data.split.val:
            logger.info("fold 'all' has no validation cases: '%s' will not be written", BEST)
        return TrainingLoop(
            objective=self.objective,
            model=model,
            plan=data.plans.configuration.training,
            validation=self.method.sampled_validation(data, pictures=pictures),
            origin=origin,
            folder=self.folder,
            ranks=self.ranks,
            device=device,
            checkpoint_interval_s=self.options.checkpoint_interval_s,
            validation_time_share=self.options.validation_time_share,
            precision=self.precision,
            augmentation=_batch_augmentation(data, self.method),
            has_dropout=_draws_dropout(state.model),
            pictures=pictures,
            loggers=loggers,
            tell_time=functools.partial(self._tell_time, state),
        )

    def _tell_time(self, state: TrainingState, seconds_per_iteration: float) -> None:
        num_left = self.data.plans.configuration.training.num_iterations - state.iteration
        if not self.ranks.is_first or num_left <= 0:
            return
        sentence = sentence_of_time(
            self.data,
            seconds_per_iteration=seconds_per_iteration,
            num_left=num_left,
            finishing=self._finishing(),
        )
        logger.info("time: %s", sentence)

    def _finishing(self) -> Finishing | None:
        return self.method.finishing(self.data, is_whole=self.options.validates_all_cases)

    def _iterate(self, state: TrainingState, loop: TrainingLoop) -> bool:
        """Load batches and train on them; returns whether all iterations are done."""
        plan, ranks = loop.plan, self.ranks
        loader = BatchLoader(
            self.data.training_patches(
                self.method.augmentation(self.data.plans.configuration),
                seed=self.seed,
                all_raters=self.objective.reads_all_raters,
            ),
            indices=indices_of_rank(plan.batch_size, rank=ranks.rank, num_ranks=ranks.num_ranks),
            first_iteration=state.iteration,
            num_iterations=plan.num_iterations,
            num_processes=self.options.num_processes,
        )
        with loader, StopRequest() as should_stop:
            shown = self.progress if ranks.is_first else without_progress
            num_left = max(0, plan.num_iterations - state.iteration)
            batches = shown(loader, num_left, f"fold {self.fold}")
            is_finished = loop.run(state, batches, should_stop=should_stop)
        if is_finished and ranks.is_first:
            state.save_weights(self.folder / FINAL, loop.origin)
        return is_finished


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


def _batch_augmentation(data: FoldData, method: TrainingMethod) -> BatchAugmentation | None:
    """Return the changes that a GPU makes to whole batches; for a CPU, workers make them."""
    if data.compute.device.type != "cuda":
        return None
    return BatchAugmentation(plan=method.augmentation(data.plans.configuration))
