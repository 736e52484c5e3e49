"""What the validations of all folds say."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffunet.api.combining import determine_postprocessing
from diffunet.arguments import Dataset, model_folder_of, workspace_of
from diffunet.calls import from_python
from diffunet.errors import DatasetError, UsageError
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import DEFAULT_PLANS_NAME, LABELS_FOLDER, POSTPROCESSING_FILE, Workspace

if TYPE_CHECKING:
    from diffunet.selection.report import Cleaning

logger = logging.getLogger(__name__)


@from_python
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
    from diffunet.evaluation.table import format_table
    from diffunet.selection.accumulate import accumulate
    from diffunet.selection.folds import read_cross_validation

    place = workspace_of(workspace)
    names = folds_of(ALL_FOLDS if folds is None else folds, place.preprocessed_folder(dataset))
    folder = model_folder_of(place, dataset, method, plans_name, configuration)
    found = read_cross_validation(folder, names)
    target = found.gathered_folder if output is None else Path(output)
    summary = accumulate(found, target, progress=progress)
    logger.info("%s\nwrote '%s' (%d cases)", format_table(summary), target, len(found.scores))
    return target


@from_python
def find_best_configuration(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    configurations: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    plans_names: Sequence[str] | None = None,
    folds: Sequence[int | str] | None = None,
    has_mixtures: bool = True,
    progress: Progress = without_progress,
) -> dict[str, Any]:
    """Compare the trained models of a dataset, and their mixtures, on the cases of all folds.

    One rater: by the Dice of the consensus. Several: by the unbiased GED of the samples. What is
    found is written into `results/DATASET/best_configuration`, logged, and returned as it stands in
    `best_configuration.json`: a table, how optimistic the winner's score is, and the commands.

    Args:
        configurations, methods, plans_names: to compare; None for all that are trained.
        folds: None for all that the splits have.
        has_mixtures: join the samples of every two models too; only of saved samples.

    Raises:
        CheckpointError: a model that was asked for lacks a fold, or one is damaged.
        UsageError: nothing is there to compare, or not on the same cases.
        WorkspaceError, DatasetError: there is no such dataset, or there are no splits.
    """
    from diffunet.api.asked import ALL_FOLDS, folds_of
    from diffunet.locks import in_use
    from diffunet.selection.best import choose_best, folder_of_winner, models_of
    from diffunet.training.fold_data import LABELS

    place = workspace_of(workspace)
    preprocessed = place.preprocessed_folder(dataset)
    results = place.results / preprocessed.name
    models, left_out = models_of(
        results,
        methods=methods,
        plans_names=plans_names,
        configurations=configurations,
        folds=folds_of(ALL_FOLDS if folds is None else folds, preprocessed),
    )
    identifier = models[0].plans.configuration.data_identifier
    target = results / "best_configuration"
    mixtures = target / "mixtures"
    with in_use(target):
        choice = choose_best(
            models,
            label_store=preprocessed / identifier / LABELS,
            folder=mixtures,
            has_mixtures=has_mixtures,
            left_out=left_out,
            progress=progress,
        )
        winner = folder_of_winner(
            choice,
            mixtures,
            is_gathered=has_mixtures and len(models) > 1,
            progress=progress,
        )
        reference = place.raw / preprocessed.name / LABELS_FOLDER
        file = target / POSTPROCESSING_FILE
        reasons, cleaning = dict(choice.left_out), None
        try:
            cleaning = _decided(winner, reference, file=file, progress=progress)
        except (DatasetError, UsageError) as cause:
            reasons["post-processing"] = str(cause)
        choice = replace(choice, left_out=reasons, workspace=tuple(place.words), cleaning=cleaning)
        choice.save(target)
    logger.info("%swrote '%s'", choice.as_markdown(), target)
    return choice.as_json()


def _decided(
    prediction: Path | None, reference: Path, *, file: Path, progress: Progress
) -> "Cleaning":
    """Decide the post-processing of the winner on its validation cases, and write it.

    Raises:
        UsageError, DatasetError: there are no masks, or no references, to decide by.
    """
    from diffunet.postprocessing.plan import PostProcessing
    from diffunet.selection.report import Cleaning

    if prediction is None or not reference.is_dir():
        missing = "the masks of its validation" if prediction is None else f"'{reference}'"
        raise UsageError(
            f"expected the winner's masks and their references, found none of {missing}; decide "
            "with diffunet_determine_postprocessing"
        )
    determine_postprocessing(prediction, reference, output=file, num_processes=0, progress=progress)
    return Cleaning(plan=PostProcessing.load(file), file=file)
