"""What a training says before and soon after its first iteration."""

import torch
from torch import nn

from diffunet.durations import in_words
from diffunet.errors import PlansError
from diffunet.methods import METHODS
from diffunet.planning.cost import measure_work
from diffunet.planning.sizes import coarser_spacing, with_size
from diffunet.training.fold_data import FoldData
from diffunet.training.method import Finishing

_LONG_SECONDS = 2 * 3600
"""Of trainings for which it is said how long a smaller one would take."""

_SLOW_CASE_SECONDS = 300.0
"""Of cases for which it is said how they are predicted sooner."""

_VALIDATION_SHARE, _FEWEST_VALIDATIONS = 0.1, 2
"""Validations take this share of a training's time, unless it is too short for one at its first
twentieth and one at its end."""


def training_header(
    data: FoldData,
    *,
    fold: str,
    iteration: int,
    num_ranks: int,
    model: nn.Module,
    finishing: Finishing | None,
) -> tuple[str, ...]:
    """Return sentences on where a fold trains, on what, and how progress is read.

    Args:
        iteration: finished ones; not 0 where a training goes on.
        num_ranks: processes that train together.
        model: before it is compiled.
        finishing: what follows on the training.
    """
    plans, split = data.plans, data.split
    configuration, training = plans.configuration, plans.configuration.training
    num_weights = sum(each.numel() for each in model.parameters())
    patch = " x ".join(map(str, configuration.patch_size))
    patients = len({data.patients[case] for case in split.train})
    begun = f"from iteration {iteration} on" if iteration else "from the beginning"
    cropped = {"whole": "whole images"}.get(configuration.crop.policy, "cut from the images")
    read = "the loss alone says little about predictions, and there is no validation"
    if split.val and training.num_validations:
        read = (
            "read progress in the validation scores of progress.png, beside the checkpoints; the "
            "loss alone says little about predictions"
        )
    elif split.val:
        read = (
            "the loss alone says little about predictions, and the only validation comes at the end"
        )
    return (
        f"fold {fold} of {plans.dataset_name}: method {plans.method}, "
        f"{plans.configuration_name}, {begun}, on {_device(data.compute.device, num_ranks)}",
        f"data: {len(split.train)} training cases of {patients} patient(s), {len(split.val)} for "
        f"validation; patches of {patch} voxels, {cropped}",
        f"training: {training.num_iterations} iterations of {training.batch_size} patches, "
        f"{num_weights:,} parameters{_size(data)}; the time left is shown after some iterations",
        *_estimate(data, num_left=training.num_iterations - iteration, finishing=finishing),
        read,
    )


def sentence_of_time(
    data: FoldData, *, seconds_per_iteration: float, num_left: int, finishing: Finishing | None
) -> str:
    """Return how long a training takes at its speed, and how long a smaller one, if that is long.

    Args:
        seconds_per_iteration: as measured.
        num_left: iterations.
        finishing: what follows on the training.
    """
    seconds = seconds_per_iteration * num_left
    spoken = f"{in_words(seconds_per_iteration)} an iteration: the {num_left} iterations left take "
    spoken += f"about {in_words(seconds)}"
    if finishing is not None:
        estimated = measure_work(data.plans, data.labels).of_step(data.plans.configuration)
        slower = seconds_per_iteration / estimated
        spoken += _in_between(data, finishing, seconds=seconds, slower=slower)
        spoken += f"; {_finish(finishing, slower=slower)} then"
    if seconds > _LONG_SECONDS and (smaller := _seconds_of_laptop(data)) is not None:
        planned, whole = smaller
        share = planned / whole * data.plans.configuration.training.num_iterations
        spoken += (
            f"; a new training with --preset laptop: {in_words(share * seconds_per_iteration)}"
        )
    return spoken


def _in_between(data: FoldData, finishing: Finishing, *, seconds: float, slower: float) -> str:
    """Return in words how long the validations before the final one take.

    Args:
        seconds: of the iterations.
        slower: see `_finish`.
    """
    num_validations = data.plans.configuration.training.num_validations
    if not num_validations:
        return ""
    fewest = min(_FEWEST_VALIDATIONS, num_validations)
    least = fewest * slower * finishing.case_seconds
    is_short = least > _VALIDATION_SHARE * seconds
    return f", validations {f'about {in_words(least)}' if is_short else 'up to a tenth'} more"


def _finish(finishing: Finishing, *, slower: float = 1.0) -> str:
    """Return in words what follows on the training, and how long it takes.

    Args:
        slower: times that this machine takes what is estimated.
    """
    return f"{finishing.what} takes about {in_words(slower * finishing.seconds)}"


def _size(data: FoldData) -> str:
    size = data.plans.size
    return "" if size == "default" else f" (preset {size})"


def _estimate(data: FoldData, *, num_left: int, finishing: Finishing | None) -> list[str]:
    """Return what the plans alone say about the time, where they can: on a CPU."""
    if data.compute.device.type != "cpu":
        return []
    if num_left <= 0:
        return [] if finishing is None else [f"time: {_finish(finishing)} on two cores"]
    configuration = data.plans.configuration
    work = measure_work(data.plans, data.labels)
    seconds = num_left * work.of_step(configuration)
    spoken = f"time: an estimated {in_words(seconds)} on two cores"
    if configuration.training.num_validations:
        spoken += ", besides validations"
    if finishing is not None:
        spoken += f"; {_finish(finishing)} then"
    if seconds > _LONG_SECONDS and (smaller := _seconds_of_laptop(data)) is not None:
        spoken += f"; a new training with --preset laptop: {in_words(smaller[0])}"
    return [spoken, *_slow_cases(data, work.of_case(data.plans))]


def _slow_cases(data: FoldData, case_seconds: float) -> list[str]:
    """Return how long a case takes to predict on a CPU, and what to do, if that is long."""
    plans, sampling = data.plans, data.plans.configuration.sampling
    method = METHODS[plans.method]
    if method.learns_from != "masks" or case_seconds <= _SLOW_CASE_SECONDS:
        return []
    drawn = ""
    if "num_samples" in method.options:
        drawn = f" ({sampling.num_samples} samples of {sampling.num_steps} steps)"
    coarser = coarser_spacing(plans, share=_SLOW_CASE_SECONDS / case_seconds)
    advice = " ".join(f"{edge:.2g}" for edge in coarser) if coarser else "Z Y X"
    less = f"about {in_words(_SLOW_CASE_SECONDS)}" if coarser else "a part of it"
    return [
        f"time: predicting a case of median size takes an estimated {in_words(case_seconds)} on "
        f"two cores{drawn}; with coarser voxels it takes {less}: diffunet_plan_and_preprocess -d "
        f"{plans.dataset_name} -overwrite_target_spacing {advice}, then train anew"
    ]


def _seconds_of_laptop(data: FoldData) -> tuple[float, float] | None:
    """Return the estimated seconds of a laptop's training and of this one, from the beginning.

    None where this one is a laptop's, or what the user set fits no laptop.
    """
    if data.plans.size == "laptop":
        return None
    try:
        laptop = with_size(data.plans, "laptop", labels=data.labels)
    except PlansError:
        return None
    of_laptop = measure_work(laptop, data.labels).of_training(laptop.configuration)
    own = measure_work(data.plans, data.labels).of_training(data.plans.configuration)
    return of_laptop, own


def _device(device: torch.device, num_ranks: int) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    if num_ranks > 1:
        return f"{num_ranks} x {name}"
    return f"{name} ({torch.get_num_threads()} thread(s))" if device.type == "cpu" else name
