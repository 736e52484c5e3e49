import itertools

import numpy as np
import pytest

from diffunet.wsss.choice.presence_threshold import choose_presence_threshold, rates

RISING = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])


def test_perfectly_told_apart_the_threshold_lies_midway():
    found = choose_presence_threshold(RISING, RISING > 0.25)
    assert found.value == pytest.approx(0.25)
    assert "1.000 + 1.000 - 1 = 1.000" in found.reason
    assert not found.warning


def test_no_threshold_is_better_than_the_chosen_one_by_more_than_a_standard_error():
    generator = np.random.default_rng(0)
    for _ in range(20):
        present = generator.random(31) < 0.4
        probabilities = np.round(generator.random(31) * 0.7 + 0.3 * present, 1)
        chosen = choose_presence_threshold(probabilities, present).value
        rates_at = [
            ((probabilities[present] >= t).mean(), (probabilities[~present] < t).mean())
            for t in (chosen, *np.linspace(0, 1, 101))
        ]
        youden = [sum(each) - 1 for each in rates_at]
        best = rates_at[int(np.argmax(youden))]
        counts = (present.sum(), (~present).sum())
        error = np.sqrt(sum(rate * (1 - rate) / n for rate, n in zip(best, counts, strict=True)))
        assert youden[0] >= max(youden) - error - 1e-9


def test_a_better_threshold_by_a_single_image_does_not_move_it_far_from_the_default():
    present = np.concatenate([np.linspace(0.55, 0.99, 40), [0.02]])
    absent = np.concatenate([np.linspace(0.01, 0.45, 40), [0.7]])
    probabilities = np.concatenate([present, absent])
    found = choose_presence_threshold(probabilities, np.arange(82) < 41)
    assert found.value == pytest.approx(0.5)
    shifted = np.concatenate([present, [0.93, 0.94, 0.945], absent, np.linspace(0.9, 0.92, 3)])
    found = choose_presence_threshold(shifted, np.arange(88) < 44)
    assert found.value == pytest.approx(0.5)


def test_a_threshold_that_is_clearly_better_is_taken_wherever_it_lies():
    probabilities = np.concatenate([np.linspace(0.92, 0.99, 50), np.linspace(0.1, 0.9, 50)])
    assert choose_presence_threshold(probabilities, np.arange(100) < 50).value > 0.85


def test_of_equally_good_thresholds_the_one_nearest_to_the_default_is_taken():
    probabilities = np.array([0.1, 0.2, 0.45, 0.7])
    is_present = np.array([False, True, False, True])
    assert choose_presence_threshold(probabilities, is_present).value == pytest.approx(0.575)


@pytest.mark.parametrize("present", [np.ones(6, bool), np.zeros(6, bool)])
def test_with_one_kind_alone_the_default_stays_with_a_warning(present):
    found = choose_presence_threshold(RISING, present)
    assert found.value == 0.5
    assert "validation images with the label" in found.warning


@pytest.mark.parametrize("probabilities", [np.full(6, 0.3), 1 - RISING])
def test_a_classifier_that_knows_nothing_keeps_the_default_with_a_warning(probabilities):
    found = choose_presence_threshold(probabilities, RISING > 0.25)
    assert found.value == 0.5
    assert "no threshold tells" in found.warning


def test_how_many_images_of_each_kind_there_are_does_not_matter():
    present = np.array([False, True, False, True, True, True])
    once = choose_presence_threshold(RISING, present)
    kinds = itertools.chain([RISING], [RISING[~present]] * 9)
    many = np.concatenate(list(kinds))
    is_present = np.concatenate([present, np.zeros(len(many) - 6, bool)])
    assert choose_presence_threshold(many, is_present).value == once.value


def test_a_probability_at_the_threshold_counts_as_present():
    sensitivity, specificity = rates(
        np.array([0.5, 0.5]), np.array([True, False]), thresholds=[0.5, 0.51]
    )
    assert sensitivity.tolist() == [1, 0]
    assert specificity.tolist() == [0, 1]


def test_rates_of_a_kind_that_is_missing_are_undefined():
    sensitivity, specificity = rates(RISING, np.zeros(6, bool), thresholds=[0.25])
    assert np.isnan(sensitivity[0])
    assert specificity[0] == pytest.approx(2 / 6)
