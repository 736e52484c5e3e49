"""Mixtures of two models on the validation cases of all folds: joined, and scored."""

import itertools
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffunet.data.image_io import read_label_map
from diffunet.data.store.case_store import CaseStore
from diffunet.ensembling.join import EnsembleOptions, join_folders
from diffunet.errors import UsageError
from diffunet.evaluation.scores import CaseScores, ScoreOptions, score_case
from diffunet.inference.written import WrittenFolder, read_masks, read_written
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress
from diffunet.selection.accumulate import accumulate
from diffunet.selection.compare import Candidate
from diffunet.selection.criterion import Criterion
from diffunet.selection.folds import CrossValidation
from diffunet.training.final_validation import stored_references
from diffunet.workspace import ENSEMBLE_FILE

logger = logging.getLogger(__name__)

_OPTIONS = ScoreOptions(has_surface_scores=False, has_trivial_answers=False, subset_sizes=())


def mixture_folder(folder: Path, names: Sequence[str]) -> Path:
    """Return where the mixture of models lies among all mixtures."""
    return folder / "__and__".join(names)


def mixtures_of(
    models: Sequence[CrossValidation],
    folder: Path,
    *,
    references: CaseStore,
    criterion: Criterion,
    progress: Progress,
) -> tuple[list[Candidate], dict[str, str]]:
    """Join the samples of every pair of models, and score them.

    Args:
        folder: gets a folder of predictions for each pair; those of earlier calls are replaced.
        references: the preprocessed label maps of the dataset.

    Returns:
        The candidates, and why pairs or models could not take part.
    """
    gathered: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for model in models:
        try:
            accumulate(model, model.gathered_folder, progress=progress)
        except UsageError as cause:
            left_out[model.name] = str(cause)
        else:
            gathered[model.name] = model.gathered_folder
    found: list[Candidate] = []
    able = [model for model in models if model.name in gathered]
    for pair in itertools.combinations(able, 2):
        target = mixture_folder(folder, [model.name for model in pair])
        if (target / ENSEMBLE_FILE).is_file():
            shutil.rmtree(target)
        try:
            join_folders(
                [gathered[model.name] for model in pair],
                target,
                options=EnsembleOptions(),
                progress=progress,
            )
        except UsageError as cause:
            left_out[" + ".join(model.name for model in pair)] = str(cause)
            continue
        found.append(
            _scored(pair, target, references=references, criterion=criterion, progress=progress)
        )
    return found, left_out


def _scored(
    pair: Sequence[CrossValidation],
    folder: Path,
    *,
    references: CaseStore,
    criterion: Criterion,
    progress: Progress,
) -> Candidate:
    parts = [model.scores for model in pair]
    written = read_written(folder)
    values: Mapping[str, float] = {
        case: criterion.value_of_mixture(
            _scores_of(case, written, references=references, labels=pair[0].labels),
            [scores[case] for scores in parts],
            draws_samples=[model.draws_samples for model in pair],
        )
        for case in progress(written.cases, len(written.cases), "scoring mixtures")
    }
    return Candidate(parts=tuple(model.name for model in pair), values=values)


def _scores_of(
    case: str, folder: WrittenFolder, *, references: CaseStore, labels: LabelScheme
) -> CaseScores:
    known = stored_references(references, case, labels=labels)
    written = folder.cases[case]
    files = [(written, stored) for stored in written.samples]
    return score_case(
        np.stack([masks for masks, _ in read_masks(files, labels=labels)]),
        known.masks,
        spacing_mm=known.spacing_mm,
        ignored=known.ignored,
        consensus=labels.masks(read_label_map(written.mask)[0]),
        case=case,
        options=_OPTIONS,
    )
