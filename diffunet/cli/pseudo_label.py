"""`diffunet_pseudo_label`: make a dataset of pseudo-masks from image-level labels."""

import argparse
from typing import get_args

from diffunet.cli.command import (
    add_seed_argument,
    add_workspace_argument,
    command,
    new_parser,
    progress_bar,
    resolve_workspace,
)
from diffunet.methods import methods_that_learn_from
from diffunet.plans import SaliencyMethod
from diffunet.workspace import DEFAULT_PLANS_NAME


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_pseudo_label`."""
    made = new_parser(
        "Make a raw dataset of pseudo-masks: a model trained from image-level labels marks its "
        "own training images. Where possible, a fold marks images that it has not learned from. "
        "Unsure pixels get the label 'ignore'. A second stage trains on the result as on any "
        "dataset. Masks of the first dataset, if there are any, are never opened.",
        epilog="example:\n  diffunet_pseudo_label -d 3 -o 503\n"
        "  diffunet_plan_and_preprocess -d 503\n"
        "  diffunet_train 503 0 -m supervised",
    )
    made.add_argument(
        "-d",
        dest="dataset",
        required=True,
        help="number, name or path of a dataset with image-level labels",
    )
    made.add_argument(
        "-o",
        dest="new_dataset",
        required=True,
        metavar="NEW",
        help=(
            "the dataset to make: a number (503: Dataset503_NAMEPseudo), or a whole name like "
            "Dataset503_Tumour"
        ),
    )
    _add_model(made)
    add_seed_argument(made, "the same seed gives the same masks")
    made.add_argument(
        "--continue",
        dest="continues",
        action="store_true",
        help="continue where an earlier run with the same settings stopped",
    )
    made.add_argument("-device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_workspace_argument(made)
    return made


@command
def main(arguments: list[str] | None = None) -> None:
    """Run `diffunet_pseudo_label`."""
    from diffunet import api

    given = parser().parse_args(arguments)
    api.pseudo_label(
        given.dataset,
        given.new_dataset,
        workspace=resolve_workspace(given.workspace, writes_raw=True),
        method=given.method,
        plans_name=given.plans_name,
        configuration=given.configuration,
        folds=given.folds,
        saliency=given.saliency,
        seed=given.seed,
        continues=given.continues,
        device=given.device,
        progress=progress_bar,
    )


def _add_model(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "-m",
        dest="method",
        choices=methods_that_learn_from("image_labels"),
        help="without it, the one that makes --saliency, or the method of the plans",
    )
    made.add_argument(
        "-p", dest="plans_name", default=DEFAULT_PLANS_NAME, metavar="NAME", help="plans"
    )
    made.add_argument(
        "-c", dest="configuration", help="without it, the configuration that the plans recommend"
    )
    made.add_argument(
        "-f", dest="folds", nargs="+", metavar="FOLD", help="without it, all trained folds"
    )
    made.add_argument(
        "--saliency",
        choices=get_args(SaliencyMethod),
        help="map to make masks from; without it, the plans decide",
    )


if __name__ == "__main__":
    raise SystemExit(main())
