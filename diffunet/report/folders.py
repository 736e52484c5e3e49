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

_MOST_NAMED = 3

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
        found = "a file" if folder.exists() else "none"
        raise UsageError(f"'{folder}': expected a folder, found {found}; {_remedy(folder)}")
    if (kind := _known_kind(folder)) is not None:
        return kind
    if (folder / IMAGES_FOLDER).is_dir():
        raise UsageError(
            f"'{folder}' is a raw dataset: run diffunet_plan_and_preprocess, and give the folder "
            "that it makes"
        )
    raise UsageError(f"'{folder}' holds nothing to report about; {_remedy(folder)}")


def _known_kind(folder: Path) -> Kind | None:
    if fold_folders(folder):
        return "model"
    if (folder / RECORDS_FOLDER).is_dir() or (folder / SUMMARY_FILE).is_file():
        return "prediction"
    return "dataset" if (folder / FINGERPRINT_FILE).is_file() else None


def _remedy(folder: Path) -> str:
    """Return what to give: the folder above or the folders in this one, where they are such."""
    above = folder.absolute().parent
    below = sorted(folder.iterdir()) if folder.is_dir() else []
    near = [
        f"'{path}'" for path in (above, *below) if path.is_dir() and _known_kind(path) is not None
    ]
    return f"did you mean {' or '.join(near[:_MOST_NAMED])}?" if near else f"give {_KINDS}"


def fold_folders(folder: Path) -> tuple[Path, ...]:
    """Return the folders of the trained folds in a model folder, sorted; or the one that it is."""
    if _is_fold(folder):
        return (folder,)
    named = (path for path in folder.glob("fold_*") if is_fold(path.name.removeprefix("fold_")))
    found = [path for path in named if _is_fold(path)]
    return tuple(sorted(found, key=lambda path: (len(path.name), path.name)))  # 2 before 10


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
