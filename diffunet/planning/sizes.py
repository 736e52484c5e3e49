"""Sizes of a training: what a laptop finishes while one waits, the planned one, and a larger one.

A size is a function of the plans of a run. What the user set stays, whatever the size.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffunet.build import build_encoding, weak_plan_of
from diffunet.durations import in_words
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.cells import choose_num_foldings
from diffunet.planning.choice import Choice, with_choices
from diffunet.planning.cost import Work, measure_work
from diffunet.planning.topology import plan_image_model_network, plan_network, plan_pooling
from diffunet.planning.training import MOST_PATCHES, choices_by_iterations
from diffunet.plans import ConfigurationPlan, NetworkPlan, ResolvedPlans
from diffunet.plans.presets import Size

LAPTOP_SECONDS = 1500
"""Of the optimiser steps of a laptop's training; validations come on top."""

_LAPTOP_WIDTH, _LARGE_WIDTH = 0.5, 2.0

# Cells (or voxels, where none are folded) of a patch that is cut for a laptop, and voxels of the
# largest whole images that are not: a network that sees only parts does not know where in the image
# it is (real-data.md, LIDC).
_CELLS_OF_CUT_PATCH = {2: 128**2, 3: 40**3}
_LARGEST_WHOLE = {2: 256**2, 3: 40**3}

_LAPTOP_BATCH_CELLS = 2**16
_LAPTOP_MIN_BATCH, _LAPTOP_MAX_BATCH = {2: 4, 3: 2}, 16
_FEWEST_ITERATIONS = 300
_DECAY_SHARE = 0.4
_FOREGROUND_SHARE = 0.33  # nnU-Net's
_TILE_STEP_SIZE = 0.75

# Of predictions that a training makes at its end; slower cases get fewer steps and samples, in this
# order: four steps of the usual sampler are nearly as good as ten (decisions.md 321).
_SLOW_CASE_SECONDS = 60.0
_FINAL_VALIDATION_SECONDS = 300.0
_FEWEST_VALIDATION_CASES = 2  # one, where a case alone takes all of this time
_FEW_SAMPLES, _FEW_STEPS = 4, 5

_OF_NO_SIZE = ("training.precision",)
"""Fields of a training that say nothing of its size or length."""

_MASKS, _IMAGES = "network", "weak.network"


def with_size(
    plans: ResolvedPlans, size: Size, *, labels: LabelScheme, input_scale: float | None = None
) -> ResolvedPlans:
    """Return plans of another size; the user's values stay.

    Args:
        plans: of the usual size.
        labels: of the dataset.
        input_scale: as planned, which tells the size N = b^-2 of what raters differ by; without it,
            that of `plans`. Trainings that differ in it alone then have the same network.

    Raises:
        PlansError: values that the user set do not fit the others.
    """
    input_scale = input_scale or plans.configuration.diffusion.input_scale
    return dataclasses.replace(_SIZES[size](plans, labels, input_scale), size=size)


def may_be_resized(plans: ResolvedPlans) -> bool:
    """Whether the user chose nothing that says how large or how long a training is.

    Nor can plans be resized that lack the block of their method.
    """
    if METHODS[plans.method].learns_from == "image_labels" and plans.configuration.weak is None:
        return False
    groups = ("patch_size", "crop", "network", "weak.network", "training")
    return not any(
        f"{path}.".startswith(f"{group}.") or f"{group}.".startswith(f"{path}.")
        for path in plans.set_by_user
        for group in groups
        if path not in _OF_NO_SIZE
    )


def coarser_spacing(plans: ResolvedPlans, *, share: float) -> tuple[float, ...] | None:
    """Return the spacing in mm, by axes of the files, at which images have a share of their voxels.

    The finest axes become coarser first. None where slices of volumes are predicted, whose distance
    the plans do not say.
    """
    spacing = plans.configuration.preprocessing.spacing_mm
    if len(spacing) != len(plans.transpose_forward):
        return None
    left, edges = math.prod(spacing) / share, dict(enumerate(spacing))
    by_edge = sorted(edges, key=edges.__getitem__, reverse=True)
    for number, axis in enumerate(by_edge):
        edges[axis] = max(spacing[axis], left ** (1 / (len(spacing) - number)))
        left /= edges[axis]
    of_files = {plans.transpose_forward[axis]: edge for axis, edge in edges.items()}
    return tuple(of_files[axis] for axis in sorted(of_files))


def _default(plans: ResolvedPlans, labels: LabelScheme, input_scale: float) -> ResolvedPlans:
    """Return the plans as they are."""
    return plans


def _laptop(plans: ResolvedPlans, labels: LabelScheme, input_scale: float) -> ResolvedPlans:
    """Return plans whose training takes about half an hour on two cores of a CPU."""
    keeps_networks = _sets_networks(plans)
    foldings = choose_num_foldings(plans, labels, input_scale=input_scale)
    patch = _laptop_patch(plans, keeps_networks=keeps_networks, num_foldings=foldings)
    choices = _patch_choices(plans, patch)
    if not keeps_networks:
        choices |= _networks(plans, labels, patch=patch, width=_LAPTOP_WIDTH, num_foldings=foldings)
    plans = with_choices(plans, _named("laptop", choices))
    choices = {"training.batch_size": _laptop_batch(plans)}
    plans = with_choices(plans, _named("laptop", choices))
    return _with_laptop_length(plans, labels)


def _large(plans: ResolvedPlans, labels: LabelScheme, input_scale: float) -> ResolvedPlans:
    """Return plans of networks twice as wide, trained for longer; for a GPU of 24 GB or more."""
    configuration = plans.configuration
    choices: dict[str, Choice[Any]] = {}
    if not _sets_networks(plans):
        choices |= _networks(plans, labels, patch=configuration.patch_size, width=_LARGE_WIDTH)
    training = configuration.training
    most = max(training.num_iterations, math.ceil(MOST_PATCHES / training.batch_size))
    choices["training.num_iterations"] = Choice(
        min(2 * training.num_iterations, most),
        "twice the planned iterations, as long as they draw no more patches than P1's "
        f"{MOST_PATCHES / 1e6:g} million.",
    )
    return _fitted(with_choices(plans, _named("large", choices)), size="large")


_SIZES: Mapping[Size, Callable[[ResolvedPlans, LabelScheme, float], ResolvedPlans]] = {
    "laptop": _laptop,
    "default": _default,
    "large": _large,
}


def _with_laptop_length(plans: ResolvedPlans, labels: LabelScheme) -> ResolvedPlans:
    """Choose how long to train, and how much to predict at the end."""
    work = measure_work(plans, labels)
    planned = plans.configuration.training
    step = work.of_step(plans.configuration)
    affordable = 100 * round(LAPTOP_SECONDS / step / 100)
    iterations = min(planned.num_iterations, max(_FEWEST_ITERATIONS, affordable))
    choices: dict[str, Choice[Any]] = {
        "training.num_iterations": Choice(
            iterations,
            f"one of {planned.batch_size} patches takes an estimated {step:.2g} s on two cores of "
            f"a CPU, all of them about {in_words(iterations * step)}.",
        ),
        "training.decay_share": Choice(
            max(_DECAY_SHARE, planned.decay_share),
            "a short training gains from a long fall of the learning rate.",
        ),
    }
    if METHODS[plans.method].learns_from == "masks":
        if work.of_case(plans) > _SLOW_CASE_SECONDS:
            choices |= _fewer_samples(plans, work)
        plans = with_choices(plans, _named("laptop", choices))
        choices = {"training.num_final_validation_cases": _validated(plans, work.of_case(plans))}
    return _fitted(with_choices(plans, _named("laptop", choices)), size="laptop")


def _fewer_samples(plans: ResolvedPlans, work: Work) -> dict[str, Choice[Any]]:
    """Choose fewer steps and samples, so that a case takes no longer than it should, if it can."""
    sampling = plans.configuration.sampling
    seconds = work.of_case(plans)
    reason = f"with the planned samples a case would take an estimated {in_words(seconds)}."
    num_steps = min(_FEW_STEPS, sampling.num_steps)
    seconds *= num_steps / sampling.num_steps
    affordable = int(sampling.num_samples * _SLOW_CASE_SECONDS / seconds)
    num_samples = min(sampling.num_samples, max(_FEW_SAMPLES, affordable))
    return {
        "sampling.num_steps": Choice(num_steps, reason),
        "sampling.num_samples": Choice(num_samples, reason),
        "training.num_validations": _validations(
            seconds * num_samples / sampling.num_samples, reason
        ),
    }


def _validations(case_seconds: float, reason: str) -> Choice[int]:
    """Choose one sampled validation, or none where the final one alone takes long enough."""
    if case_seconds > _FINAL_VALIDATION_SECONDS:
        return Choice(0, f"The final validation alone: {reason}")
    return Choice(1, f"At the end alone: {reason}")


def _validated(plans: ResolvedPlans, case_seconds: float) -> Choice[int]:
    planned = plans.configuration.training.num_final_validation_cases
    fewest = 1 if case_seconds > _FINAL_VALIDATION_SECONDS else _FEWEST_VALIDATION_CASES
    affordable = max(fewest, int(_FINAL_VALIDATION_SECONDS / case_seconds))
    return Choice(
        min(planned, affordable),
        f"one takes an estimated {in_words(case_seconds)}; diffunet_train --val --all_cases "
        "validates on all.",
    )


def _fitted(plans: ResolvedPlans, *, size: Size) -> ResolvedPlans:
    """Fit learning rate, warm-up and average to the number of iterations."""
    choices = choices_by_iterations(plans.configuration.training.num_iterations)
    named = {f"training.{name}": choice for name, choice in choices.items()}
    return with_choices(plans, _named(size, named))


def _laptop_patch(
    plans: ResolvedPlans, *, keeps_networks: bool, num_foldings: int
) -> tuple[int, ...]:
    """Return the planned patch, or a smaller one that is isotropic in mm.

    Args:
        keeps_networks: the patch is for the networks that there are.
        num_foldings: of other networks; see `plan_pooling`.
    """
    configuration = plans.configuration
    planned, dimensions = configuration.patch_size, configuration.dimensions
    spacing = configuration.preprocessing.spacing_mm
    if plans.is_set_by_user("patch_size"):
        return planned
    is_whole = configuration.crop.policy == "whole"
    if keeps_networks:
        cell = _trained_network(plans).strides[0]
    else:
        cell = plan_pooling(planned, spacing, num_foldings=num_foldings).strides[0]
    num_voxels = _CELLS_OF_CUT_PATCH[dimensions] * math.prod(cell)
    is_kept = (
        math.prod(planned)
        <= (max(_LARGEST_WHOLE[dimensions], num_voxels) if is_whole else num_voxels)
        or METHODS[plans.method].learns_from == "image_labels"
        or (is_whole and plans.is_set_by_user("crop.policy"))
    )
    patch = planned if is_kept else _isotropic(planned, spacing, num_voxels=num_voxels)
    most = None if is_kept else planned
    if keeps_networks:
        return planned if is_kept else _multiples(patch, _divisors(configuration), most=most)
    while True:
        divisors = plan_pooling(patch, spacing, num_foldings=num_foldings).divisors
        fitting = _multiples(patch, divisors, most=most)
        if fitting == patch:
            return patch
        patch = fitting


def _multiples(
    patch: Sequence[int], divisors: Sequence[int], *, most: Sequence[int] | None
) -> tuple[int, ...]:
    """Return edges that are rounded up to what a network takes, but down where that is too long."""
    edges: list[int] = []
    for axis, (edge, divisor) in enumerate(zip(patch, divisors, strict=True)):
        up = math.ceil(edge / divisor) * divisor
        edges.append(up if most is None or up <= most[axis] else up - divisor)
    return tuple(edges)


def _isotropic(
    planned: Sequence[int], spacing_mm: Sequence[float], *, num_voxels: int
) -> tuple[int, ...]:
    """Return `num_voxels` voxels, isotropic in mm as far as no axis gets longer than planned."""
    left_mm = num_voxels * math.prod(spacing_mm)
    patch = list(planned)
    by_length = sorted(range(len(planned)), key=lambda axis: planned[axis] * spacing_mm[axis])
    for number, axis in enumerate(by_length):
        edge_mm = left_mm ** (1 / (len(planned) - number))
        patch[axis] = max(1, min(planned[axis], round(edge_mm / spacing_mm[axis])))
        left_mm /= patch[axis] * spacing_mm[axis]
    return tuple(patch)


def _patch_choices(plans: ResolvedPlans, patch: tuple[int, ...]) -> dict[str, Choice[Any]]:
    """Return the patch, and how it is cut and put together if it is smaller than planned."""
    crop, planned = plans.configuration.crop, plans.configuration.patch_size
    if patch == planned:
        return {}
    if all(edge >= most for edge, most in zip(patch, planned, strict=True)):
        return {"patch_size": Choice(patch, "rounded up to what the network's cells need.")}
    share = max(_FOREGROUND_SHARE, crop.foreground_share)
    return {
        "patch_size": Choice(
            patch, f"{math.prod(patch)} voxels in place of {math.prod(planned)}, isotropic in mm."
        ),
        "crop.policy": Choice("foreground", "parts of images that are cut smaller than planned."),
        "crop.foreground_share": Choice(
            share, "small patches show objects more rarely; the loss is weighted by it."
        ),
        "sampling.tile_step_size": Choice(
            max(_TILE_STEP_SIZE, plans.configuration.sampling.tile_step_size),
            "smaller patches are more tiles; fewer of them overlap.",
        ),
    }


def _laptop_batch(plans: ResolvedPlans) -> Choice[int]:
    configuration = plans.configuration
    cells = math.prod(configuration.patch_size) / math.prod(_trained_network(plans).strides[0])
    fitting = round(_LAPTOP_BATCH_CELLS / cells)
    smallest = _LAPTOP_MIN_BATCH[configuration.dimensions]
    batch = min(_LAPTOP_MAX_BATCH, max(smallest, fitting), configuration.training.batch_size)
    return Choice(batch, "in a short training more iterations serve better than larger batches.")


def _networks(
    plans: ResolvedPlans,
    labels: LabelScheme,
    *,
    patch: Sequence[int],
    width: float,
    num_foldings: int = 0,
) -> dict[str, Choice[Any]]:
    """Return the networks that the planner makes for a patch, with other widths.

    Args:
        num_foldings: of the network that is trained; see `plan_network`.
    """
    configuration = plans.configuration
    spacing = configuration.preprocessing.spacing_mm
    num_labels = build_encoding(labels, configuration.diffusion).num_channels
    is_of_images = METHODS[plans.method].learns_from == "image_labels"
    masks = plan_network(
        patch,
        spacing,
        num_label_channels=num_labels,
        width=width,
        num_foldings=0 if is_of_images else num_foldings,
    )
    networks = {_MASKS: masks.network}
    if configuration.weak is not None:
        networks[_IMAGES] = plan_image_model_network(
            patch,
            spacing,
            num_channels=len(configuration.preprocessing.normalization),
            width=width,
            num_foldings=num_foldings if is_of_images else 0,
        ).network
    return {path: Choice(network, _reason(network, width)) for path, network in networks.items()}


def _reason(network: NetworkPlan, width: float) -> str:
    reason = f"as planned for this patch, with {width:g} of the usual widths."
    if max(network.strides[0]) == 1:
        return reason
    cell = " x ".join(map(str, network.strides[0]))
    return f"{reason} Cells of {cell} voxels are seen as one, and drawn voxel by voxel."


def _trained_network(plans: ResolvedPlans) -> NetworkPlan:
    if METHODS[plans.method].learns_from == "image_labels":
        return weak_plan_of(plans.configuration).network
    return plans.configuration.network


def _sets_networks(plans: ResolvedPlans) -> bool:
    """Whether the user set anything of a network, which then stays as it is."""
    return any(f"{path}.".startswith((f"{_MASKS}.", f"{_IMAGES}.")) for path in plans.set_by_user)


def _divisors(configuration: ConfigurationPlan) -> tuple[int, ...]:
    """Return what the axes of a patch must be multiples of, for all networks."""
    networks = [configuration.network]
    networks += [configuration.weak.network] if configuration.weak is not None else []
    per_network = (
        [math.prod(steps) for steps in zip(*network.strides, strict=True)] for network in networks
    )
    return tuple(math.lcm(*axis) for axis in zip(*per_network, strict=True))


def _named(size: Size, choices: Mapping[str, Choice[Any]]) -> dict[str, Choice[Any]]:
    """Return choices whose reasons begin with the size."""
    return {
        path: dataclasses.replace(choice, reason=f"Preset {size}: {choice.reason}")
        for path, choice in choices.items()
    }
