"""`diffunet_example_dataset`."""

import argparse
import shlex

from diffunet.cli.command import command_of, new_parser, resolve_workspace
from diffunet.cli.options import add_seed, add_workspace
from diffunet.data.examples import EXAMPLES


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_example_dataset`."""
    kinds = "\n".join(f"  {kind:20} {each.summary}" for kind, each in EXAMPLES.items())
    made = new_parser(
        "Generate a small raw dataset to try the program on. The same seed gives the same dataset; "
        "if it is there already, it stays as it is.",
        epilog=f"kinds:\n{kinds}\n\n"
        "examples:\n  diffunet_example_dataset several_raters\n"
        "  diffunet_plan_and_preprocess -d 901",
        command="diffunet_example_dataset",
    )
    made.add_argument("kind", metavar="KIND", choices=list(EXAMPLES), help="see below")
    made.add_argument(
        "-d",
        dest="dataset",
        metavar="DATASET",
        help="number, or whole name such as Dataset012_NAME; without it, 901, 902, 903 or 904",
    )
    add_seed(made, "seed of the images and of what raters draw")
    add_workspace(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_example_dataset`."""
    from diffunet import api

    given.workspace = resolve_workspace(given.workspace, writes_raw=True)
    folder = api.example_dataset(**vars(given))
    number = int(folder.name.removeprefix("Dataset").split("_")[0])
    images = shlex.quote(str(folder / "imagesTs"))
    print("go on with\n  " + EXAMPLES[given.kind].next_command.format(number=number, images=images))
