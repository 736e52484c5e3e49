"""Ranking, and how much better the winner looks for having been chosen."""

import itertools

import numpy as np
import pytest

from diffunet.selection.compare import Candidate, compare

PATIENTS = {"a1": "a", "a2": "a", "b": "b", "c": "c"}


def candidate(name, *values):
    return Candidate(parts=(name,), values=dict(zip(PATIENTS, values, strict=True)))


def test_of_equal_candidates_the_first_wins():
    made = [candidate("x", 1, 1, 1, 1), candidate("y", 1, 1, 1, 1)]
    found = compare(made, PATIENTS, is_lower_better=False)
    assert found.winner.name == "x"
    assert [each.share_of_wins for each in found.ranked] == [1.0, 0.0]


@pytest.mark.parametrize(("is_lower_better", "winner"), [(True, "x"), (False, "y")])
def test_the_better_mean_wins(is_lower_better, winner):
    made = [candidate("x", 0, 0, 1, 1), candidate("y", 1, 1, 1, 0)]
    assert compare(made, PATIENTS, is_lower_better=is_lower_better).winner.name == winner


def test_a_case_without_a_score_of_some_candidate_counts_for_none():
    made = [candidate("x", 0, 0, 1, np.nan), candidate("y", 1, 1, 1, 5)]
    found = compare(made, PATIENTS, is_lower_better=True)
    assert found.cases == ("a1", "a2", "b")
    assert found.ranked[1].score.mean == pytest.approx(1.0)


def test_the_winner_is_chosen_again_in_every_resample_and_scored_on_those_left_out():
    """All 27 draws of three patients are equally likely: the exact expectation is theirs."""
    made = [candidate("x", 0.2, 0.4, 0.9, 0.1), candidate("y", 0.5, 0.3, 0.2, 0.6)]
    rows = np.array([list(each.values.values()) for each in made])
    patients = np.array(list(PATIENTS.values()))
    chosen, left_out = [], []
    for drawn in itertools.product("abc", repeat=3):
        cases = np.concatenate([np.flatnonzero(patients == name) for name in drawn])
        others = np.flatnonzero(~np.isin(patients, drawn))
        best = int(rows[:, cases].mean(axis=1).argmax())
        if len(others):
            chosen.append(rows[best, cases].mean())
            left_out.append(rows[best, others].mean())
    found = compare(made, PATIENTS, is_lower_better=False).chosen_again
    assert found is not None
    assert found.on_chosen == pytest.approx(np.mean(chosen), abs=0.02)
    assert found.on_left_out == pytest.approx(np.mean(left_out), abs=0.02)
    assert found.optimism < -0.1


def test_of_one_patient_nothing_can_be_left_out():
    made = [candidate("x", 0, 0, 1, 1), candidate("y", 1, 1, 1, 0)]
    found = compare(made, dict.fromkeys(PATIENTS, "a"), is_lower_better=True)
    assert found.chosen_again is None


def test_without_a_choice_there_is_no_optimism():
    values = {f"c{number}": float(number % 7) for number in range(60)}
    made = [Candidate(parts=("x",), values=values)]
    found = compare(made, {case: case for case in values}, is_lower_better=True).chosen_again
    assert found is not None
    assert found.optimism == pytest.approx(0.0, abs=0.05)
