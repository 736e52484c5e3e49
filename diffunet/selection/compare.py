"""Which of several candidates scores best on the same cases, and how far that can be trusted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from diffunet.evaluation.bootstrap import (
    Interval,
    PairedDifference,
    bootstrap_means,
    paired_difference,
)
from diffunet.randomness import numpy_generator

NUM_DRAWS = 2000
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model, or a mixture of two.

    Attributes:
        parts: the names of its models, METHOD__PLANS__CONFIGURATION.
        values: its score by case.
    """

    parts: tuple[str, ...]
    values: Mapping[str, float]

    @property
    def name(self) -> str:
        return " + ".join(self.parts)


@dataclass(frozen=True, kw_only=True)
class RankedCandidate:
    """How a candidate did.

    Attributes:
        score: mean over cases.
        behind: its score minus the winner's, paired by case; None for the winner.
        share_of_wins: of the resamples that would have chosen it.
    """

    candidate: Candidate
    score: Interval
    behind: PairedDifference | None
    share_of_wins: float


@dataclass(frozen=True, kw_only=True)
class ChosenAgain:
    """What choosing does to the winner's score, by resampling patients and choosing again.

    Attributes:
        on_chosen: mean score of whichever candidate wins a resample, on the cases that chose it.
        on_left_out: the same candidate's, on the cases that the resample left out.
    """

    on_chosen: float
    on_left_out: float

    @property
    def optimism(self) -> float:
        """By how much the score changes on cases that had no part in the choice."""
        return self.on_left_out - self.on_chosen


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidates, the best first.

    Attributes:
        cases: those on which the score of every candidate is defined.
        num_patients: of these.
        chosen_again: None with fewer than two patients.
    """

    ranked: tuple[RankedCandidate, ...]
    cases: tuple[str, ...]
    num_patients: int
    chosen_again: ChosenAgain | None

    @property
    def winner(self) -> Candidate:
        return self.ranked[0].candidate


def compare(
    candidates: Sequence[Candidate], patients: Mapping[str, str], *, is_lower_better: bool
) -> Comparison:
    """Rank candidates by their mean over the cases on which all have a score; of equals the first.

    Args:
        candidates: of the same cases, with at least one on which all have a score.
    """
    cases = tuple(
        case
        for case in sorted(candidates[0].values)
        if not any(math.isnan(each.values[case]) for each in candidates)
    )
    values = np.array([[each.values[case] for each in candidates] for case in cases], np.float64)
    groups = [patients[case] for case in cases]
    sign = 1.0 if is_lower_better else -1.0
    scores = bootstrap_means(values, groups, num_draws=NUM_DRAWS, seed=_SEED)
    order = sorted(range(len(candidates)), key=lambda place: sign * scores[place].mean)
    best = order[0]
    shares, again = _choose_again(sign * values, groups)
    return Comparison(
        ranked=tuple(
            RankedCandidate(
                candidate=candidates[place],
                score=scores[place],
                behind=None
                if place == best
                else paired_difference(values[:, place].tolist(), values[:, best].tolist(), groups),
                share_of_wins=float(shares[place]),
            )
            for place in order
        ),
        cases=cases,
        num_patients=len(set(groups)),
        chosen_again=None
        if again is None
        else ChosenAgain(on_chosen=sign * again[0] + 0.0, on_left_out=sign * again[1] + 0.0),
    )


def _choose_again(
    values: Float[np.ndarray, "case candidate"], patients: Sequence[str]
) -> tuple[Float[np.ndarray, " candidate"], tuple[float, float] | None]:
    """Draw patients with replacement, and choose the candidate of the lowest mean on them.

    Returns:
        the share of draws that each candidate wins, and the winners' mean on the drawn cases and on
        those that were not drawn; None where there is nothing to leave out.
    """
    names, rows = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, rows, values)
    counts = np.bincount(rows).astype(np.float64)[:, None]
    generator = numpy_generator(_SEED, "choose again")
    chances = np.full(len(names), 1 / len(names))
    drawn = generator.multinomial(len(names), chances, size=NUM_DRAWS).astype(np.float64)
    on_drawn = (drawn @ sums) / (drawn @ counts)
    winners = on_drawn.argmin(axis=1)
    shares = np.bincount(winners, minlength=values.shape[1]) / NUM_DRAWS
    left_out = (drawn == 0).astype(np.float64)
    has_left = left_out.any(axis=1)
    if not has_left.any():
        return shares, None
    chosen = winners[has_left]
    on_left_out = (left_out[has_left] @ sums) / (left_out[has_left] @ counts)
    return shares, (_mean_of(on_drawn[has_left], chosen), _mean_of(on_left_out, chosen))


def _mean_of(
    means: Float[np.ndarray, "draw candidate"], winners: Int[np.ndarray, " draw"]
) -> float:
    return float(means[np.arange(len(means)), winners].mean())
