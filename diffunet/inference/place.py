"""Where a prediction may be written: it never replaces files that it did not write."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffunet.data.prediction_records import RECORDS_FOLDER, setting_differences
from diffunet.data.raw.case_files import CaseFiles, ending_of_a_file, listing
from diffunet.errors import DiffunetError, UsageError
from diffunet.jsonio import read_json, write_json
from diffunet.workspace import RESOLVED_PLANS_FILE

RUN_FILE = Path(RECORDS_FOLDER) / ".run.json"  # its dot: no case has this name


def is_output_file(input: Path, output: Path, *, file_ending: str) -> bool:
    """Return whether `output` means a file for one mask; otherwise it means a folder.

    What is a folder already stays one. A name that ends as files do is a file's.

    Args:
        file_ending: of the model's dataset, in which masks are written.

    Raises:
        UsageError: it means a file, but the run cannot write one, or not with this ending.
    """
    ending = ending_of_a_file(output)
    if output.is_dir() or ending is None:
        return False
    if not input.is_file():
        raise UsageError(
            f"-o '{output}' is the name of a file ({ending}), but -i '{input}' is a folder, whose "
            "masks need a folder; give a folder (to use one with this name, make it first)"
        )
    if not output.name.lower().endswith(file_ending.lower()):
        raise UsageError(
            f"-o '{output}' ends in '{ending}', but the model writes '{file_ending}', as its "
            f"dataset does; give a name that ends in '{file_ending}', or a folder"
        )
    return True


def check_output_file(files: CaseFiles, output_file: Path) -> None:
    """Check that a single prediction replaces nothing.

    Raises:
        UsageError: it would.
    """
    inputs = {each for path in files.images for each in (path.absolute(), _real(path))}
    if inputs.intersection((output_file.absolute(), _real(output_file))):
        raise UsageError(f"the output '{output_file}' is the input; give another name")
    if output_file.exists() or output_file.is_symlink():
        raise UsageError(
            f"the output '{output_file}' is there already; move or remove it, or give another name"
        )


def check_output_folder(
    cases: Sequence[CaseFiles],
    folder: Path,
    *,
    signature: str = RESOLVED_PLANS_FILE,
    command: str = "diffunet_predict",
) -> None:
    """Check that a folder can take predictions: it is absent, empty, or holds only predictions.

    Args:
        signature: the first file that `command` writes.

    Raises:
        UsageError: it is not a folder, is or lies in the folder of the images, or holds other
            files.
    """
    _check_apart(cases, folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"the output '{folder}' is a file; give the name of a folder")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    names = [name for name in names if not name.startswith(".")]
    is_ours = signature in names
    is_fold = any(name.startswith("checkpoint_") for name in names)
    if names and (is_fold or not is_ours):
        raise UsageError(
            f"the output folder '{folder}' holds files that {command} did not write: "
            f"{listing(names)}; choose an empty folder, or a new one"
        )


def sign_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Record that a run with these settings now writes to `folder`."""
    write_json(folder / RUN_FILE, settings)


def check_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that no run of other settings has begun in `folder` since this one.

    Raises:
        UsageError: one has; the two would mix their samples.
    """
    try:
        found = read_json(folder / RUN_FILE)
    except DiffunetError:
        return
    if isinstance(found, dict) and (names := setting_differences(settings, found)):
        raise UsageError(
            f"'{folder}': another prediction has begun to write there, with other settings "
            f"({'; '.join(names)}); this one has stopped. Predict into a folder of its own"
        )


def _check_apart(cases: Sequence[CaseFiles], folder: Path) -> None:
    """Check that the output is not among the images; a single one may have a folder beside it."""
    output = _real(folder)
    images = [path for files in cases for path in files.images]
    inputs = {each for path in images for each in (_real(path.parent), _real(path).parent)}
    for each in inputs:
        if each == output or (len(cases) > 1 and each in output.parents):
            raise UsageError(
                f"the output folder '{folder}' lies in the input folder '{each}'; choose one "
                "outside of it"
            )


def _real(path: Path) -> Path:
    """Return a path without links; unlike `Path.resolve`, of a link to itself too."""
    return Path(os.path.realpath(path))
