"""How much each rater's masks overlap with the others', to find masks that lie elsewhere."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

from diffunet.fingerprint.fingerprint import RaterAgreement
from diffunet.fingerprint.masks import LabelMeasurement


class AgreementAccumulator:
    """Mean IoU of each rater with the others, and of the others among themselves."""

    def __init__(self) -> None:
        self._total = 0.0
        self._num_pairs = 0
        self._totals: dict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def add(self, raters: Sequence[str], labels: Sequence[LabelMeasurement]) -> None:
        """Take in a case."""
        for label in labels:
            if label.disagreement is None:
                continue
            has_marked = label.foreground_fraction > 0
            pairs = combinations(range(len(raters)), 2)
            for (one, other), iou in zip(pairs, label.disagreement.iou, strict=True):
                if has_marked[one] and has_marked[other]:
                    self._total += iou
                    self._num_pairs += 1
                    for rater in (raters[one], raters[other]):
                        self._totals[rater] += iou
                        self._counts[rater] += 1

    def by_rater(self) -> dict[str, RaterAgreement]:
        """Return the agreement of each rater who marked something that another marked too."""
        agreements = {}
        for rater, count in sorted(self._counts.items()):
            num_others = self._num_pairs - count
            total_of_others = self._total - self._totals[rater]
            agreements[rater] = RaterAgreement(
                num_pairs=count,
                iou=self._totals[rater] / count,
                iou_of_others=total_of_others / num_others if num_others else None,
            )
        return agreements
