"""`diffunet_pseudo_label`: make a dataset of pseudo-masks from image-level labels."""

import argparse

from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import (
    add_configuration,
    add_device,
    add_flag,
    add_folds,
    add_plans_name,
    add_saliency,
    add_seed,
    add_workspace,
)
from diffunet.methods import methods_that_learn_from


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
    made.add_argument(
        "-m",
        dest="method",
        choices=methods_that_learn_from("image_labels"),
        help="without it, the one that makes --saliency, or the method of the plans",
    )
    add_plans_name(made)
    add_configuration(made)
    add_folds(made)
    add_saliency(made, "map to make masks from; without it, the plans decide")
    add_seed(made, "the same seed gives the same masks")
    add_flag(
        made,
        "--continue",
        "continue where an earlier run with the same settings stopped",
        dest="continues",
    )
    add_device(made)
    add_workspace(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_pseudo_label`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace, writes_raw=True)
    api.pseudo_label(**vars(given), progress=progress_bar)


if __name__ == "__main__":
    raise SystemExit(main())
