import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata

from diffunet.fingerprint.habits import HabitsAccumulator, friedman_p_value

NAMES = ("r00", "r01", "r02")


def habits(marked, *, patients=None):
    accumulator = HabitsAccumulator()
    for index, row in enumerate(marked):
        patient = f"p{index}" if patients is None else patients[index]
        accumulator.add(patient, dict(zip(NAMES, row, strict=False)))
    return accumulator.habits()


def volumes(num_cases, *, factors=(1.0, 1.0, 1.0), seed=0):
    return np.random.default_rng(seed).gamma(3, size=(num_cases, 3)) * factors


def test_a_rater_who_marks_more_throughout_is_found():
    found = habits(volumes(60, factors=(1, 1, 2)))
    assert found.p_value < 1e-3
    assert max(found.mean_ranks, key=found.mean_ranks.get) == "r02"


def test_numbers_that_mean_nothing_have_even_p_values():
    found = [habits(volumes(40, seed=seed)).p_value for seed in range(200)]
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_cases_of_one_patient_count_as_one_comparison():
    rng = np.random.default_rng(0)
    patients = [f"p{index // 20}" for index in range(400)]
    bold = {patient: rng.permutation([1.0, 1.0, 3.0]) for patient in patients}
    rows = [row * bold[patient] for row, patient in zip(volumes(400), patients, strict=True)]
    assert habits(rows).p_value < 0.01  # as if each slice were another reading
    assert habits(rows, patients=patients).p_value > 0.05
    assert habits(rows, patients=patients).num_patients == 20


def test_the_test_is_friedmans_ties_included():
    marked = np.random.default_rng(1).integers(0, 3, size=(30, 4))
    expected = friedmanchisquare(*marked.T).pvalue
    assert friedman_p_value(rankdata(marked, axis=1)) == pytest.approx(expected)


def test_raters_who_always_agree_differ_by_chance():
    assert habits(np.ones((20, 3))).p_value == 1


def test_one_rater_or_few_patients_are_not_compared():
    assert habits(np.ones((20, 1))) is None
    assert habits(volumes(5)) is None


def test_a_rater_who_was_hardly_asked_is_left_out():
    accumulator = HabitsAccumulator()
    for index, row in enumerate(volumes(40)):
        names = NAMES if index < 10 else NAMES[:2]
        accumulator.add(f"p{index}", dict(zip(names, row, strict=False)))
    assert sorted(accumulator.habits().mean_ranks) == ["r00", "r01"]
