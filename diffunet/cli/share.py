"""`diffunet_export_model`, `diffunet_install_model` and `diffunet_model_info`."""

import argparse

from diffunet.cli.command import command_of, new_parser, resolve_workspace
from diffunet.cli.options import add_model, add_path, add_workspace
from diffunet.workspace import path_of


def export_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_export_model`."""
    made = new_parser(
        "Write a trained model into one zip file that predicts anywhere: averaged weights, plans, "
        "fingerprint and scores. It names no patient: cases are left out of all of them.",
        epilog="examples:\n  diffunet_export_model -d 1 -o lidc.zip --license CC-BY-4.0\n"
        "  diffunet_export_model --model FOLDER -o small.zip --precision bfloat16",
        command="diffunet_export_model",
    )
    add_path(made, "-o", "the zip file", dest="output", required=True, metavar="OUTPUT")
    add_model(
        made,
        metavar="FOLDER",
        model="folder of a trained model",
        method="without it, the method of the plans",
    )
    made.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "bfloat16"],
        help="of the weights in the file; bfloat16 halves it, and rounds each weight to 8 bits",
    )
    made.add_argument(
        "--license",
        metavar="TEXT",
        help="under which the model may be used; without it, what dataset.json says",
    )
    made.add_argument(
        "--note", default="", metavar="TEXT", help="such as the data that it was trained on"
    )
    add_workspace(made)
    return made


@command_of(export_parser)
def main_export(given: argparse.Namespace) -> None:
    """Run `diffunet_export_model`."""
    from diffunet import api

    if given.model is None:
        given.workspace = resolve_workspace(given.workspace)
    path = api.export_model(**vars(given))
    print(f"wrote '{path}' ({path.stat().st_size / 1e6:.1f} MB); what it holds:")
    _print_info(api.model_info(path))


def install_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_install_model`."""
    made = new_parser(
        "Unpack a model that diffunet_export_model wrote into the results of the workspace. "
        "Everything in the file is checked first, and nothing in it is run: it may come from "
        "anyone. To predict without installing, give the file to diffunet_predict --model.",
        epilog="example:\n  diffunet_install_model lidc.zip\n"
        "  diffunet_predict -i IMAGES -o PREDICTIONS -d 1",
    )
    made.add_argument(
        "file",
        type=path_of,
        metavar="ZIP",
        help="the file of a model; or lidc_nodules, the model that comes with diffunet",
    )
    made.add_argument(
        "-d",
        dest="dataset",
        metavar="NAME",
        help="name of the dataset to install it under; without it, the one in the file",
    )
    add_workspace(made)
    return made


@command_of(install_parser)
def main_install(given: argparse.Namespace) -> None:
    """Run `diffunet_install_model`."""
    from diffunet import api

    workspace = resolve_workspace(given.workspace)
    folder = api.install_model(given.file, workspace=workspace, dataset=given.dataset)
    print(f"installed into '{folder}':")
    info = api.model_info(folder)
    _print_info(info)
    method, plans_name, configuration = folder.name.split("__")
    print(
        f"predict with: diffunet_predict -i IMAGES -o PREDICTIONS -d {folder.parent.name} "
        f"-m {method} -p {plans_name} -c {configuration}"
    )


def info_parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_model_info`."""
    made = new_parser(
        "Say what a trained model is for, how it draws, and how its folds scored: channels, "
        "labels, spacing, samples, licence.",
        epilog="examples:\n  diffunet_model_info lidc.zip\n"
        "  diffunet_model_info diffunet_workspace/results/Dataset001_LIDC/"
        "diffusion__diffunet_plans__2d",
    )
    made.add_argument(
        "model",
        type=path_of,
        metavar="MODEL",
        help="folder or zip file of a model; or lidc_nodules, which comes with diffunet",
    )
    return made


@command_of(info_parser)
def main_info(given: argparse.Namespace) -> None:
    """Run `diffunet_model_info`."""
    from diffunet import api

    _print_info(api.model_info(given.model))


def _print_info(info: dict[str, object]) -> None:
    from diffunet.sharing.info import lines_of

    print(*lines_of(info), sep="\n")


if __name__ == "__main__":
    raise SystemExit(main_info())
