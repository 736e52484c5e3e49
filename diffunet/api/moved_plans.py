"""Plans of one dataset for another."""

import functools
import logging
from pathlib import Path

from diffunet.api.preparation import alone_in_preprocessed, write_what_is_missing
from diffunet.arguments import Dataset, new_plans_path, plans_of, workspace_of
from diffunet.calls import from_python
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.store.nnunet_files import refuse_nnunet_folder
from diffunet.errors import UsageError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.plans import Plans
from diffunet.plans.edits import save_planned
from diffunet.workspace import DEFAULT_PLANS_NAME, FINGERPRINT_FILE, Workspace

logger = logging.getLogger(__name__)


@from_python
def move_plans(
    source: Dataset,
    target: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    new_name: str | None = None,
) -> Plans:
    """Write plans of `source` as plans of `target`, so that weights of one fit the other.

    Args:
        target: a raw dataset; preprocess it with these plans next.
        new_name: None for the name that the plans have.

    Raises:
        InUseError: another command plans or preprocesses `target`.
        WorkspaceError, DatasetError: there is no such dataset or plans.
        PlansError: the plans do not fit the images of `target`.
        UsageError: `target` has other plans of this name.
    """
    place = workspace_of(workspace)
    folder = place.preprocessed_folder(source)
    moved = functools.partial(_moved_into, plans_of(folder, plans_name), new_name or plans_name)
    return alone_in_preprocessed(moved)(target, workspace=place)


def _moved_into(
    plans: Plans, name: str, target: Dataset, *, workspace: Workspace | Path | None
) -> Plans:
    from diffunet.data.image_io import read_image
    from diffunet.planning.moved import moved_plans

    place = workspace_of(workspace)
    raw = open_dataset(place.raw_folder(target))
    folder = place.preprocessed / raw.name
    refuse_nnunet_folder(folder)
    _, geometry = read_image(raw.training_cases[0].images, num_channels=raw.num_channels)
    moved = moved_plans(
        plans,
        dataset_name=raw.name,
        plans_name=name,
        num_channels=raw.num_channels,
        dimensions=len(geometry.spacing_mm),
        has_image_labels=raw.image_labels is not None,
        orientations=_orientations_of(folder),
    )
    path = new_plans_path(folder, name, option="-tp")
    if path.exists() and Plans.load(path) != moved:
        raise UsageError(
            f"'{path}' holds other plans, which would be lost; name the moved ones with -tp"
        )
    write_what_is_missing(raw, folder)
    save_planned(moved, path)
    logger.info(
        "plans of %s are now in '%s'; next: diffunet_preprocess -d %s -p %s",
        plans.dataset_name,
        path,
        raw.name,
        name,
    )
    return moved


def _orientations_of(folder: Path) -> tuple[str, ...]:
    """Return those of a dataset's training volumes; none where it was not measured."""
    path = folder / FINGERPRINT_FILE
    return Fingerprint.load(path).geometry.orientations if path.is_file() else ()
