"""`diffunet_accumulate_crossval_results`."""

import argparse
from pathlib import Path

from diffunet.cli.command import command, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import add_configuration, add_plans_name, add_workspace


def accumulate_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_accumulate_crossval_results`."""
    made = new_parser(
        "Gather the validation cases of all folds of a model in one folder of predictions: each "
        "case as the fold drew it that did not see it, and the scores of the cross-validation.",
        epilog="examples:\n  diffunet_accumulate_crossval_results 1\n"
        "  diffunet_accumulate_crossval_results 1 -c 2d -m supervised -f 0 1 2",
        command="diffunet_accumulate_crossval_results",
    )
    made.add_argument("dataset", metavar="DATASET", help="number, name or path")
    add_configuration(made)
    made.add_argument("-m", dest="method", help="without it, the method of the plans")
    add_plans_name(made)
    made.add_argument(
        "-f",
        dest="folds",
        nargs="+",
        metavar="FOLD",
        help="without it, all folds of splits_final.json",
    )
    made.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="FOLDER",
        help="replaced if it is there; without it, crossval_results_folds_0_1_... beside the folds",
    )
    add_workspace(made)
    return made


@command
def main_accumulate(arguments: list[str] | None = None) -> None:
    """Run `diffunet_accumulate_crossval_results`."""
    from diffunet import api

    given = accumulate_parser().parse_args(arguments)
    given.workspace = resolve_workspace(given.workspace)
    api.accumulate_crossval_results(**vars(given), progress=progress_bar)


if __name__ == "__main__":
    raise SystemExit(main_accumulate())
