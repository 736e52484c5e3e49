"""Validation by drawing segmentations: a few cases during training, more of them at its end."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from diffunet.data.patches import Store
from diffunet.evaluation.scores import ScoreOptions, score_case
from diffunet.labels import LabelScheme
from diffunet.randomness import numpy_generator
from diffunet.training.distributed import Ranks
from diffunet.training.drawing import CaseDrawer

logger = logging.getLogger(__name__)

NUM_SAMPLES = 8
"""Segmentations per case of a sampled validation; more cases tell more than more samples."""

_QUICK = ScoreOptions(has_surface_scores=False, has_trivial_answers=False, subset_sizes=())


class LabelStore(Store, Protocol):
    """What validation needs of the store of labels."""

    def array_names(self, case: str) -> tuple[str, ...]: ...


@dataclass(frozen=True, kw_only=True)
class SampledScores:
    """One sampled validation.

    Attributes:
        ged, dice: per case; the Dice score is that of the consensus with the raters' majority.
        criterion: per case, smaller is better: GED where raters can disagree, else 1 - Dice.
        seconds: that this rank spent.
    """

    ged: list[float]
    dice: list[float]
    criterion: list[float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SampledValidation:
    """Draws fixed cases from fixed noise and scores them, for as long as there is time.

    Attributes:
        cases: in the order in which they are drawn.
        has_raters: several raters marked the cases, and samples are compared with all of them.
        show: takes (case, image, raters' masks, samples) of the first cases, for a picture.
    """

    drawer: CaseDrawer
    labels: LabelStore
    cases: tuple[str, ...]
    num_samples: int
    has_raters: bool
    show: Callable[[str, np.ndarray, np.ndarray, np.ndarray], None]

    def run(
        self,
        model: nn.Module,
        *,
        budget_s: float,
        seconds_per_round: float | None,
        ranks: Ranks,
        should_stop: Callable[[], bool],
    ) -> SampledScores | None:
        """Score cases in rounds of one per rank until the time is spent.

        Args:
            budget_s: no round is begun that would go beyond it, except for the first ever.
            seconds_per_round: as measured before; None: this is the first validation.

        Returns:
            The scores, the same on every rank; None where no round fits or the training stops.
        """
        begin = time.monotonic()
        rows: list[tuple[float, float]] = []
        while len(rows) < len(self.cases):
            spent = time.monotonic() - begin
            if rows:
                seconds_per_round = spent * ranks.num_ranks / len(rows)
            is_over = seconds_per_round is not None and spent + seconds_per_round > budget_s
            if ranks.of_first(is_over):
                break
            case = self.cases[min(len(rows) + ranks.rank, len(self.cases) - 1)]
            rows += ranks.gather(self._score(model, case, is_shown=len(rows) + ranks.rank < 4))
            if any(ranks.gather(should_stop())):
                return None
        rows = rows[: len(self.cases)]
        if not rows:
            return None
        ged, dice = ([row[index] for row in rows] for index in (0, 1))
        return SampledScores(
            ged=ged,
            dice=dice,
            criterion=ged if self.has_raters else [1 - each for each in dice],
            seconds=time.monotonic() - begin,
        )

    def _score(self, model: nn.Module, case: str, *, is_shown: bool) -> tuple[float, float]:
        samples = self.drawer.on_stored_grid(model, case, num_samples=self.num_samples)
        label_maps = np.asarray(self.labels.array(case, "labels")[:])
        scheme = self.drawer.objective.labels
        raters = rater_masks(label_maps, scheme)
        scores = score_case(
            samples,
            raters,
            spacing_mm=self.drawer.images.properties(case).spacing_mm,
            ignored=any_ignored(label_maps, scheme),
            case=case,
            options=_QUICK,
        )
        if is_shown:
            image = np.asarray(self.drawer.images.array(case, "image")[:])
            self.show(case, image, raters, samples)
        return scores.distribution["ged"], scores.consensus["Dice"]


def rater_masks(label_maps: np.ndarray, labels: LabelScheme) -> np.ndarray:
    """Return boolean masks (rater, label, *spatial) of label maps (rater, *spatial)."""
    return np.stack([labels.masks(label_map) for label_map in label_maps])


def any_ignored(label_maps: np.ndarray, labels: LabelScheme) -> np.ndarray | None:
    """Return the voxels (*spatial) that some rater left out; None without an ignore label."""
    return np.any(labels.ignored(label_maps), axis=0) if labels.has_ignore_label else None


def spread_over_patients(cases: Sequence[str], patients: Mapping[str, str]) -> tuple[str, ...]:
    """Return the cases in an order of which every beginning has as many patients as it can.

    The order is random, but the same for every training on these cases.
    """
    generator = numpy_generator("validation cases")
    by_patient: dict[str, list[str]] = {}
    for case in sorted(cases):
        by_patient.setdefault(patients[case], []).append(case)
    queues = [
        [members[index] for index in generator.permutation(len(members))]
        for members in by_patient.values()
    ]
    order = generator.permutation(len(queues))
    longest = max(map(len, queues), default=0)
    return tuple(
        queues[index][turn]
        for turn in range(longest)
        for index in order
        if turn < len(queues[index])
    )
