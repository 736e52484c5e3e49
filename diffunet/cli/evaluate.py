"""`diffunet_evaluate`: score predictions against references."""

import argparse

from diffunet.cli.command import (
    command_of,
    new_parser,
    progress_bar,
)
from diffunet.cli.options import (
    add_num_processes,
)
from diffunet.workspace import path_of


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_evaluate`."""
    made = new_parser(
        "Score a folder of predictions: overlap and surface distances of the consensus and, if "
        "there are samples, scores of the distribution. All scores stand beside those of "
        "trivial answers on the same cases.",
        epilog="example:\n  diffunet_evaluate raw/Dataset001_LIDC/labelsTs predictions",
        command="diffunet_evaluate",
    )
    made.add_argument("reference", type=path_of, metavar="REFERENCE", help="folder of masks")
    made.add_argument(
        "prediction", type=path_of, metavar="PREDICTION", help="output folder of diffunet_predict"
    )
    made.add_argument(
        "-djfile",
        dest="dataset_json",
        type=path_of,
        metavar="FILE",
        help="dataset.json; without it, the one in PREDICTION, or else the one beside REFERENCE",
    )
    made.add_argument(
        "--patients",
        dest="patients_csv",
        type=path_of,
        metavar="FILE",
        help="patients.csv for the intervals; without it, the one beside REFERENCE",
    )
    made.add_argument(
        "-o", dest="output", type=path_of, help="summary file; without it PREDICTION/summary.json"
    )
    made.add_argument(
        "--rater",
        help="score against the masks of this rater alone, his number or name in the files of "
        "labels, such as 2 or r02: for masks that diffunet_predict --rater drew",
    )
    made.add_argument(
        "--by_slice",
        action="store_true",
        help=(
            "also score slices that show a label and slices that do not, separately, as is usual "
            "for masks from image-level labels"
        ),
    )
    add_num_processes(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_evaluate`."""
    from diffunet import api

    api.evaluate(**vars(given), progress=progress_bar)


if __name__ == "__main__":
    raise SystemExit(main())
