"""Everything that a training must remember to continue as if it had never stopped."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from diffunet import __version__
from diffunet.checkpoint import entry_of, load_checkpoint, load_weights, save_checkpoint, weights_of
from diffunet.errors import CheckpointError, DiffunetError, PlansError
from diffunet.inference.model import AVERAGED_WEIGHTS
from diffunet.jsonio import as_json
from diffunet.plans import ResolvedPlans
from diffunet.plans.differences import differences
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.optim import learning_rate_at

logger = logging.getLogger(__name__)

LATEST, BEST, FINAL = (f"checkpoint_{name}.pth" for name in ("latest", "best", "final"))

_MAY_CHANGE = ("training.num_iterations", "training.num_final_validation_cases")
"""Fields of a configuration that may differ when a training is continued."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint came from; written into each.

    Attributes:
        plans: of the training.
        fold: "0", "1", ... or "all".
        data: for each case a digest of the data trained or validated on, as `FoldData.content`.
    """

    plans: ResolvedPlans
    fold: str
    seed: int
    data: Mapping[str, str]


@dataclass(kw_only=True)
class TrainingState:
    """Weights, and the few numbers that go with them.

    Attributes:
        iteration: finished optimiser steps.
        seconds: spent on them, over all restarts.
        term_sums: of each loss term's value since the last record, on the training's device.
        num_summed: iterations in `term_sums`.
        last_validation: iteration of the last sampled validation; -1 before the first.
        validation_seconds: spent on sampled validation, over all restarts.
        num_validated: cases of every sampled validation, as many as the first had time for; 0
            before the first.
        validation_stride: every `validation_stride`-th planned validation is made, and the last.
        best_scores: of the validation cases, in order, at the best validation; smaller is better.
        best_iteration: of the best validation; -1 before the first.
    """

    model: nn.Module
    ema: ExponentialMovingAverage
    optimizer: AdamW
    iteration: int = 0
    seconds: float = 0.0
    term_sums: dict[str, Tensor] = field(default_factory=dict)
    num_summed: int = 0
    last_validation: int = -1
    validation_seconds: float = 0.0
    num_validated: int = 0
    validation_stride: int = 1
    best_scores: list[float] = field(default_factory=list)
    best_iteration: int = -1

    def add_terms(self, values: Mapping[str, Tensor]) -> None:
        """Add one iteration's loss terms to the sums."""
        for name, value in values.items():
            self.term_sums[name] = self.term_sums.get(name, torch.zeros_like(value)) + value
        self.num_summed += 1

    def take_means(self) -> dict[str, float]:
        """Return the mean of each loss term since the last call, and start anew."""
        means = {name: float(value) / self.num_summed for name, value in self.term_sums.items()}
        self.term_sums, self.num_summed = {}, 0
        return means

    def check_finite(self) -> None:
        """Check that the training has not diverged.

        Raises:
            DiffunetError: a loss or gradient since the last record was infinite or NaN.
        """
        broken = [name for name, value in self.term_sums.items() if not bool(value.isfinite())]
        if broken:
            raise DiffunetError(
                f"training diverged: {', '.join(broken)} is not finite within the "
                f"{self.num_summed} iterations before {self.iteration}; train anew with a smaller "
                "training.learning_rate, or check the data for extreme intensities"
            )

    def save(self, path: Path, origin: Origin) -> None:
        """Write everything, to continue training or to predict.

        Raises:
            DiffunetError: the training has diverged; the file is left as it was.
        """
        self.check_finite()
        training = {
            "network": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seconds": self.seconds,
            "term_sums": {name: float(value) for name, value in self.term_sums.items()},
            "num_summed": self.num_summed,
            "last_validation": self.last_validation,
            "validation_seconds": self.validation_seconds,
            "num_validated": self.num_validated,
            "validation_stride": self.validation_stride,
            "best_scores": list(self.best_scores),
            "best_iteration": self.best_iteration,
        }
        save_checkpoint(path, {**self._common(origin), "training": training})

    def save_weights(self, path: Path, origin: Origin) -> None:
        """Write the averaged weights alone: what prediction needs."""
        save_checkpoint(path, {**self._common(origin), "training": None})

    def restore(self, path: Path, origin: Origin) -> None:
        """Load a state that `save` wrote.

        Raises:
            CheckpointError: it is damaged, of another fold or seed, or holds averaged weights only.
            PlansError: the plans changed in more than the number of iterations.
        """
        device = next(self.model.parameters()).device
        content = load_checkpoint(path, device)
        check_origin(content, origin, where=path)
        if content.get("training") is None:
            raise CheckpointError(f"'{path}' holds weights only; continue from '{LATEST}'")
        training = entry_of(content, "training", dict, where=path)
        numbers = {
            name: entry_of(training, name, kind, where=path)
            for name, kind in (
                ("seconds", float),
                ("num_summed", int),
                ("last_validation", int),
                ("validation_seconds", float),
                ("num_validated", int),
                ("validation_stride", int),
                ("best_iteration", int),
            )
        }
        iteration = entry_of(content, "iteration", int, where=path)
        term_sums = entry_of(training, "term_sums", dict, where=path)
        best_scores = entry_of(training, "best_scores", list, where=path)
        if any(type(value) not in (int, float) for value in (*term_sums.values(), *best_scores)):
            raise CheckpointError(
                f"'{path}': expected 'term_sums' and 'best_scores' to be numbers; use another "
                "checkpoint of the fold"
            )
        optimizer = entry_of(training, "optimizer", dict, where=path)
        network = weights_of(training, "network", where=path)
        averaged = weights_of(content, AVERAGED_WEIGHTS, where=path)
        self._check_optimizer(optimizer, where=path)
        load_weights(self.model, network, where=str(path))
        load_weights(self.ema.model, averaged, where=str(path))
        self.optimizer.load_state_dict(optimizer)
        self.iteration = iteration
        for name, value in numbers.items():
            setattr(self, name, value)
        self.term_sums = {
            name: torch.tensor(value, device=device) for name, value in term_sums.items()
        }
        self.best_scores = best_scores

    def _check_optimizer(self, saved: Mapping[str, Any], *, where: Path) -> None:
        """Check that the optimiser's state is one of these weights.

        Raises:
            CheckpointError: its parts have other names, shapes or types than the optimiser's own.
        """
        own = self.optimizer.state_dict()["param_groups"]
        parameters = [each for group in self.optimizer.param_groups for each in group["params"]]
        state, groups = saved.get("state"), saved.get("param_groups")
        if not isinstance(state, dict) or not isinstance(groups, list):
            state, groups = {}, []
        is_sound = len(groups) == len(own) and all(
            isinstance(group, dict)
            and {**group, "lr": None} == {**ours, "lr": None}
            and type(group.get("lr")) is float
            for group, ours in zip(groups, own, strict=True)
        )
        is_sound = is_sound and set(state) in (set(), set(range(len(parameters))))
        for number, parts in state.items() if is_sound else ():
            shape = parameters[number].shape
            shapes = {"step": torch.Size([]), "exp_avg": shape, "exp_avg_sq": shape}
            is_sound = is_sound and isinstance(parts, dict) and set(parts) == set(shapes)
            is_sound = is_sound and all(
                isinstance(parts[name], Tensor)
                and parts[name].dtype == torch.float32
                and parts[name].shape == each
                and bool(parts[name].isfinite().all())
                for name, each in shapes.items()
            )
        if not is_sound:
            raise CheckpointError(
                f"'{where}': its optimiser's state does not belong to these weights; use another "
                "checkpoint of the fold, or train anew"
            )

    def _common(self, origin: Origin) -> dict[str, Any]:
        return {
            AVERAGED_WEIGHTS: self.ema.model.state_dict(),
            "plans": as_json(origin.plans),
            "fold": origin.fold,
            "seed": origin.seed,
            "data": dict(origin.data),
            "iteration": self.iteration,
            "versions": {
                "diffunet": __version__,
                "torch": str(torch.__version__),
                "numpy": np.__version__,
            },
        }


def check_origin(content: Mapping[str, Any], origin: Origin, *, where: Path) -> None:
    """Check that a checkpoint may be continued with these plans, fold and seed.

    More (or fewer) iterations are accepted with a warning: the learning rate then follows the new
    plan from here on.

    Raises:
        CheckpointError: fold, seed or data differ.
        PlansError: another field of the plans does; all of them are named.
    """
    for name, now in (("fold", origin.fold), ("seed", origin.seed)):
        then = entry_of(content, name, type(now), where=where)
        if then != now:
            raise CheckpointError(
                f"'{where}' is of {name} {then}, but {name} {now} was asked for; continue with "
                f"{name} {then}, or train anew in another folder"
            )
    _check_data(entry_of(content, "data", dict, where=where), origin.data, where=where)
    then = ResolvedPlans.from_json(entry_of(content, "plans", dict, where=where), where=str(where))
    changes = differences(_compared(then), _compared(origin.plans))
    allowed = {name: change for name, change in changes.items() if name.endswith(_MAY_CHANGE)}
    refused = {name: change for name, change in changes.items() if name not in allowed}
    if refused:
        listing = "; ".join(f"{name}: {old!r} -> {new!r}" for name, (old, new) in refused.items())
        raise PlansError(
            f"'{where}' was trained with other plans ({listing}); a training can only be continued "
            f"with the same plans (except for {', '.join(_MAY_CHANGE)})"
        )
    for name, (old, new) in allowed.items():
        logger.warning("%s was %s when this training began and is now %s", name, old, new)
        if name.endswith("num_iterations"):
            logger.warning("%s", _sentence_of_schedule(content, origin, where=where))


def _sentence_of_schedule(content: Mapping[str, Any], origin: Origin, *, where: Path) -> str:
    plan = origin.plans.configuration.training
    iteration = entry_of(content, "iteration", int, where=where)
    return (
        f"the learning rate follows the schedule of {plan.num_iterations} iterations from "
        f"iteration {iteration} on, at {learning_rate_at(iteration, plan):.3g}, and falls over the "
        f"last {plan.decay_share:.0%}"
    )


def _compared(plans: ResolvedPlans) -> dict[str, Any]:
    """Return the part of the plans that must be the same; who chose a value does not matter."""
    return {name: value for name, value in as_json(plans).items() if name != "set_by_user"}


def _check_data(old: Mapping[str, Any], new: Mapping[str, str], *, where: Path) -> None:
    """Check that the cases of a fold are the same as when its training began.

    Raises:
        CheckpointError: some were added, removed or changed, or changed sides; names the first.
    """
    kinds = {
        "changed": [case for case in old if case in new and old[case] != new[case]],
        "removed": [case for case in old if case not in new],
        "added": [case for case in new if case not in old],
    }
    listing = "; ".join(
        f"{len(cases)} {kind}, the first is '{cases[0]}'" for kind, cases in kinds.items() if cases
    )
    if listing:
        raise CheckpointError(
            f"'{where}' was trained on preprocessed data that have changed since ({listing}); put "
            "the data or the splits back and preprocess again, or train anew in another folder"
        )


def load_pretrained(model: nn.Module, path: Path, *, source: Path | None = None) -> None:
    """Put the averaged weights of another training into `model` where names and shapes fit.

    Args:
        source: the model that the file is of, for the log; None for the file itself.

    Raises:
        CheckpointError: the file cannot be read, or nothing of it fits.
    """
    weights = weights_of(load_checkpoint(path, "cpu"), AVERAGED_WEIGHTS, where=path)
    own = model.state_dict()
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and (own[name].shape, own[name].dtype) == (tensor.shape, tensor.dtype)
    }
    misfits = [
        f"'{name}': {tuple(tensor.shape)} of {tensor.dtype} there, {tuple(own[name].shape)} of "
        f"{own[name].dtype} here"
        for name, tensor in weights.items()
        if name in own and name not in fitting
    ]
    unknown = [f"'{name}': not in this network" for name in weights if name not in own]
    missing = [f"'{name}': not in the file" for name in own if name not in weights]
    if not fitting:
        raise CheckpointError(
            f"none of the {len(weights)} tensors of '{path}' fits this network; "
            "pretrain with the same network plan"
        )
    model.load_state_dict(fitting, strict=False)
    within = "" if source in (None, path) else f" ({path.parent.name}/{path.name})"
    logger.info(
        "pretrained weights: %d of %d tensors taken from '%s'%s",
        *(len(fitting), len(own), source or path, within),
    )
    left = [*misfits, *unknown, *missing]
    if left:
        logger.warning("pretrained weights that were not used:\n  %s", _shortened(left))


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """Averaged weights, how far they were trained, and whether that was as far as asked."""

    model: nn.Module
    iteration: int
    is_finished: bool = True


def checkpoint_to_validate(fold_folder: Path) -> Path | None:
    """Return the checkpoint that a validation takes: the final, else the latest, else the best."""
    paths = (fold_folder / name for name in (FINAL, LATEST, BEST))
    return next((path for path in paths if path.exists()), None)


def trained_model(model: nn.Module, fold_folder: Path, *, device: torch.device) -> TrainedFold:
    """Put the weights of `checkpoint_to_validate` into `model`; warns if they are not the final.

    Raises:
        CheckpointError: there are none, or they do not fit.
    """
    path = checkpoint_to_validate(fold_folder)
    if path is None:
        raise CheckpointError(f"'{fold_folder}' holds no trained model; train it first")
    if path.name != FINAL:
        logger.warning("'%s' is not there: validating '%s'", FINAL, path.name)
    content = load_checkpoint(path, "cpu")
    load_weights(model, weights_of(content, AVERAGED_WEIGHTS, where=path), where=str(path))
    return TrainedFold(
        model=model.eval().requires_grad_(False).to(device),
        iteration=entry_of(content, "iteration", int, where=path),
    )


def _shortened(lines: Sequence[str], limit: int = 20) -> str:
    more = [f"and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n  ".join([*lines[:limit], *more])
