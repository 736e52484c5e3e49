"""`diffunet_train`: train one fold."""

import argparse
import os
import sys
from pathlib import Path

from diffunet.cli.command import (
    add_processes_argument,
    add_seed_argument,
    add_workspace_argument,
    command,
    new_parser,
    number_in,
    number_of,
    progress_bar,
    resolve_workspace,
)
from diffunet.cli.ranks import require_devices, train_in_processes
from diffunet.methods import METHODS
from diffunet.plans import TrainingPlan
from diffunet.plans.presets import PRESETS
from diffunet.ranges import Range
from diffunet.workspace import DEFAULT_PLANS_NAME


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_train`."""
    made = new_parser(
        "Train one fold of a preprocessed dataset. After a kill or an interruption, --c "
        "continues it to exactly the weights of an unbroken run.",
        epilog="examples:\n  diffunet_train 1 0\n"
        "  diffunet_train LIDC all --set diffusion.input_scale=0.3\n"
        "  torchrun --nproc_per_node 4 -m diffunet.cli.train 1 0",
        command="diffunet_train",
    )
    made.add_argument("dataset", metavar="DATASET", help="number, name or path")
    made.add_argument("fold", metavar="FOLD", help="0, 1, ... or all")
    made.add_argument(
        "-c", dest="configuration", help="without it, the configuration that the plans recommend"
    )
    made.add_argument(
        "-m", dest="method", choices=list(METHODS), help="without it, the method of the plans"
    )
    made.add_argument(
        "-p", dest="plans_name", default=DEFAULT_PLANS_NAME, metavar="NAME", help="plans"
    )
    made.add_argument("--c", dest="continues", action="store_true", help="continue a training")
    made.add_argument("--val", action="store_true", help="run only the final validation")
    made.add_argument(
        "--all_cases", action="store_true", help="validate on every case instead of at most 100"
    )
    _add_optimisation(made)
    made.add_argument(
        "-pretrained_weights", type=Path, metavar="FILE", help="checkpoint to start from"
    )
    made.add_argument("-device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    made.add_argument(
        "-num_gpus",
        type=number_in(Range(1, 1024)),
        default=1,
        metavar="N",
        help="GPUs of this machine to train on together; with -device cpu: processes",
    )
    made.add_argument(
        "--compile",
        action="store_true",
        help="use torch.compile: takes about a minute, then training is faster",
    )
    add_workspace_argument(made)
    add_processes_argument(made)
    return made


@command
def main(arguments: list[str] | None = None) -> None:
    """Run `diffunet_train`."""
    from diffunet import api

    given = parser().parse_args(arguments)
    is_rank = "LOCAL_RANK" in os.environ
    num_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_rank else given.num_gpus
    if num_ranks > 1:
        require_devices(num_ranks, given.device)
        if not is_rank:
            given_words = sys.argv[1:] if arguments is None else arguments
            train_in_processes(num_ranks, "diffunet.cli.train", given_words)
            return
    api.train(
        given.dataset,
        given.fold,
        workspace=resolve_workspace(given.workspace),
        configuration=given.configuration,
        method=given.method,
        plans_name=given.plans_name,
        settings=settings_of(given),
        seed=given.seed,
        continues=given.continues,
        only_validates=given.val,
        validates_all_cases=given.all_cases,
        pretrained_weights=given.pretrained_weights,
        device=given.device,
        compiles=given.compile,
        num_processes=given.num_processes,
        progress=progress_bar,
    )


def settings_of(given: argparse.Namespace) -> list[str]:
    """Return `--set` values; the short flags are written as what they mean."""
    flags = {
        "training.num_iterations": given.iterations,
        "training.batch_size": given.batch_size,
        "training.learning_rate": given.lr,
    }
    short = [f"{path}={value}" for path, value in flags.items() if value is not None]
    return [*given.settings, *short]


def _add_optimisation(made: argparse.ArgumentParser) -> None:
    for flag, field, meaning in (
        ("--iterations", "num_iterations", "optimiser steps"),
        ("--batch_size", "batch_size", "over all GPUs"),
        ("--lr", "learning_rate", "peak learning rate"),
    ):
        parse = number_of(TrainingPlan, field)
        made.add_argument(flag, type=parse, metavar="N", help=meaning)
    add_seed_argument(made, "seed of all random draws")
    made.add_argument(
        "--set",
        dest="settings",
        action="extend",
        nargs="+",
        default=[],
        metavar="PATH=VALUE",
        help="change a field of the plans for this run, e.g. diffusion.input_scale=0.3; the name "
        "of a preset sets a group (network=p1), or the whole preset (p1); presets: "
        f"{', '.join(PRESETS)}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
