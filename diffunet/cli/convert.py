"""`diffunet_convert_dataset`."""

import argparse
from shlex import quote

from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import add_flag, add_num_processes, add_number, add_workspace, number_in
from diffunet.conversion.formats import FORMATS
from diffunet.conversion.tag_cells import MEANINGS
from diffunet.conversion.wishes import DEFAULT_MIN_SHARE, MIN_SHARE
from diffunet.workspace import path_of


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_convert_dataset`."""
    formats = "\n".join(f"  {name:12} {each.summary}" for name, each in FORMATS.items())
    made = new_parser(
        "Write a public dataset, in the layout in which it is downloaded, as a raw dataset. The "
        "download is only read. Run it again after an interruption, and it continues.",
        epilog=f"formats:\n{formats}\n\n"
        "examples:\n  diffunet_convert_dataset msd Task04_Hippocampus\n"
        "  diffunet_plan_and_preprocess -d 4",
        command="diffunet_convert_dataset",
    )
    made.add_argument("format", metavar="FORMAT", choices=list(FORMATS), help="see below")
    made.add_argument(
        "source", type=path_of, metavar="SOURCE", help="folder or file of the download"
    )
    made.add_argument(
        "-d",
        dest="dataset",
        metavar="DATASET",
        help=(
            "number, or whole name such as Dataset012_NAME, of the new dataset; without it, the "
            "number that the download bears, or the first free one"
        ),
    )
    _add_wishes(made)
    add_flag(
        made,
        "--skip_faulty",
        "leave out cases that cannot be read; dataset.json names them, and why",
    )
    add_num_processes(made)
    add_workspace(made)
    return made


def _add_wishes(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group(
        "what to take of it (which format knows which: documentation/how-to/convert-a-dataset.md)"
    )
    group.add_argument(
        "--channels", nargs="+", default=[], metavar="NAME", help="which images of a case"
    )
    group.add_argument(
        "--labels", nargs="+", default=[], metavar="NAME", help="which structures; without it, all"
    )
    group.add_argument(
        "--values",
        nargs="+",
        default=[],
        metavar="VALUE",
        help=(
            "the value in the masks of the background and of each of --labels, where they are not "
            "0, 1, 2, ...: 255 128 0; several of one label as 0,1,6"
        ),
    )
    group.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help=(
            "how the paths of images end, one for each channel: '{case}/image.nii.gz'; {case} and "
            "{patient} stand for their names, {study} for a folder within a patient's, {group} "
            "for a folder such as a centre's, {label} for the image-level label, * for anything"
        ),
    )
    group.add_argument(
        "--masks",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help=(
            "the same of the masks, one for each rater, or one with {rater}; {part} stands for "
            "what tells files apart that are joined"
        ),
    )
    group.add_argument(
        "--image_labels",
        type=path_of,
        metavar="TABLE",
        help=(
            "a CSV file (or .csv.gz) that says which of --labels each image shows, in a column for "
            "each, or as words of one column (A|B)"
        ),
    )
    for name, cell in (("blank", "an empty cell"), ("uncertain", "-1")):
        group.add_argument(
            f"--{name}",
            choices=MEANINGS,
            help=f"what {cell} of that table means; of unknown, as if no line named the image",
        )
    group.add_argument(
        "--test_list",
        type=path_of,
        metavar="FILE",
        help="a text file with the names of the images for testing, one a line",
    )
    group.add_argument("--task", metavar="NAME", help="which of several tasks of a download")
    add_flag(group, "--tags", "add image-level labels of each axial slice")
    add_flag(
        group, "--slices", "write each axial slice as an image of its own, with image-level labels"
    )
    add_number(
        group,
        "--min_share",
        number_in(MIN_SHARE, is_whole=False),
        "a label of a slice is 1 where more than this share of its pixels shows it; without it, "
        f"{DEFAULT_MIN_SHARE}",
        metavar="SHARE",
    )


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_convert_dataset`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace, writes_raw=True)
    folder = api.convert_dataset(**vars(given), progress=progress_bar)
    print(f"wrote '{folder}'; next: diffunet_plan_and_preprocess -d {quote(folder.name)}")


if __name__ == "__main__":
    raise SystemExit(main())
