"""Score a folder of predictions against a folder of references."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Integer

from diffunet.data.image_io import read_label_map
from diffunet.data.prediction_records import read_record
from diffunet.errors import DatasetError
from diffunet.evaluation.blocks import summary_blocks
from diffunet.evaluation.budget import processes_within_memory
from diffunet.evaluation.label_masks import MaskBlock
from diffunet.evaluation.scored_files import (
    LabelMaps,
    MapBlock,
    ScoredFiles,
    ScoredFolders,
    pair_files,
    read_maps,
)
from diffunet.evaluation.scores import (
    DEFAULT_OPTIONS,
    CaseScores,
    ScoreOptions,
    score_label,
)
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress, map_ordered, without_progress

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class _ScoredCase:
    """The scores of a case, or what is wrong with its files."""

    scores: CaseScores | None
    problems: tuple[str, ...]


def evaluate_folders(
    folders: ScoredFolders,
    *,
    num_processes: int,
    progress: Progress = without_progress,
    options: ScoreOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Score every case, and return the summary.

    Args:
        num_processes: 0 means "in this process"; fewer work where cases are so large that they
            would take more than `budget.MEMORY_BYTES` together.

    Returns:
        nnU-Net's blocks `foreground_mean`, `mean` and `metric_per_case` (against the raters'
        majority, keys as nnU-Net has them; unlike there, two empty masks have Dice 1), and
        `distribution`, the result of `summarise` with the origin of the centre blob. Each case has
        the digest of its predicted files too, so that scores of former ones are known later.

    Raises:
        DatasetError: every fault at once: missing, extra or unreadable files, shapes or numbers of
            samples that differ, unknown integers.
    """
    problems: list[str] = []
    paired, labels = pair_files(folders, problems=problems), folders.labels
    num_processes = processes_within_memory(paired, num_processes)
    run = partial(for_each_case, paired, num_processes=num_processes, progress=progress)
    if problems:
        checked = run(partial(_check_files, labels=labels), description="checking")
        raise DatasetError([*problems, *chain.from_iterable(checked)])
    blob_volumes = None
    if options.has_trivial_answers:
        found = run(partial(_marked_volumes, labels=labels), description="references")
        blob_volumes = _mean_volumes(found, num_labels=len(labels.names))
    score = partial(_score_files, labels=labels, blob_volumes=blob_volumes, options=options)
    results = run(score, description="scoring")
    problems = [problem for found in results for problem in found.problems]
    if problems:
        raise DatasetError(problems)
    scores = [found.scores for found in results if found.scores is not None]
    summary = summary_blocks(
        dict(zip((files.case for files in paired), scores, strict=True)),
        patients=folders.patients,
        labels=labels,
        files={
            files.case: {
                "reference_file": _names(files.references),
                "prediction_file": str(files.prediction),
                **_state_of(files),
            }
            for files in paired
        },
        options=options,
    )
    if blob_volumes is not None:
        summary["distribution"]["centre_blob"] = {
            "origin": "mean over these references that mark anything",
            "volumes": dict(zip(labels.names, map(float, blob_volumes), strict=True)),
        }
    return summary


def _state_of(files: ScoredFiles) -> dict[str, str]:
    """Return the digest of what was predicted of a case, where its record tells."""
    record = read_record(files.prediction.parent, files.case)
    digest = None if record is None else record.digest
    return {} if digest is None else {"prediction_digest": digest}


def for_each_case(
    paired: Sequence[ScoredFiles],
    function: Callable[[ScoredFiles], Result],
    *,
    num_processes: int,
    progress: Progress,
    description: str,
) -> list[Result]:
    """Return what `function` returns of each case, in order."""
    results = map_ordered(
        function, paired, num_processes=num_processes, describe=lambda files: files.case
    )
    return list(progress(results, len(paired), description))


def _check_files(files: ScoredFiles, *, labels: LabelScheme) -> list[str]:
    """Return the faults of a case's files, without scoring them."""
    try:
        read_maps(files, labels=labels)
    except DatasetError as error:
        return list(error.problems)
    return []


def _marked_volumes(files: ScoredFiles, *, labels: LabelScheme) -> list[list[float]]:
    """Return, per label, the volumes in mm^3 of the raters' masks that are not empty."""
    volumes: list[list[float]] = [[] for _ in labels.names]
    for path in files.references:
        try:
            label_map, geometry = read_label_map(path)
        except DatasetError:  # reported when the case is scored
            continue
        voxel_volume = float(np.prod(geometry.spacing_mm))
        for index in range(len(labels.names)):
            count = int(np.count_nonzero(masks_of(labels, index, label_map)))
            if count:
                volumes[index].append(count * voxel_volume)
    return volumes


def _mean_volumes(found: Sequence[list[list[float]]], *, num_labels: int) -> list[float]:
    per_label = [[value for case in found for value in case[index]] for index in range(num_labels)]
    return [float(np.mean(values)) if values else 0.0 for values in per_label]


def _score_files(
    files: ScoredFiles,
    *,
    labels: LabelScheme,
    blob_volumes: Sequence[float] | None,
    options: ScoreOptions,
) -> _ScoredCase:
    try:
        maps = read_maps(files, labels=labels)
    except DatasetError as error:
        return _ScoredCase(scores=None, problems=error.problems)
    scores = score_maps(
        maps, labels=labels, case=files.case, blob_volumes=blob_volumes, options=options
    )
    return _ScoredCase(scores=scores, problems=())


def score_maps(
    maps: LabelMaps,
    *,
    labels: LabelScheme,
    case: str,
    blob_volumes: Sequence[float] | None,
    options: ScoreOptions,
) -> CaseScores:
    """Score a case given as label maps; masks are made by label and by block to save memory.

    Voxels that any rater left out (the ignore label) are left out for all.
    """
    scores = [
        score_label(
            _MasksOfLabel(maps=maps, labels=labels, index=index),
            spacing_mm=maps.spacing_mm,
            case=case,
            blob_volume=None if blob_volumes is None else blob_volumes[index],
            options=options,
        )
        for index in range(len(labels.names))
    ]
    return CaseScores(
        labels=tuple(scores), num_samples=maps.num_samples, num_raters=maps.num_references
    )


@dataclass(frozen=True, kw_only=True)
class _MasksOfLabel:
    """One label's `LabelMasks`, made from compressed label maps when they are needed."""

    maps: LabelMaps
    labels: LabelScheme
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.maps.packed.shape

    @property
    def num_samples(self) -> int:
        return self.maps.num_samples

    @property
    def num_raters(self) -> int:
        return self.maps.num_references

    def blocks(self) -> Iterator[MaskBlock]:
        for block in self.maps.blocks():
            yield MaskBlock(
                rows=block.rows,
                samples=masks_of(self.labels, self.index, block.samples),
                raters=masks_of(self.labels, self.index, block.references),
                consensus=masks_of(self.labels, self.index, block.prediction),
                ignored=ignored_of(self.labels, block),
            )

    def rater(self, number: int) -> Bool[np.ndarray, "*spatial"]:
        return np.concatenate(
            [masks_of(self.labels, self.index, part) for part in self.maps.map_blocks(number)]
        )


def ignored_of(labels: LabelScheme, block: MapBlock) -> Bool[np.ndarray, "*block"] | None:
    """Return the voxels that some rater left out; None without an ignore label."""
    if not labels.has_ignore_label:
        return None
    return np.any(labels.ignored(block.references), axis=0)


def masks_of(
    labels: LabelScheme, index: int, label_maps: Integer[np.ndarray, "*shape"]
) -> Bool[np.ndarray, "*shape"]:
    """Return where label maps hold label number `index`."""
    single = replace(labels, names=(labels.names[index],), values=(labels.values[index],))
    return single.masks(label_maps)[0]


def _names(paths: Sequence[Path]) -> str | list[str]:
    return str(paths[0]) if len(paths) == 1 else [str(path) for path in paths]
