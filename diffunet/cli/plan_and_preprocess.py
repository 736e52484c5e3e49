"""`diffunet_plan_and_preprocess`, and each of its four steps as a command of its own."""

import argparse
from collections.abc import Callable

from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import (
    add_flag,
    add_num_processes,
    add_number,
    add_parts,
    add_plans_name,
    add_workspace,
    number_in,
)
from diffunet.plans import GPU_MEMORY_GB, SPACING_MM


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
    add_num_processes(made)
    _add_check(made)
    _add_planning(made)
    _add_preprocessing(made)
    add_flag(made, "--no_pp", "stop after planning", dest="preprocesses", value=False)
    add_flag(made, "--clean", "extract the fingerprint again", dest="extracts_anew")
    return made


def verify_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_verify_dataset`."""
    made = new_parser(
        "Check a raw dataset and report all faults at once. Each message names the case, what "
        "was expected, what was found, and what to do."
    )
    _add_common(made)
    add_num_processes(made)
    add_flag(
        made,
        "--check_labels",
        "also check the masks of a dataset with image-level labels (which are for scoring only)",
        dest="checks_labels",
        default=None,
    )
    return made


def fingerprint_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_extract_fingerprint`."""
    made = new_parser(
        "Measure the training cases, and write dataset_fingerprint.json.",
        command="diffunet_extract_fingerprint",
    )
    _add_common(made)
    add_num_processes(made)
    _add_check(made)
    add_flag(made, "--clean", "measure again even if there is a fingerprint", dest="extracts_anew")
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
        "it continues. Several jobs may share the cases out by -num_parts and -part_id; the last "
        "one to end completes the data.",
        command="diffunet_preprocess",
    )
    _add_common(made)
    add_num_processes(made)
    add_plans_name(made, "-p", "-plans_name", meaning="plans to follow")
    _add_preprocessing(made)
    add_parts(made)
    return made


def move_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_move_plans`."""
    made = new_parser(
        "Write plans of one dataset as plans of another, so that weights trained on the one fit "
        "the other: for pretraining, and to compare datasets. Preprocess the other with them next.",
        epilog="example:\n  diffunet_move_plans -s 1 -t 2 -tp from_1\n"
        "  diffunet_preprocess -d 2 -p from_1\n"
        "  diffunet_train 2 0 -p from_1 -pretrained_weights checkpoint_final.pth",
        command="diffunet_move_plans",
    )
    for flag, meaning in (("-s", "that has the plans"), ("-t", "that gets them; a raw dataset")):
        made.add_argument(
            flag,
            dest="source" if flag == "-s" else "target",
            required=True,
            metavar="DATASET",
            help=f"number, name or path of the dataset {meaning}",
        )
    add_plans_name(made, "-sp", meaning="plans to move")
    made.add_argument(
        "-tp", dest="new_name", metavar="NAME", help="their new name; without it, the one they have"
    )
    add_workspace(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_plan_and_preprocess`."""
    from diffunet import api

    _for_each_dataset(api.plan_and_preprocess, given, progress=progress_bar)


@command_of(verify_parser)
def main_verify(given: argparse.Namespace) -> None:
    """Run `diffunet_verify_dataset`."""
    from diffunet import api

    _for_each_dataset(api.verify_dataset, given, progress=progress_bar)


@command_of(fingerprint_parser)
def main_fingerprint(given: argparse.Namespace) -> None:
    """Run `diffunet_extract_fingerprint`."""
    from diffunet import api

    _for_each_dataset(api.extract_fingerprint, given, progress=progress_bar)


@command_of(plan_parser)
def main_plan(given: argparse.Namespace) -> None:
    """Run `diffunet_plan_experiment`."""
    from diffunet import api

    _for_each_dataset(api.plan_experiment, given)


@command_of(preprocess_parser)
def main_preprocess(given: argparse.Namespace) -> None:
    """Run `diffunet_preprocess`."""
    from diffunet import api

    _for_each_dataset(api.preprocess, given, progress=progress_bar)


@command_of(move_parser)
def main_move(given: argparse.Namespace) -> None:
    """Run `diffunet_move_plans`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace)
    api.move_plans(**vars(given))


def _for_each_dataset(
    function: Callable[..., object], given: argparse.Namespace, **others: object
) -> None:
    """Call a function of the API with each dataset and the other options."""
    options = {**vars(given), "workspace": resolve_workspace(given.workspace)}
    for dataset in options.pop("datasets"):
        function(dataset, **options, **others)


def _add_common(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "-d",
        dest="datasets",
        nargs="+",
        required=True,
        metavar="DATASET",
        help="number (1), name (LIDC or Dataset001_LIDC) or path of a raw dataset; several allowed",
    )
    add_workspace(made)


def _add_check(made: argparse.ArgumentParser) -> None:
    add_flag(made, "--no_check", "skip the integrity check", dest="checks_dataset", value=False)


def _add_planning(made: argparse.ArgumentParser) -> None:
    add_number(
        made,
        "-gpu_memory_target",
        number_in(GPU_MEMORY_GB, is_whole=False),
        "memory that a training step may use, in GB",
        dest="gpu_memory_gb",
        default=8.0,
        metavar="GB",
    )
    add_number(
        made,
        "-overwrite_target_spacing",
        number_in(SPACING_MM, is_whole=False),
        "voxel size to train at, in mm per file axis (z y x); without it, a rule chooses",
        dest="target_spacing_mm",
        nargs="+",
        metavar="MM",
    )
    add_plans_name(
        made, "-overwrite_plans_name", meaning="write NAME.json, beside other plans of the dataset"
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
    add_flag(
        made,
        "--with_labels",
        "for a dataset with image-level labels: preprocess its masks too (for -m supervised "
        "or -m diffusion)",
    )


if __name__ == "__main__":
    raise SystemExit(main())
