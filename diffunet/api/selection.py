"""What the validations of all folds say."""

import logging
from collections.abc import Sequence
from pathlib import Path

from diffunet.arguments import Dataset, model_folder_of, workspace_of
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import DEFAULT_PLANS_NAME, Workspace

logger = logging.getLogger(__name__)


def accumulate_crossval_results(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    configuration: str | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    folds: Sequence[int | str] | None = None,
    output: Path | str | None = None,
    progress: Progress = without_progress,
) -> Path:
    """Gather the validation cases of all folds of a model in one folder, and return it.

    Each case is there as the fold drew it that did not see it in training, with its samples where
    they were saved; `summary.json` has the scores of the cross-validation.

    Args:
        folds: None for all that the splits have.
        output: replaced if it is there; None for `crossval_results_folds_0_1_...` beside the folds.

    Raises:
        CheckpointError: a fold has no final validation, or a damaged one.
        UsageError: the folds do not fit together, or have no masks; or the output holds other
            files.
        WorkspaceError, DatasetError: there is no such model, or there are no splits.
    """
    from diffunet.api.asked import ALL_FOLDS, folds_of
    from diffunet.selection.accumulate import accumulate
    from diffunet.selection.folds import read_cross_validation

    place = workspace_of(workspace)
    names = folds_of(ALL_FOLDS if folds is None else folds, place.preprocessed_folder(dataset))
    folder = model_folder_of(place, dataset, method, plans_name, configuration)
    found = read_cross_validation(folder, names)
    target = folder / f"crossval_results_folds_{'_'.join(names)}" if output is None else output
    accumulate(found, Path(target), progress=progress)
    logger.info("wrote '%s' (%d cases)", target, len(found.scores))
    return Path(target)
