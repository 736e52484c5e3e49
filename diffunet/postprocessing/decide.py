"""Decide which components to keep: each step stays only if it makes the scores better."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from diffunet.errors import DatasetError, UsageError
from diffunet.evaluation.budget import processes_within_memory
from diffunet.evaluation.folder import for_each_case, score_maps
from diffunet.evaluation.packed_maps import PackedMaps
from diffunet.evaluation.scored_files import (
    LabelMaps,
    ScoredFiles,
    ScoredFolders,
    pair_files,
    read_maps,
)
from diffunet.evaluation.scores import ScoreOptions
from diffunet.inference.fuse import Votes
from diffunet.inference.written import read_written
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress
from diffunet.postprocessing.plan import (
    Criterion,
    MeanScores,
    Origin,
    PostProcessing,
    Trial,
    post_processed,
)

Steps = tuple[tuple[str, ...], ...]

_OPTIONS = ScoreOptions(has_surface_scores=False, has_trivial_answers=False, subset_sizes=())

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Scoring:
    """How steps are scored on all cases."""

    cases: Sequence[ScoredFiles]
    labels: LabelScheme
    criterion: Criterion
    num_processes: int
    progress: Progress

    def scores(self, steps: Steps, *, description: str) -> MeanScores:
        """Return the mean scores after all steps."""
        score = partial(_score_case, labels=self.labels, criterion=self.criterion, steps=steps)
        found = for_each_case(
            self.cases,
            score,
            num_processes=self.num_processes,
            progress=self.progress,
            description=description,
        )
        means = np.mean(found, axis=0).tolist()
        return MeanScores(
            mean=float(np.mean(means)),
            labels=dict(zip(self.labels.names, means, strict=True)),
        )

    def is_better(self, scores: MeanScores, than: MeanScores) -> bool:
        """Whether the mean is better, and no label is worse."""
        sign = 1 if self.criterion == "Dice" else -1
        gains = [sign * (scores.labels[name] - than.labels[name]) for name in self.labels.names]
        return sign * (scores.mean - than.mean) > 0 and min(gains) >= 0


def decide_postprocessing(
    folders: ScoredFolders, *, num_processes: int, progress: Progress
) -> PostProcessing:
    """Decide on predictions whose references are known which components to keep.

    As in nnU-Net, first all labels together are tried, then each label. One rater: by the Dice of
    the consensus, made anew from samples. Several raters: by the unbiased GED.

    Raises:
        UsageError: the predictions are not whole, or samples that decide were not saved.
        DatasetError: all that is wrong with the two folders.
    """
    written = read_written(folders.prediction)
    problems: list[str] = []
    cases = pair_files(folders, problems=problems, cases=written.cases)
    if problems:
        raise DatasetError(problems)
    num_raters = max(len(files.references) for files in cases)
    if num_raters > 1 and not written.num_samples and written.draws_samples:
        raise UsageError(
            f"'{written.folder}' holds no samples, but there are several raters, so that the "
            "distribution of samples decides; predict again with --save_samples"
        )
    scoring = _Scoring(
        cases=cases,
        labels=folders.labels,
        criterion=_criterion_of(num_raters, written.num_samples),
        num_processes=processes_within_memory(cases, num_processes),
        progress=progress,
    )
    before, steps, after, tried = _decide(scoring)
    return PostProcessing(
        keep_largest_of=steps,
        criterion=scoring.criterion,
        before=before,
        after=after,
        tried=tried,
        decided_on=Origin(
            prediction=str(folders.prediction),
            reference=str(folders.reference),
            dataset=written.settings.get("dataset"),
            method=written.settings.get("method"),
            cases=tuple(files.case for files in cases),
            num_samples=written.num_samples,
            num_raters=num_raters,
        ),
    )


def _criterion_of(num_raters: int, num_samples: int) -> Criterion:
    """Return what decides; draws of a single mask are equal, so its GED needs no correction."""
    if num_raters == 1:
        return "Dice"
    return "ged_fully_unbiased" if num_samples > 1 else "ged"


def _decide(scoring: _Scoring) -> tuple[MeanScores, Steps, MeanScores, tuple[Trial, ...]]:
    names = scoring.labels.names
    steps: Steps = ()
    tried: list[Trial] = []
    before = scores = scoring.scores(steps, description="without post-processing")
    candidates = [names] if len(names) == 1 else [names, *((name,) for name in names)]
    for candidate in candidates:
        what = "all labels" if candidate == names else f"'{candidate[0]}'"
        found = scoring.scores((*steps, candidate), description=f"largest component of {what}")
        is_kept = scoring.is_better(found, scores)
        tried.append(Trial(keep_largest_of=candidate, scores=found, is_kept=is_kept))
        logger.info(
            "largest component of %s: %s from %.4f to %.4f, %s",
            what,
            scoring.criterion,
            scores.mean,
            found.mean,
            "kept" if is_kept else "not kept",
        )
        if is_kept:
            steps, scores = (*steps, candidate), found
    return before, steps, scores, tuple(tried)


def _score_case(
    files: ScoredFiles, *, labels: LabelScheme, criterion: Criterion, steps: Steps
) -> list[float]:
    """Return the score of each label after some steps."""
    maps = _post_processed_maps(read_maps(files, labels=labels), steps, labels=labels)
    scores = score_maps(maps, labels=labels, case=files.case, blob_volumes=None, options=_OPTIONS)
    if criterion == "Dice":
        return [float(label.consensus["Dice"]) for label in scores.labels]
    return [label.distribution[criterion] for label in scores.labels]


def _post_processed_maps(maps: LabelMaps, steps: Steps, *, labels: LabelScheme) -> LabelMaps:
    """Return label maps whose samples went through the steps, and a consensus of these."""
    num_references, num_samples = maps.num_references, len(maps.packed) - maps.num_references - 1
    references = list(range(num_references))
    packed = maps.packed.chosen(references)
    if not num_samples:
        _add(
            packed,
            post_processed(_masks(maps, num_references, labels), steps, labels=labels),
            labels,
        )
        return replace(maps, packed=packed)
    votes = Votes.none_of(
        (len(labels.names), *packed.shape),
        num_samples=num_samples,
        is_exclusive=not labels.is_regions,
    )
    for number in range(num_references + 1, len(maps.packed)):
        masks = post_processed(_masks(maps, number, labels), steps, labels=labels)
        votes.add(masks)
        _add(packed, masks, labels)
    _add(packed, votes.consensus(), labels)
    samples = range(num_references, len(packed) - 1)
    return replace(maps, packed=packed.chosen([*references, len(packed) - 1, *samples]))


def _masks(maps: LabelMaps, number: int, labels: LabelScheme) -> np.ndarray:
    return labels.masks(np.concatenate(list(maps.map_blocks(number))))


def _add(packed: PackedMaps, masks: np.ndarray, labels: LabelScheme) -> None:
    packed.add(labels.label_map(masks))
