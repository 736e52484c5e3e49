"""By which score of a case candidates are compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffunet.evaluation.scores import CaseScores, LabelScores, mean_scores


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A score of a case, as a mean over labels.

    Attributes:
        name: in `summary.json`.
        title: in words.
    """

    name: str
    title: str
    is_lower_better: bool

    def value(self, scores: CaseScores, *, num_raters: int, draws_samples: bool) -> float:
        """Return the score of a case; NaN where it is undefined.

        Args:
            draws_samples: False for a model that gives one mask: its samples would all be equal.
        """
        if self is DICE:
            return scores.consensus["Dice"]
        return _mean(
            [
                _unbiased_ged(each, num_raters=num_raters, draws_samples=draws_samples)
                for each in scores.labels
            ]
        )

    def value_of_mixture(
        self, scores: CaseScores, parts: Sequence[CaseScores], *, draws_samples: Sequence[bool]
    ) -> float:
        """Return the score of a case whose samples come in equal numbers from two models.

        Args:
            scores: of all samples together.
            parts: of each model alone.
            draws_samples: of each model.
        """
        if self is DICE:
            return scores.consensus["Dice"]
        per_model = scores.num_samples // 2
        values: list[float] = []
        for index, each in enumerate(scores.labels):
            within = [
                part.labels[index].distribution["D_ss"] if draws else 0.0
                for part, draws in zip(parts, draws_samples, strict=True)
            ]
            # pairs of one model are too few among different samples, and D_ss too large
            excess = (2 * each.distribution["D_ss"] - sum(within)) / (4 * per_model)
            values.append(each.distribution["ged_fully_unbiased"] + excess)
        return _mean(values)


DICE = Criterion(name="Dice", title="Dice of the consensus", is_lower_better=False)
UNBIASED_GED = Criterion(
    name="ged_fully_unbiased", title="unbiased GED of the samples", is_lower_better=True
)


def criterion_for(num_raters: Mapping[str, int]) -> Criterion:
    """Return Dice where every case has one rater, otherwise the distribution's unbiased GED."""
    return UNBIASED_GED if max(num_raters.values()) > 1 else DICE


def _mean(values: Sequence[float]) -> float:
    """Return the mean over labels of which the score is defined."""
    return mean_scores([{"": value} for value in values])[""]


def _unbiased_ged(scores: LabelScores, *, num_raters: int, draws_samples: bool) -> float:
    """Return 2 E d(s,y) - D_ss - D_yy over different masks, with D_ss = 0 of one certain mask.

    Of a single sample D_ss is undefined, and with it the score. Of a mask that is always the same,
    it is 0: then the GED over all pairs differs only in D_yy, by its pairs of equal raters.
    """
    found = scores.distribution
    if draws_samples:
        return found["ged_fully_unbiased"]
    between_raters = found["D_yy"]
    if math.isnan(between_raters):  # one rater
        return found["ged"]
    return found["ged"] - between_raters / num_raters
