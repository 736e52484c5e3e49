"""The settings that a store was made with, so that readers notice plans edited later."""

import logging
from pathlib import Path
from typing import Any

from diffunet.data.raw.dataset_state import DatasetState
from diffunet.data.store.case_store import CaseStore
from diffunet.errors import WorkspaceError
from diffunet.jsonio import as_json
from diffunet.labels import LabelScheme
from diffunet.plans import PreprocessingPlan, ResolvedPlans
from diffunet.plans.differences import differences
from diffunet.workspace import STATE_FILE

logger = logging.getLogger(__name__)

_DATA = "data"


def recipe_of(
    plan: PreprocessingPlan,
    *,
    transpose_forward: tuple[int, ...],
    labels: LabelScheme | None,
    data: str | None = None,
) -> dict[str, Any]:
    """Return, as JSON can hold it, what is done to every case of a store.

    Args:
        labels: of a store of label maps; None for one of images.
        data: digest of the `DatasetState` that the store is made from; None where it is not asked.
    """
    recipe: dict[str, Any] = {"preprocessing": plan, "transpose_forward": transpose_forward}
    if labels is not None:
        recipe["labels"] = dict(zip(labels.names, labels.values, strict=True))
    if data is not None:
        recipe[_DATA] = data
    return as_json(recipe)


def check_recipe(store: CaseStore, plans: ResolvedPlans, *, labels: LabelScheme | None) -> None:
    """Check that a store was made with the settings and from the data of a training's plans.

    Args:
        plans: of the training.
        labels: of the dataset, for a store of label maps; None for one of images.

    Raises:
        WorkspaceError: something that preprocessing decides differs.
    """
    found = {key: value for key, value in store.recipe.items() if key != _DATA}
    if not found:
        return
    expected = recipe_of(
        plans.configuration.preprocessing, transpose_forward=plans.transpose_forward, labels=labels
    )
    if changed := differences(found, expected):
        listing = "; ".join(f"{path}: {old} -> {new}" for path, (old, new) in changed.items())
        raise WorkspaceError(
            f"'{store.folder}' was preprocessed with other settings than this training asks for "
            f"({listing}). Preprocessing decides that, and it cannot be set for one run: leave it "
            f"out of --set. If the plans say so, run diffunet_preprocess -d {plans.dataset_name} "
            f"-p {plans.plans_name} -c {plans.configuration_name}, or put the plans back"
        )


def warn_of_other_data(store: CaseStore, preprocessed_folder: Path) -> None:
    """Warn if raw data changed between planning and preprocessing."""
    planned = DatasetState.load(preprocessed_folder / STATE_FILE)
    made_from = store.recipe.get(_DATA)
    if planned is not None and made_from is not None and planned.digest != made_from:
        logger.warning(
            "'%s' was preprocessed from other raw data than '%s' was planned for; run "
            "diffunet_plan_and_preprocess to make both from the same data",
            store.folder,
            preprocessed_folder,
        )
