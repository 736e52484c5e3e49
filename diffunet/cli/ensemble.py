"""`diffunet_ensemble`: join the samples of several models."""

import argparse

from diffunet.cli.command import command_of, new_parser, progress_bar
from diffunet.cli.options import (
    add_number,
    add_path,
    add_saves_probabilities,
    add_seed,
    number_in,
    number_of,
)
from diffunet.plans import SamplingPlan
from diffunet.ranges import Range


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_ensemble`."""
    made = new_parser(
        "Join the samples of several models into a mixture of them, and make consensus, "
        "uncertainty and volumes anew from all samples. Nothing is averaged: a mixture keeps what "
        "each model says. Run again with the same options, the command goes on.",
        epilog="examples:\n  diffunet_ensemble -i predictions_2d predictions_3d -o mixture\n"
        "  diffunet_ensemble -i predictions_a predictions_b -o mixture -weights 2 1",
        command="diffunet_ensemble",
    )
    add_path(
        made,
        "-i",
        "output folders of diffunet_predict --save_samples, of the same images; the masks of "
        "a model that draws no samples are taken as they are",
        dest="folders",
        nargs="+",
        required=True,
    )
    add_path(
        made,
        "-o",
        "a folder that is new, is empty or holds a mixture",
        dest="output",
        required=True,
    )
    add_number(
        made,
        "-weights",
        number_in(Range(0, 1e6, is_above=True), is_whole=False),
        "share of the samples by folder, such as 2 1; without it, all give the same number",
        nargs="+",
        metavar="W",
    )
    add_number(
        made,
        "--num_samples",
        number_of(SamplingPlan, "num_samples"),
        "samples of the mixture; without it, as many as weights and folders allow",
    )
    add_seed(made, "chooses among the samples of a folder that gives only some of them")
    add_saves_probabilities(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_ensemble`."""
    from diffunet import api

    folder = api.ensemble(**vars(given), progress=progress_bar)
    print(f"wrote '{folder}'")


if __name__ == "__main__":
    raise SystemExit(main())
