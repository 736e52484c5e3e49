"""Options that set fields of the plans for one run: `--set`, and short flags for the usual ones."""

import argparse
import logging

from diffunet.cli.options import Options, add_number, number_in, number_of
from diffunet.errors import UsageError
from diffunet.plans import SamplingPlan, TrainingPlan
from diffunet.plans.presets import PRESETS, SIZES
from diffunet.ranges import Range, choices_of

logger = logging.getLogger(__name__)

ITERATIONS_PER_EPOCH = 250
"""Of nnU-Net; it sets no rhythm here."""

_PATHS = {
    "iterations": "training.num_iterations",
    "batch_size": "training.batch_size",
    "lr": "training.learning_rate",
    "num_samples": "sampling.num_samples",
    "num_steps": "sampling.num_steps",
    "sampler": "sampling.sampler",
}
"""What each short flag sets."""


def add_plan_fields(made: Options) -> None:
    """Add `--set`, and the flags of a training."""
    for flag, field, meaning in (
        (
            "--iterations",
            "num_iterations",
            "optimiser steps; a new training fits its learning rate, warm-up and average to them",
        ),
        ("--batch_size", "batch_size", "over all GPUs"),
        ("--lr", "learning_rate", "peak learning rate"),
    ):
        add_number(made, flag, number_of(TrainingPlan, field), meaning)
    add_number(
        made,
        "--epochs",
        number_in(Range(1, 400_000)),
        f"instead of --iterations: {ITERATIONS_PER_EPOCH} of them each, as in nnU-Net",
    )
    made.add_argument(
        "--set",
        dest="settings",
        action="extend",
        nargs="+",
        default=[],
        metavar="PATH=VALUE",
        help="change a field of the plans for this run, e.g. diffusion.input_scale=0.3; the name "
        "of a preset sets a group (network=p1), or the whole preset (p1); presets: "
        f"{', '.join([*PRESETS, *SIZES])}",
    )


def add_sampling_fields(made: Options) -> None:
    """Add flags that set how masks are drawn; without one, the plans decide."""
    add_number(made, "--num_samples", number_of(SamplingPlan, "num_samples"), "samples per case")
    add_number(made, "--num_steps", number_of(SamplingPlan, "num_steps"), "denoising steps")
    made.add_argument("--sampler", choices=choices_of(SamplingPlan, "sampler"))


def take_settings(given: argparse.Namespace) -> list[str]:
    """Take the options of this module out of `given`, and return them as values of `--set`.

    Raises:
        UsageError: `--epochs` and `--iterations` are both given.
    """
    options = vars(given)
    settings, epochs = list(options.pop("settings")), options.pop("epochs")
    if epochs is not None:
        if given.iterations is not None:
            raise UsageError("--epochs and --iterations say the same; give one of them")
        given.iterations = epochs * ITERATIONS_PER_EPOCH
        logger.info(
            "an epoch is %d iterations, as in nnU-Net: %d epochs are %d iterations",
            ITERATIONS_PER_EPOCH,
            epochs,
            given.iterations,
        )
    short = {path: options.pop(name) for name, path in _PATHS.items() if name in options}
    return [*settings, *(f"{path}={value}" for path, value in short.items() if value is not None)]
