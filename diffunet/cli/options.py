"""Options that several commands have, each in one function; what they are called, one name each.

The name of an option (`dest`) is that of the argument of the API that it becomes.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

from diffunet.methods import SaliencyMethod
from diffunet.parallel import default_num_processes
from diffunet.ranges import Range, range_of
from diffunet.workspace import DEFAULT_PLANS_NAME, path_of

Options = argparse._ActionsContainer
"""A parser, or a group of one."""


def add_dataset(made: Options) -> None:
    """Add the dataset, as the first word."""
    made.add_argument("dataset", metavar="DATASET", help="number, name or path")


def add_workspace(made: Options) -> None:
    """Add `--workspace`."""
    add_path(
        made,
        "--workspace",
        "folder that holds raw, preprocessed and results; without it, the environment "
        "variables diffunet_raw, diffunet_preprocessed and diffunet_results name them; "
        "otherwise they are in ./diffunet_workspace",
        metavar="DIR",
    )


def add_num_processes(made: Options) -> None:
    """Add `-np`."""
    meaning = "worker processes; 0: everything in this process"
    add_number(
        made,
        "-np",
        number_in(Range(0, 1024)),
        meaning,
        dest="num_processes",
        default=default_num_processes(),
    )


def add_parts(made: Options) -> None:
    """Add `-num_parts` and `-part_id`."""
    add_number(
        made, "-num_parts", number_in(Range(1, 100_000)), "divide the cases into parts", default=1
    )
    add_number(made, "-part_id", number_in(Range(0, 99_999)), "which part this run does", default=0)


def add_seed(made: Options, meaning: str, *, default: int | None = 0) -> None:
    """Add `--seed`."""
    add_number(made, "--seed", number_in(Range(0, 2**63 - 1)), meaning, default=default)


def add_device(made: Options) -> None:
    """Add `-device`."""
    made.add_argument("-device", default="auto", help="auto, cpu, cuda, cuda:N or mps")


def add_plans_name(made: Options, *flags: str, meaning: str = "plans") -> None:
    """Add `-p`, or what else a command calls it."""
    made.add_argument(
        *(flags or ("-p",)),
        dest="plans_name",
        default=DEFAULT_PLANS_NAME,
        metavar="NAME",
        help=meaning,
    )


def add_configuration(made: Options) -> None:
    """Add `-c`."""
    made.add_argument(
        "-c", dest="configuration", help="without it, the configuration that the plans recommend"
    )


def add_chosen_plans(made: Options, *, choices: Sequence[str] | None = None) -> None:
    """Add `-c`, `-m` and `-p`: which of the dataset's plans are meant.

    Args:
        choices: the methods that can be named; None: any.
    """
    add_configuration(made)
    made.add_argument(
        "-m", dest="method", choices=choices, help="without it, the method of the plans"
    )
    add_plans_name(made)


def add_folds(made: Options, meaning: str = "without it, all trained folds") -> None:
    """Add `-f`."""
    made.add_argument("-f", dest="folds", nargs="+", metavar="FOLD", help=meaning)


def add_saliency(made: Options, meaning: str) -> None:
    """Add `--saliency`."""
    made.add_argument("--saliency", choices=get_args(SaliencyMethod), help=meaning)


def add_saves_probabilities(made: Options) -> None:
    """Add `--save_probabilities`."""
    add_flag(
        made,
        "--save_probabilities",
        "also write the share of samples per voxel and label",
        dest="saves_probabilities",
    )


def add_model(made: argparse.ArgumentParser, *, metavar: str, model: str, method: str) -> None:
    """Add what says which trained model is meant: `--model`, or `-d` and what goes with it.

    Args:
        metavar, model: of `--model`, and its help.
        method: help of `-m`.
    """
    group = made.add_argument_group("model: either --model, or -d for a model in the workspace")
    add_path(group, "--model", model, metavar=metavar)
    group.add_argument("-d", dest="dataset", help="number, name or path")
    group.add_argument("-m", dest="method", help=method)
    add_plans_name(group)
    add_configuration(group)
    add_folds(group)
    group.add_argument(
        "-chk",
        dest="checkpoint",
        type=lambda text: text.removeprefix("checkpoint_").removesuffix(".pth"),
        default="final",
        choices=["final", "best", "latest"],
        help="weights; nnU-Net's checkpoint_final.pth means the same",
    )


def add_path(made: Options, flag: str, meaning: str, **others: Any) -> None:
    """Add an option that takes a folder, or what else `metavar` says.

    Args:
        others: of `add_argument`.
    """
    made.add_argument(flag, type=path_of, help=meaning, **{"metavar": "FOLDER", **others})


def add_flag(made: Options, flag: str, meaning: str, *, value: bool = True, **others: Any) -> None:
    """Add an option that takes nothing.

    Args:
        value: of the option where it is given.
        others: of `add_argument`.
    """
    action = "store_true" if value else "store_false"
    made.add_argument(flag, action=action, help=meaning, **others)


def add_no_report(made: Options, where: str, *, also: str = "") -> None:
    """Add `--no_report`, for commands that end with a page about what they wrote.

    Args:
        also: what else is not written then.
    """
    meaning = f"do not write report.html, the page of diffunet_report, into {where}{also}"
    add_flag(made, "--no_report", meaning, value=False, dest="writes_report")


def add_number(
    made: Options, flag: str, number: Callable[[str], int | float], meaning: str, **others: Any
) -> None:
    """Add an option that takes a number.

    Args:
        number: `number_in` a range, or `number_of` a field of a plan.
        others: of `add_argument`.
    """
    made.add_argument(flag, type=number, help=meaning, **{"metavar": "N", **others})


def number_in(limits: Range, *, is_whole: bool = True) -> Callable[[str], int | float]:
    """Return a parser of numbers within `limits`, for `type=` of an argument."""

    def parse(text: str) -> int | float:
        try:
            number = int(text) if is_whole else float(text)
        except ValueError:
            number = math.nan
        if number not in limits:
            kind = "a whole number" if is_whole else "a number"
            raise argparse.ArgumentTypeError(f"expected {kind} {limits}, got '{text:.40}'")
        return number

    return parse


def number_of(plan: type, name: str) -> Callable[[str], int | float]:
    """Return a parser of the field `name` of a plan, in the range that the plan declares."""
    return number_in(range_of(plan, name), is_whole=get_type_hints(plan)[name] is int)
