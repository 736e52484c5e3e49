"""Whether rater numbers mean people: do raters of one number differ from others throughout?"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from scipy.stats import chi2, rankdata

from diffunet.fingerprint.fingerprint import RaterHabits

_FEWEST_PATIENTS = 8
_SHARE_OF_CASES = 0.5  # that a rater must have drawn to be one of the raters


class HabitsAccumulator:
    """How much each rater marks, ranked among the raters of the case.

    Two numbers are kept of each patient and rater. Cases of one patient may come from one reading,
    in which a number means one person though it means others elsewhere: so patients count, not
    cases.
    """

    def __init__(self) -> None:
        self._totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._num_cases = 0

    def add(self, patient: str, marked: Mapping[str, float]) -> None:
        """Take in a case.

        Args:
            marked: how much each rater marked, in any unit.
        """
        self._num_cases += 1
        ranks = rankdata(list(marked.values())) / (len(marked) + 1)
        for rater, rank in zip(marked, ranks, strict=True):
            self._totals[patient][rater] += float(rank)
            self._counts[patient][rater] += 1

    def habits(self) -> RaterHabits | None:
        """Return the comparison of raters; None where there is one, or few patients have all."""
        asked: dict[str, int] = defaultdict(int)
        for counts in self._counts.values():
            for rater, count in counts.items():
                asked[rater] += count
        names = sorted(name for name, n in asked.items() if n >= _SHARE_OF_CASES * self._num_cases)
        means = np.array(
            [
                [totals[name] / self._counts[patient][name] for name in names]
                for patient, totals in self._totals.items()
                if all(name in totals for name in names)
            ]
        )
        if len(names) < 2 or len(means) < _FEWEST_PATIENTS:
            return None
        ranks = rankdata(means, axis=1)
        return RaterHabits(
            num_patients=len(ranks),
            mean_ranks=dict(zip(names, map(float, ranks.mean(axis=0)), strict=True)),
            p_value=friedman_p_value(ranks),
        )


def friedman_p_value(ranks: np.ndarray) -> float:
    """Return how often chance alone makes mean ranks differ as much (Friedman 1937), with ties.

    Args:
        ranks: (patient, rater), each row from 1 to the number of raters, ties averaged.
    """
    num_patients, num_raters = ranks.shape
    spread = np.square(ranks - (num_raters + 1) / 2).sum()
    if not spread:
        return 1.0
    between = num_patients * np.square(ranks.mean(axis=0) - (num_raters + 1) / 2).sum()
    statistic = (num_raters - 1) * num_patients * between / spread
    return float(chi2.sf(statistic, num_raters - 1))
