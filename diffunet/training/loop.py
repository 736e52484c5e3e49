"""The one training loop: optimiser steps, and the regular work between them."""

import contextlib
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import Batch
from diffunet.errors import UsageError
from diffunet.inference.compute import Precision, computes_in
from diffunet.plans import TrainingPlan
from diffunet.randomness import derive_seed
from diffunet.stopping import StopRequest
from diffunet.training.clock import Clock, Speed
from diffunet.training.distributed import Ranks
from diffunet.training.loggers import Loggers
from diffunet.training.metrics import append_record
from diffunet.training.objective import LossTerm, Objective, TensorBatch, loss_of
from diffunet.training.optim import learning_rate_at, set_learning_rate
from diffunet.training.reporting import Pictures
from diffunet.training.state import BEST, LATEST, Origin, TrainingState
from diffunet.training.tensors import to_device
from diffunet.training.validation import SampledScores, SampledValidation
from diffunet.workspace import METRICS_FILE

logger = logging.getLogger(__name__)


Made = TypeVar("Made")

_SECONDS_BETWEEN_AGREEMENTS = 1.0
_LONGEST_GAP = 20
"""Longest time in seconds, and most iterations, until ranks tell each other whether to stop."""

_NUM_RECORDS = 200
"""The fewest records of the loss that a training leaves, if it is long enough."""


class TrainingStep(nn.Module):
    """Model and objective as one module, so that DistributedDataParallel can wrap the two."""

    def __init__(self, model: nn.Module, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: TensorBatch) -> dict[str, LossTerm]:
        """Return the loss terms of this rank's samples."""
        return self.objective(self.model, batch)


@dataclass(frozen=True, kw_only=True)
class TrainingLoop:
    """Everything a training needs beside its state.

    Attributes:
        model: with the weights of the state: its model, or that as CUDA graphs.
        plan: iterations, learning rate and so on.
        validation: None where there are no validation cases.
        folder: of the fold.
        checkpoint_interval_s: between two `checkpoint_latest`.
        validation_time_share: largest share of the training's time that sampled validation takes.
        precision: of the forward pass; see `training_precision`.
        augmentation: of whole batches on the device; None where patches come changed.
        has_dropout: the model draws random numbers of its own, which then are seeded.
        pictures: drawn anew after each validation.
        loggers: take the same records as `metrics.jsonl`.
        tell_time: takes the seconds of an iteration, once these are known.
    """

    objective: Objective
    model: nn.Module
    plan: TrainingPlan
    validation: SampledValidation | None
    origin: Origin
    folder: Path
    ranks: Ranks
    device: torch.device
    checkpoint_interval_s: float
    validation_time_share: float
    precision: Precision
    augmentation: BatchAugmentation | None
    has_dropout: bool
    pictures: Pictures
    loggers: Loggers
    tell_time: Callable[[float], None]

    def run(
        self, state: TrainingState, batches: Iterable[Batch], *, should_stop: StopRequest
    ) -> bool:
        """Train until all planned iterations are done.

        Args:
            state: continued from, and changed.
            batches: of the iterations from `state.iteration` on.
            should_stop: asked after each iteration, and by several ranks together now and then.
                Waiting for a batch and a validation are given up.

        Returns:
            Whether all iterations are done; otherwise it was asked to stop, and has saved the
            finished ones, if any.

        Raises:
            DiffunetError: a loss became infinite or NaN.
        """
        step = self._wrapped(TrainingStep(self.model, self.objective))
        pending = iter(batches)
        clock = Clock.at(state)
        speed = Speed(self.tell_time)
        while True:
            self._record_if_due(state, clock)
            is_validated = self._validate_if_due(state, should_stop)
            # a last validation that was cut short is made up for when the training is continued
            is_last = state.iteration >= self.plan.num_iterations and is_validated
            is_stopped = not is_validated or self._is_stopped(state, should_stop, clock)
            is_new = state.last_validation == state.iteration
            self._save_if_due(state, clock, is_forced=is_last or is_stopped or is_new)
            self._keep_if_best(state)
            if is_last or is_stopped:
                break
            begin = time.monotonic()
            batch = self._unless_stopped(functools.partial(next, pending), should_stop)
            if batch is not None:
                self._train(state, step, batch)
            seconds = time.monotonic() - begin
            state.seconds += seconds
            speed.note(seconds)
        if is_last:
            self.pictures.finish()
        return is_last

    def _unless_stopped(self, work: Callable[[], Made], should_stop: StopRequest) -> Made | None:
        """Return what `work` returns; None if the training was asked to stop meanwhile.

        Several ranks stop together instead, and never in the midst of something.
        """
        if self.ranks.is_distributed:
            return work()
        try:
            with should_stop.interrupting():
                return work()
        except KeyboardInterrupt:
            return None

    def _wrapped(self, step: TrainingStep) -> nn.Module:
        step.train()
        if not self.ranks.is_distributed:
            return step
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            step, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def _train(self, state: TrainingState, step: nn.Module, batch: Batch) -> None:
        """Make one optimiser step."""
        set_learning_rate(state.optimizer, learning_rate_at(state.iteration, self.plan))
        if self.has_dropout:
            torch.manual_seed(
                derive_seed(self.origin.seed, "dropout", state.iteration, self.ranks.rank)
            )
        tensors = to_device(
            batch,
            self.device,
            global_size=self.plan.batch_size,
            seed=self.origin.seed,
            augmentation=self.augmentation,
        )
        is_bfloat16 = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_bfloat16):
            terms = step(tensors)
        sums = self.ranks.sum(_stacked(terms))
        counts = sums[1].clamp(min=1)
        loss = loss_of(terms, counts, num_ranks=self.ranks.num_ranks)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = self._clip_gradients(state.model)
        state.optimizer.step()
        state.ema.update(state.iteration)
        values = dict(zip(terms, sums[0] / counts, strict=True))
        state.add_terms({**values, "gradient_norm": norm})
        state.iteration += 1

    def _clip_gradients(self, model: nn.Module) -> Tensor:
        """Clip each component of the model by itself; returns the norm of all gradients before."""
        norms = [
            nn.utils.clip_grad_norm_(component.parameters(), self.plan.gradient_clip_norm).detach()
            for component in self.objective.components(model)
        ]
        return norms[0] if len(norms) == 1 else torch.stack(norms).norm()

    def _record_if_due(self, state: TrainingState, clock: Clock) -> None:
        interval = max(1, self.plan.num_iterations // _NUM_RECORDS)
        is_last = state.iteration == self.plan.num_iterations
        if not state.num_summed or (state.iteration % interval and not is_last):
            return
        state.check_finite()
        means = state.take_means()
        norm = means.pop("gradient_norm")
        speed = clock.iterations_per_second(state) * self.plan.batch_size
        told = "" if math.isnan(speed) else f", {speed:.3g} samples/s"
        self._append(
            record={
                "kind": "training",
                "iteration": state.iteration,
                "loss": math.fsum(means.values()),
                **means,
                "gradient_norm": norm,
                "learning_rate": learning_rate_at(state.iteration - 1, self.plan),
                "seconds": round(state.seconds, 3),
                "samples_per_second": round(speed, 2),
            },
            sentence=f"loss {math.fsum(means.values()):.5g}{told}",
        )

    def _validate_if_due(self, state: TrainingState, should_stop: StopRequest) -> bool:
        """Validate when it is time; return False if a stop cut the validation short."""
        interval = math.ceil(self.plan.num_iterations / max(1, self.plan.num_validations))
        interval *= state.validation_stride
        is_due = state.iteration % interval == 0 or state.iteration >= self.plan.num_iterations
        is_done = state.last_validation == state.iteration
        if not state.iteration or not is_due or is_done:
            return True
        scores = self._sampled_scores(state, should_stop)
        if any(self.ranks.gather(should_stop())):
            return False
        state.last_validation = state.iteration
        if scores is not None:
            self._note_scores(state, scores)
        if self.ranks.is_first:
            self.pictures.update()
        return True

    def _sampled_scores(
        self, state: TrainingState, should_stop: StopRequest
    ) -> SampledScores | None:
        """Score as many cases as the first validation had time for, so that all are comparable.

        Only this number depends on time. It is remembered, and no restart changes it.
        """
        if self.validation is None or not self.plan.num_validations:
            return None
        validation, budget_s = self.validation, math.inf
        if state.num_validated:
            cases = validation.cases[: state.num_validated]
            validation = dataclasses.replace(validation, cases=cases)
        else:
            budget_s = self.validation_time_share * state.seconds

        def score() -> SampledScores | None:
            if self.device.type == "cuda" and not state.num_validated:
                # once without being timed: the first case on a GPU also finds and loads kernels
                validation.scorer.score(state.ema.model, validation.cases[0], is_shown=False)
            return validation.run(
                state.ema.model,
                budget_s=budget_s,
                seconds_per_round=None,
                ranks=self.ranks,
                should_stop=should_stop,
            )

        scores = self._unless_stopped(score, should_stop)
        if scores is not None:
            state.validation_seconds += scores.seconds
            if not state.num_validated:
                state.num_validated = len(scores.criterion)
                state.validation_stride = self._stride(scores.seconds, budget_s)
        return scores

    def _stride(self, seconds: float, budget_s: float) -> int:
        """Return of how many planned validations one is made, if each takes `seconds`."""
        strides = range(1, max(1, self.plan.num_validations))
        longest = max(1, self.plan.num_validations)
        # by rank 0's clock, and not for a first case that took a little longer than expected
        stride = next((each for each in strides if seconds < 1.5 * each * budget_s), longest)
        return self.ranks.of_first(stride)

    def _note_scores(self, state: TrainingState, scores: SampledScores) -> None:
        """Record a validation, and note whether it is the best so far."""
        is_best = not state.best_scores or (np.mean(scores.criterion) < np.mean(state.best_scores))
        if is_best:
            state.best_scores, state.best_iteration = scores.criterion, state.iteration
        values = ", ".join(f"{name} {value:.4f}" for name, value in scores.values.items())
        best = ", the best so far" if is_best else ""
        self._append(
            record={
                "kind": "validation",
                "iteration": state.iteration,
                "num_cases": len(scores.criterion),
                **scores.values,
                "is_best": bool(is_best),
                "seconds": round(scores.seconds, 3),
            },
            sentence=f"{values} on {len(scores.criterion)} validation image(s){best}",
        )

    def _is_stopped(self, state: TrainingState, should_stop: StopRequest, clock: Clock) -> bool:
        """Whether any rank was asked to stop; ranks find out together, about once a second."""
        if not self.ranks.is_distributed:
            return should_stop()
        if state.iteration < clock.next_agreement:
            return False
        gap = _SECONDS_BETWEEN_AGREEMENTS * state.iteration / max(state.seconds, 1e-9)
        asked, gaps = zip(*self.ranks.gather((should_stop(), gap)), strict=True)
        clock.next_agreement = state.iteration + max(1, min(*map(int, gaps), _LONGEST_GAP))
        return any(asked)

    def _keep_if_best(self, state: TrainingState) -> None:
        """Write `checkpoint_best` where the last validation was the best.

        It comes after `checkpoint_latest`, which records that validation. If the training ends
        between the two, a continued training writes it, and it is never newer than the checkpoint
        that the training continues from.
        """
        if self.ranks.is_first and state.best_iteration == state.iteration:
            state.save_weights(self.folder / BEST, self.origin)

    def _save_if_due(self, state: TrainingState, clock: Clock, *, is_forced: bool) -> None:
        is_due = time.monotonic() - clock.saved >= self.checkpoint_interval_s
        if self.ranks.is_first and state.iteration and (is_due or is_forced):
            state.save(self.folder / LATEST, self.origin)
            clock.saved = time.monotonic()

    def _append(self, *, record: dict[str, Any], sentence: str) -> None:
        if self.ranks.is_first:
            append_record(self.folder / METRICS_FILE, record)
            self.loggers.log(record)
            where = f"iteration {record['iteration']}/{self.plan.num_iterations}"
            logger.info("%s: %s", where, sentence)


def training_precision(device: torch.device, plan: TrainingPlan) -> Precision:
    """Return the precision of training: the plan's, or the device's own.

    float16 would need its loss scaled, and a GPU without bfloat16 is no reason for a second way.

    Raises:
        UsageError: the device does not compute in the plan's precision.
    """
    if plan.precision != "auto":
        if not computes_in(plan.precision, device):
            raise UsageError(
                f"training.precision is {plan.precision}, which the device '{device}' does not "
                "compute in; train with --set training.precision=float32"
            )
        return plan.precision
    if device.type != "cuda":
        return "float32"
    if computes_in("bfloat16", device):
        return "bfloat16"
    logger.warning(
        "this GPU has no bfloat16: training runs in float32, which takes up to twice the memory "
        "that was planned; if memory runs out, choose a smaller --batch_size or patch_size"
    )
    return "float32"


@contextlib.contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators after a training."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def _stacked(terms: dict[str, LossTerm]) -> Tensor:
    """Return (2, term): totals and counts, without gradients."""
    totals = torch.stack([term.total.detach() for term in terms.values()])
    return torch.stack([totals, torch.stack([term.count for term in terms.values()])])
