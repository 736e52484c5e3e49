"""Validation of a few cases during training, for as long as there is time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import nn

from diffunet.randomness import numpy_generator
from diffunet.training.distributed import Ranks

Case = TypeVar("Case", contravariant=True)
Score = TypeVar("Score")
Item = TypeVar("Item")
Key = TypeVar("Key", str, tuple[str, int])


@dataclass(frozen=True, kw_only=True)
class SampledScores:
    """One sampled validation.

    Attributes:
        values: what the method reports, by name; NaN where undefined.
        criterion: per case, smaller is better; decides which weights are the best.
        seconds: that this rank spent.
    """

    values: dict[str, float]
    criterion: list[float]
    seconds: float


class CaseScorer(Protocol[Case, Score]):
    """How a method is validated: case by case, then over all cases scored in time."""

    def score(self, model: nn.Module, case: Case, *, is_shown: bool) -> Score:
        """Return what is known about one case; changes no global random state.

        Args:
            model: in evaluation mode.
            is_shown: the case may be drawn in a picture of the training.
        """
        ...

    def values(self, scores: Sequence[Score]) -> dict[str, float]:
        """Return what is reported of the cases together, by name."""
        ...

    def criterion(self, score: Score) -> float:
        """Return by what weights are compared on a case; smaller is better."""
        ...


@dataclass(frozen=True, kw_only=True)
class SampledValidation(Generic[Item, Score]):
    """Scores fixed cases, for as long as there is time.

    Attributes:
        cases: in the order in which they are scored.
    """

    scorer: CaseScorer[Item, Score]
    cases: tuple[Item, ...]

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
        scores: list[Score] = []
        while len(scores) < len(self.cases):
            spent = time.monotonic() - begin
            if scores:
                seconds_per_round = spent * ranks.num_ranks / len(scores)
            is_over = seconds_per_round is not None and spent + seconds_per_round > budget_s
            if ranks.of_first(is_over):
                break
            case = self.cases[min(len(scores) + ranks.rank, len(self.cases) - 1)]
            is_shown = len(scores) + ranks.rank < 4
            scores += ranks.gather(self.scorer.score(model, case, is_shown=is_shown))
            if any(ranks.gather(should_stop())):
                return None
        scores = scores[: len(self.cases)]
        if not scores:
            return None
        return SampledScores(
            values=self.scorer.values(scores),
            criterion=[self.scorer.criterion(each) for each in scores],
            seconds=time.monotonic() - begin,
        )


def spread_over_patients(
    cases: Sequence[Key], patients: Mapping[Key, str], *, name: str = "validation cases"
) -> tuple[Key, ...]:
    """Return the cases in an order of which every beginning has as many patients as it can.

    The order is random, but the same for every training on these cases.

    Args:
        patients: of each case.
        name: orders of different names are independent of each other.
    """
    generator = numpy_generator(name)
    by_patient: dict[str, list[Key]] = {}
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
