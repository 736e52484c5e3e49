import numpy as np
import pytest

from diffunet.evaluation.auc import area_under_curve, auc_of


def test_area_under_curve_equals_counting_pairs():
    generator = np.random.default_rng(0)
    positives, negatives = generator.integers(0, 5, (2, 8)).astype(float)
    total = 0.0
    for high, n in enumerate(positives):
        for low, m in enumerate(negatives):
            total += n * m * (1.0 if high > low else 0.5 if high == low else 0.0)
    expected = total / positives.sum() / negatives.sum()
    assert area_under_curve(positives, negatives) == pytest.approx(expected)


def test_one_class_alone_has_no_area():
    assert area_under_curve(np.ones(3), np.zeros(3)) is None


def test_auc_is_the_share_of_pairs_in_order_ties_counted_half():
    generator = np.random.default_rng(0)
    values, tags = generator.integers(0, 6, 40).astype(float), generator.random(40) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in values[tags] for b in values[~tags]]
    assert auc_of(values, tags) == pytest.approx(np.mean(pairs))
