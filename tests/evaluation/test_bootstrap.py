import math

import numpy as np
import pytest

from diffunet.evaluation.bootstrap import bootstrap_means, paired_difference


def test_interval_of_independent_cases_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(size=(400, 1))
    patients = [str(number) for number in range(400)]
    (interval,) = bootstrap_means(values, patients, num_draws=4000, seed=0)
    assert interval.mean == pytest.approx(values.mean())
    expected = 1.96 * values.std() / math.sqrt(400)
    assert interval.upper - interval.mean == pytest.approx(expected, rel=0.1)
    assert interval.mean - interval.lower == pytest.approx(expected, rel=0.1)


def test_copies_of_a_patients_cases_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=(50, 1))
    patients = [str(number) for number in range(50)]
    (once,) = bootstrap_means(values, patients, num_draws=500, seed=0)
    (often,) = bootstrap_means(
        np.repeat(values, 10, axis=0), np.repeat(patients, 10).tolist(), num_draws=500, seed=0
    )
    assert (often.lower, often.upper) == pytest.approx((once.lower, once.upper))


def test_undefined_values_are_left_out():
    values = np.array([[1.0, math.nan], [math.nan, math.nan], [3.0, math.nan], [2.0, 5.0]])
    first, second = bootstrap_means(values, list("abcd"), num_draws=300, seed=0)
    assert first.mean == 2.0
    assert 1.0 <= first.lower < first.upper <= 3.0
    assert (second.mean, second.lower, second.upper) == (5.0, 5.0, 5.0)


def test_nothing_defined_is_undefined():
    (interval,) = bootstrap_means(np.full((2, 1), math.nan), ["a", "b"], num_draws=9, seed=0)
    assert all(map(math.isnan, (interval.mean, interval.lower, interval.upper)))


def test_one_patient_has_a_mean_and_no_interval():
    (interval,) = bootstrap_means(np.array([[1.0], [2.0]]), ["a", "a"], num_draws=9, seed=0)
    assert interval.mean == 1.5
    assert math.isnan(interval.lower)
    assert math.isnan(interval.upper)


def test_paired_difference_sees_what_cases_share():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(scale=10, size=100)
    a = difficulty + 0.5 + generator.normal(scale=0.5, size=100)
    compared = paired_difference(a.tolist(), difficulty.tolist(), [str(n) for n in range(100)])
    assert 0 < compared.lower < compared.difference < compared.upper < 1
    assert compared.share_above_zero == 1.0
    assert (compared.num_cases, compared.num_patients) == (100, 100)


def test_paired_difference_leaves_out_cases_that_either_lacks():
    compared = paired_difference([1.0, math.nan, 5.0], [0.0, 1.0, 2.0], ["a", "b", "c"])
    assert compared.difference == 2.0
    assert (compared.num_cases, compared.num_patients) == (2, 2)


def test_equal_methods_are_no_different():
    compared = paired_difference([1.0, 2.0], [1.0, 2.0], ["a", "b"])
    assert (compared.difference, compared.lower, compared.upper) == (0.0, 0.0, 0.0)
    assert compared.share_above_zero == 0.5


def test_difference_of_nothing_is_undefined():
    compared = paired_difference([math.nan], [1.0], ["a"])
    assert math.isnan(compared.difference)
    assert math.isnan(compared.share_above_zero)


def test_paired_difference_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="found 2, 1 and 2"):
        paired_difference([1.0, 2.0], [1.0], ["a", "b"])
