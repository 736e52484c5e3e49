"""`diffunet_plan_and_preprocess`, and each of its four steps as a command of its own."""

import argparse

from diffunet.cli.command import (
    add_processes_argument,
    add_workspace_argument,
    command,
    new_parser,
    number_in,
    progress_bar,
    resolve_workspace,
)
from diffunet.plans import GPU_MEMORY_GB, SPACING_MM
from diffunet.workspace import DEFAULT_PLANS_NAME


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_plan_and_preprocess`."""
    made = new_parser(
        "Check a raw dataset, extract its fingerprint, choose every parameter of training, and "
        "preprocess the cases. Run it again after an interruption, and it continues.",
        epilog="example:\n  diffunet_plan_and_preprocess -d 1\n  diffunet_train 1 0\n"
        "  diffunet_predict -i IMAGES -o PREDICTIONS -d 1",
        command="diffunet_plan_and_preprocess",
    )
    _add_common(made)
    _add_check(made)
    _add_planning(made)
    _add_preprocessing(made)
    made.add_argument("--no_pp", action="store_true", help="stop after planning")
    made.add_argument("--clean", action="store_true", help="extract the fingerprint again")
    return made


def verify_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_verify_dataset`."""
    made = new_parser(
        "Check a raw dataset and report all faults at once. Each message names the case, what "
        "was expected, what was found, and what to do."
    )
    _add_common(made)
    made.add_argument(
        "--check_labels",
        action="store_true",
        help=(
            "also check the masks of a dataset with image-level labels (which are for scoring only)"
        ),
    )
    return made


def fingerprint_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_extract_fingerprint`."""
    made = new_parser(
        "Measure the training cases, and write dataset_fingerprint.json.",
        command="diffunet_extract_fingerprint",
    )
    _add_common(made)
    _add_check(made)
    made.add_argument(
        "--clean", action="store_true", help="measure again even if there is a fingerprint"
    )
    return made


def plan_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_plan_experiment`."""
    made = new_parser(
        "Choose every parameter of training from the fingerprint, with reasons.",
        command="diffunet_plan_experiment",
    )
    _add_common(made)
    _add_planning(made)
    return made


def preprocess_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_preprocess`."""
    made = new_parser(
        "Preprocess the training cases as the plans say. Run it again after an interruption, and "
        "it continues.",
        command="diffunet_preprocess",
    )
    _add_common(made)
    made.add_argument(
        "-p",
        "-plans_name",
        dest="plans_name",
        default=DEFAULT_PLANS_NAME,
        metavar="NAME",
        help="plans to follow",
    )
    _add_preprocessing(made)
    return made


@command
def main(arguments: list[str] | None = None) -> None:
    """Run `diffunet_plan_and_preprocess`."""
    from diffunet import api

    given = parser().parse_args(arguments)
    workspace = resolve_workspace(given.workspace)
    for dataset in given.datasets:
        api.plan_and_preprocess(
            dataset,
            workspace=workspace,
            configurations=given.configurations,
            checks_dataset=not given.no_check,
            extracts_anew=given.clean,
            preprocesses=not given.no_pp,
            with_labels=given.with_labels,
            gpu_memory_gb=given.gpu_memory_target,
            target_spacing_mm=given.overwrite_target_spacing,
            plans_name=given.overwrite_plans_name,
            num_processes=given.num_processes,
            progress=progress_bar,
        )


@command
def main_verify(arguments: list[str] | None = None) -> None:
    """Run `diffunet_verify_dataset`."""
    from diffunet import api

    given = verify_parser().parse_args(arguments)
    workspace = resolve_workspace(given.workspace)
    for dataset in given.datasets:
        api.verify_dataset(
            dataset,
            workspace=workspace,
            checks_labels=given.check_labels or None,
            num_processes=given.num_processes,
            progress=progress_bar,
        )


@command
def main_fingerprint(arguments: list[str] | None = None) -> None:
    """Run `diffunet_extract_fingerprint`."""
    from diffunet import api

    given = fingerprint_parser().parse_args(arguments)
    workspace = resolve_workspace(given.workspace)
    for dataset in given.datasets:
        api.extract_fingerprint(
            dataset,
            workspace=workspace,
            checks_dataset=not given.no_check,
            extracts_anew=given.clean,
            num_processes=given.num_processes,
            progress=progress_bar,
        )


@command
def main_plan(arguments: list[str] | None = None) -> None:
    """Run `diffunet_plan_experiment`."""
    from diffunet import api

    given = plan_parser().parse_args(arguments)
    workspace = resolve_workspace(given.workspace)
    for dataset in given.datasets:
        api.plan_experiment(
            dataset,
            workspace=workspace,
            gpu_memory_gb=given.gpu_memory_target,
            target_spacing_mm=given.overwrite_target_spacing,
            plans_name=given.overwrite_plans_name,
        )


@command
def main_preprocess(arguments: list[str] | None = None) -> None:
    """Run `diffunet_preprocess`."""
    from diffunet import api

    given = preprocess_parser().parse_args(arguments)
    workspace = resolve_workspace(given.workspace)
    for dataset in given.datasets:
        api.preprocess(
            dataset,
            workspace=workspace,
            configurations=given.configurations,
            plans_name=given.plans_name,
            with_labels=given.with_labels,
            num_processes=given.num_processes,
            progress=progress_bar,
        )


def _add_common(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "-d",
        dest="datasets",
        nargs="+",
        required=True,
        metavar="DATASET",
        help="number (1), name (LIDC or Dataset001_LIDC) or path of a raw dataset; several allowed",
    )
    add_workspace_argument(made)
    add_processes_argument(made)


def _add_check(made: argparse.ArgumentParser) -> None:
    made.add_argument("--no_check", action="store_true", help="skip the integrity check")


def _add_planning(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "-gpu_memory_target",
        type=number_in(GPU_MEMORY_GB, is_whole=False),
        default=8.0,
        metavar="GB",
        help="memory that a training step may use, in GB",
    )
    made.add_argument(
        "-overwrite_target_spacing",
        type=number_in(SPACING_MM, is_whole=False),
        nargs="+",
        metavar="MM",
        help="voxel size to train at, in mm per file axis (z y x); without it, a rule chooses",
    )
    made.add_argument(
        "-overwrite_plans_name",
        default=DEFAULT_PLANS_NAME,
        metavar="NAME",
        help="write NAME.json, beside other plans of the dataset",
    )


def _add_preprocessing(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "-c",
        dest="configurations",
        nargs="+",
        metavar="CONFIGURATION",
        help=(
            "configurations to preprocess; without it, all in the plans; for image-level labels "
            "without --with_labels, only those that learn from such labels"
        ),
    )
    made.add_argument(
        "--with_labels",
        action="store_true",
        help="for a dataset with image-level labels: preprocess its masks too (for -m supervised "
        "or -m diffusion)",
    )


if __name__ == "__main__":
    raise SystemExit(main())
