"""Whether the raw data are still those from which plans, folds and stored cases were made."""

import contextlib
import logging
from pathlib import Path

from diffunet.data.raw.dataset import RawDataset, open_dataset
from diffunet.data.raw.dataset_state import DatasetState, may_have_changed
from diffunet.errors import DatasetError
from diffunet.workspace import STATE_FILE, Workspace

logger = logging.getLogger(__name__)


def warn_of_changes(raw: RawDataset, folder: Path, *, remedy: str) -> None:
    """Warn of changes of a raw dataset since the plans in its preprocessed folder were made."""
    planned = DatasetState.load(folder / STATE_FILE)
    changes = DatasetState.of(raw).changes_since(planned) if planned is not None else ()
    if changes:
        logger.warning(
            "the data have changed since plans and folds were made: %s; %s",
            "; ".join(changes),
            remedy,
        )


def warn_of_changes_since(place: Workspace, dataset: str) -> None:
    """Warn if the raw dataset of what is preprocessed has changed: what is stored does not.

    Nothing is said where the raw dataset is not there, or faulty now: no training needs it.
    """
    raw, folder = place.raw / dataset, place.preprocessed / dataset
    if not may_have_changed(raw, since=folder / STATE_FILE):
        return
    with contextlib.suppress(DatasetError):
        warn_of_changes(
            open_dataset(raw),
            folder,
            remedy="this training knows the data as they were; to take the changes in, run "
            f"diffunet_plan_and_preprocess -d {dataset}",
        )
