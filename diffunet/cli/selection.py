"""`diffunet_accumulate_crossval_results` and `diffunet_find_best_configuration`."""

import argparse

from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import (
    add_chosen_plans,
    add_dataset,
    add_flag,
    add_folds,
    add_path,
    add_workspace,
)


def accumulate_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_accumulate_crossval_results`."""
    made = new_parser(
        "Gather the validation cases of all folds of a model in one folder of predictions: each "
        "case as the fold drew it that did not see it, and the scores of the cross-validation.",
        epilog="examples:\n  diffunet_accumulate_crossval_results 1\n"
        "  diffunet_accumulate_crossval_results 1 -c 2d -m supervised -f 0 1 2",
        command="diffunet_accumulate_crossval_results",
    )
    add_dataset(made)
    add_chosen_plans(made)
    add_folds(made, "without it, all folds of splits_final.json")
    add_path(
        made,
        "-o",
        "replaced if it is there; without it, crossval_results_folds_0_1_... beside the folds",
        dest="output",
    )
    add_workspace(made)
    return made


@command_of(accumulate_parser)
def main_accumulate(given: argparse.Namespace) -> None:
    """Run `diffunet_accumulate_crossval_results`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace)
    api.accumulate_crossval_results(**vars(given), progress=progress_bar)


def best_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_find_best_configuration`."""
    made = new_parser(
        "Compare the trained models of a dataset, and mixtures of every two, on the validation "
        "cases of all folds: with one rater by the Dice of the consensus, with several by the "
        "unbiased GED of the samples (lower is better). The commands to predict with the best are "
        "printed and kept. Mixtures need samples: train with --save_samples.",
        epilog="examples:\n  diffunet_find_best_configuration 1\n"
        "  diffunet_find_best_configuration 1 -c 2d 3d_fullres -m diffusion supervised",
        command="diffunet_find_best_configuration",
    )
    add_dataset(made)
    for flag, name, metavar in (
        ("-c", "configurations", "CONFIGURATION"),
        ("-m", "methods", "METHOD"),
        ("-p", "plans_names", "NAME"),
    ):
        made.add_argument(
            flag, dest=name, nargs="+", metavar=metavar, help="without it, all that are trained"
        )
    add_folds(made, "without it, all folds of splits_final.json")
    add_flag(
        made,
        "--disable_ensembling",
        "compare models alone, without their mixtures",
        dest="has_mixtures",
        value=False,
    )
    add_workspace(made)
    return made


@command_of(best_parser)
def main_best(given: argparse.Namespace) -> None:
    """Run `diffunet_find_best_configuration`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace)
    api.find_best_configuration(**vars(given), progress=progress_bar)


if __name__ == "__main__":
    raise SystemExit(main_accumulate())
