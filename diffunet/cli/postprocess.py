"""`diffunet_determine_postprocessing` and `diffunet_apply_postprocessing`."""

import argparse

from diffunet.cli.command import command_of, new_parser, progress_bar
from diffunet.cli.options import add_num_processes, add_path
from diffunet.errors import UsageError


def determine_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_determine_postprocessing`."""
    made = new_parser(
        "Decide on cases whose masks are known which connected components to keep: the largest of "
        "all labels together, then that of each label. A step is kept if the mean score is better "
        "and that of no label is worse: with one rater the Dice of the consensus, with several the "
        "unbiased GED of the samples. These cases chose it, so the score afterwards is "
        "optimistic: take cases of a validation, never those of a test.",
        epilog="example:\n  diffunet_determine_postprocessing -i VALIDATION -ref labelsTr",
        command="diffunet_determine_postprocessing",
    )
    add_path(
        made,
        "-i",
        "output folder of diffunet_predict or diffunet_ensemble",
        dest="prediction",
        required=True,
    )
    add_path(
        made,
        "-ref",
        "folder of the masks of these cases; those of other cases are not read",
        dest="reference",
        required=True,
    )
    add_path(
        made,
        "-o",
        "what is decided; without it, postprocessing.json in the folder of -i",
        dest="output",
        metavar="FILE",
    )
    add_path(
        made,
        "-dataset_json",
        "dataset.json; without it, the one in the folder of -i",
        metavar="FILE",
    )
    add_num_processes(made)
    return made


@command_of(determine_parser)
def main_determine(given: argparse.Namespace) -> None:
    """Run `diffunet_determine_postprocessing`."""
    from diffunet import api

    path = api.determine_postprocessing(**vars(given), progress=progress_bar)
    print(
        f"wrote '{path}'; apply it with: diffunet_apply_postprocessing -i PREDICTIONS -o OUTPUT "
        f"-pp '{path}'"
    )


def apply_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_apply_postprocessing`."""
    made = new_parser(
        "Write predictions anew with the components that diffunet_determine_postprocessing chose "
        "to keep. Each sample is cleaned by itself; consensus, uncertainty and volumes are made "
        "anew from what is left. Run again with the same options, the command goes on.",
        epilog="example:\n  diffunet_apply_postprocessing -i PREDICTIONS -o CLEANED "
        "-pp postprocessing.json",
        command="diffunet_apply_postprocessing",
    )
    add_path(
        made,
        "-i",
        "output folder of diffunet_predict or diffunet_ensemble",
        dest="folder",
        required=True,
    )
    add_path(
        made,
        "-o",
        "a folder that is new, is empty or holds masks of this command",
        dest="output",
        required=True,
    )
    add_path(
        made, "-pp", "what diffunet_determine_postprocessing wrote", dest="file", metavar="FILE"
    )
    return made


@command_of(apply_parser)
def main_apply(given: argparse.Namespace) -> None:
    """Run `diffunet_apply_postprocessing`."""
    from diffunet import api

    if given.file is None:
        raise UsageError(
            "-pp FILE is missing: prediction decides nothing about components. Run "
            "diffunet_determine_postprocessing on predictions of validation cases first, and name "
            "the file that it writes"
        )
    folder = api.apply_postprocessing(**vars(given), progress=progress_bar)
    print(f"wrote '{folder}'")


if __name__ == "__main__":
    raise SystemExit(main_apply())
