"""`diffunet_report`: one HTML page about a dataset, a model or predictions."""

import argparse

from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import add_workspace
from diffunet.workspace import path_of


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_report`."""
    made = new_parser(
        "Write one HTML page about a folder: what was found in a dataset and planned from it, how "
        "a model trained, or how good and how sure predictions are, case by case, with pictures. "
        "The file needs no network and nothing beside it, so it can be mailed and printed.",
        epilog="examples:\n"
        "  diffunet_report diffunet_workspace/preprocessed/Dataset001_LIDC\n"
        "  diffunet_report diffunet_workspace/results/Dataset001_LIDC/"
        "diffusion__diffunet_plans__2d\n"
        "  diffunet_report predictions -i imagesTs -r labelsTs",
        command="diffunet_report",
    )
    made.add_argument(
        "folder",
        type=path_of,
        metavar="FOLDER",
        help="a preprocessed dataset, a model (METHOD__PLANS__CONFIGURATION) or one of its folds, "
        "or an output folder of diffunet_predict (also a fold's validation)",
    )
    made.add_argument(
        "-o",
        dest="output",
        type=path_of,
        metavar="FILE",
        help="ends in .html; without it FOLDER/report.html",
    )
    made.add_argument(
        "-i",
        dest="images",
        type=path_of,
        metavar="FOLDER_OR_FILE",
        help="of predictions: what was predicted; without it, images are looked for in the raw "
        "datasets of the workspace, and known by their content (those of a validation by the name "
        "of the case in its dataset)",
    )
    made.add_argument(
        "-r",
        dest="references",
        type=path_of,
        metavar="FOLDER",
        help="of predictions: masks to compare with; without a summary.json they are scored too. "
        "Without -r, those that the summary.json in FOLDER names",
    )
    add_workspace(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_report`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace)
    api.report(**vars(given), progress=progress_bar)


if __name__ == "__main__":
    raise SystemExit(main())
