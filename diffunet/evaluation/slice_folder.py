"""Score the slices of a folder of predictions against a folder of references."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool

from diffunet.errors import DatasetError
from diffunet.evaluation.baselines import majority
from diffunet.evaluation.budget import processes_within_memory
from diffunet.evaluation.folder import for_each_case, ignored_of, masks_of
from diffunet.evaluation.scored_files import (
    LabelMaps,
    ScoredFiles,
    ScoredFolders,
    pair_files,
    read_maps,
)
from diffunet.evaluation.slice_scores import SliceScores, score_slices
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress, without_progress


@dataclass(frozen=True, kw_only=True)
class _ScoredSlices:
    """The slices of a case per label, or what is wrong with its files."""

    slices: dict[str, list[SliceScores]]
    problems: tuple[str, ...]


def score_slice_folder(
    folders: ScoredFolders, *, num_processes: int, progress: Progress = without_progress
) -> dict[str, list[SliceScores]]:
    """Return, by label, the scores of every slice of every case, in order.

    The raters' majority is the reference, and the consensus is what is scored.

    Raises:
        DatasetError: all faults of the two folders at once.
    """
    problems: list[str] = []
    paired = pair_files(folders, problems=problems)
    if problems:
        raise DatasetError(problems)
    scored: dict[str, list[SliceScores]] = {name: [] for name in folders.labels.names}
    for found in for_each_case(
        paired,
        partial(_score_files, labels=folders.labels, patients=folders.patients),
        num_processes=processes_within_memory(paired, num_processes),
        progress=progress,
        description="scoring",
    ):
        problems += found.problems
        for name, slices in found.slices.items():
            scored[name] += slices
    if problems:
        raise DatasetError(problems)
    return scored


def _score_files(
    files: ScoredFiles, *, labels: LabelScheme, patients: Mapping[str, str]
) -> _ScoredSlices:
    try:
        maps = read_maps(files, labels=labels)
    except DatasetError as error:
        return _ScoredSlices(slices={}, problems=error.problems)
    slices: dict[str, list[SliceScores]] = {}
    for index, name in enumerate(labels.names):
        prediction, reference, ignored = _whole_masks(maps, labels=labels, index=index)
        slices[name] = score_slices(
            prediction,
            reference,
            spacing_mm=maps.spacing_mm,
            case=files.case,
            patient=patients.get(files.case, files.case),
            ignored=ignored,
        )
    return _ScoredSlices(slices=slices, problems=())


def _whole_masks(
    maps: LabelMaps, *, labels: LabelScheme, index: int
) -> tuple[
    Bool[np.ndarray, "*spatial"],
    Bool[np.ndarray, "*spatial"],
    Bool[np.ndarray, "*spatial"] | None,
]:
    """Return prediction, raters' majority and what is ignored for label number `index`."""
    prediction, reference, ignored = (np.zeros(maps.packed.shape, bool) for _ in range(3))
    for block in maps.blocks():
        prediction[block.rows] = masks_of(labels, index, block.prediction)
        reference[block.rows] = majority(masks_of(labels, index, block.references))
        if labels.has_ignore_label:
            ignored[block.rows] = ignored_of(labels, block)
    return prediction, reference, ignored if labels.has_ignore_label else None
