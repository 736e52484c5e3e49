"""What a folder is: a preprocessed dataset, a model, or predictions."""

from pathlib import Path
from typing import Literal

from diffunet.data.prediction_records import RECORDS_FOLDER
from diffunet.errors import UsageError
from diffunet.names import is_fold
from diffunet.workspace import (
    FINGERPRINT_FILE,
    IMAGES_FOLDER,
    METRICS_FILE,
    RESOLVED_PLANS_FILE,
    SUMMARY_FILE,
)

REPORT_FILE = "report.html"

Kind = Literal["dataset", "model", "prediction"]

_KINDS = (
    "a preprocessed dataset, a model (METHOD__PLANS__CONFIGURATION, or one fold of it), or an "
    "output folder of diffunet_predict"
)


def kind_of(folder: Path) -> Kind:
    """Return what `folder` is.

    Raises:
        UsageError: nothing that a report is made of.
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}': expected a folder, found none; give {_KINDS}")
    if fold_folders(folder):
        return "model"
    if (folder / RECORDS_FOLDER).is_dir() or (folder / SUMMARY_FILE).is_file():
        return "prediction"
    if (folder / FINGERPRINT_FILE).is_file():
        return "dataset"
    if (folder / IMAGES_FOLDER).is_dir():
        raise UsageError(
            f"'{folder}' is a raw dataset: run diffunet_plan_and_preprocess, and give the folder "
            "that it makes"
        )
    raise UsageError(f"'{folder}' holds nothing to report about; give {_KINDS}")


def fold_folders(folder: Path) -> tuple[Path, ...]:
    """Return the folders of the trained folds in a model folder, sorted; or the one that it is."""
    if _is_fold(folder):
        return (folder,)
    named = (path for path in folder.glob("fold_*") if is_fold(path.name.removeprefix("fold_")))
    return tuple(sorted(path for path in named if _is_fold(path)))


def _is_fold(folder: Path) -> bool:
    if (folder / METRICS_FILE).is_file():
        return True
    return folder.name.startswith("fold_") and (folder / RESOLVED_PLANS_FILE).is_file()


def require_predictions(folder: Path, kind: Kind) -> None:
    """Check that options about images and references fit a folder.

    Raises:
        UsageError: it holds no predictions.
    """
    if kind != "prediction":
        raise UsageError(
            f"'{folder}' is a {kind}, which is shown without images and references (-i, -r); give "
            "a folder of predictions, such as the validation of a fold"
        )
