import dataclasses

import numpy as np
import pytest

from diffunet.data.synthetic import SceneFamily, scene_of_case
from diffunet.evaluation.ambiguity import ged_fully_unbiased
from diffunet.evaluation.known_truth import (
    presence_calibration_error,
    presence_error,
    score_against_truth,
)

NOTHING, SMALL, LARGE = np.zeros(10, bool), np.arange(10) < 2, np.arange(10) < 4
OUTCOMES = np.stack([NOTHING, SMALL, LARGE])
TRUTH = np.array([0.2, 0.5, 0.3])


def test_scores_of_two_samples_by_hand():
    scores = score_against_truth(np.stack([SMALL, LARGE]), OUTCOMES, TRUTH)
    to_small = 0.2 * 1 + 0.5 * 0 + 0.3 * 0.5
    to_large = 0.2 * 1 + 0.5 * 0.5 + 0.3 * 0
    D_yy = 2 * (0.2 * 0.8 * 1 + 0.5 * 0.3 * 0.5)
    assert scores.D_ss == pytest.approx(0.5)
    assert scores.D_yy == pytest.approx(D_yy)
    assert scores.ged == pytest.approx(to_small + to_large - 0.5 - D_yy)
    assert (scores.presence, scores.true_presence) == pytest.approx((1.0, 0.8))
    assert scores.volume_coverage == pytest.approx(0.8)  # from 2 to 4 voxels
    volumes = np.array([0, 2, 4])
    between = np.mean([np.abs(volumes - own) @ TRUTH for own in (2, 4)])
    of_truth = 2 * (0.2 * 0.5 * 2 + 0.2 * 0.3 * 4 + 0.5 * 0.3 * 2)
    assert scores.volume_distance == pytest.approx(2 * between - 2 - of_truth)


def test_the_mean_score_of_the_truth_is_zero_however_few_samples():
    generator = np.random.default_rng(0)
    drawn = [
        score_against_truth(OUTCOMES[generator.choice(3, 2, p=TRUTH)], OUTCOMES, TRUTH)
        for _ in range(4000)
    ]
    assert np.mean([each.ged for each in drawn]) == pytest.approx(0, abs=0.02)
    assert np.mean([each.volume_distance for each in drawn]) == pytest.approx(0, abs=0.07)


def test_a_wrong_distribution_scores_above_zero():
    generator = np.random.default_rng(0)
    wrong = OUTCOMES[generator.choice(3, 400, p=[0.6, 0.2, 0.2])]
    assert score_against_truth(wrong, OUTCOMES, TRUTH).ged > 0.05


def test_many_raters_of_the_truth_give_the_unbiased_ged_of_evaluation():
    generator = np.random.default_rng(0)
    scene = scene_of_case("a", SceneFamily(size=(24, 24)), seed=0)
    outcomes, truth = scene.outcomes() > 0, scene.probabilities()
    samples = outcomes[generator.choice(3, 6, p=[0.4, 0.4, 0.2])]
    raters = outcomes[generator.choice(3, 600, p=truth)]
    iou = np.array([[_iou(a, b) for b in (*samples, *raters)] for a in (*samples, *raters)])
    estimated = ged_fully_unbiased(iou[:6, 6:], iou[:6, :6], iou[6:, 6:])
    assert score_against_truth(samples, outcomes, truth).ged == pytest.approx(estimated, abs=0.03)


def test_presence_is_calibrated_where_drawn_and_true_shares_agree_on_average():
    scores = score_against_truth(np.stack([SMALL, LARGE]), OUTCOMES, TRUTH)
    half = dataclasses.replace(scores, presence=0.5, true_presence=0.4)
    other = dataclasses.replace(scores, presence=0.5, true_presence=0.6)
    assert presence_calibration_error([half, other]) == pytest.approx(0)
    assert presence_calibration_error([half, half]) == pytest.approx(0.1)
    assert presence_calibration_error([half, scores]) == pytest.approx((0.1 + 0.2) / 2)


@pytest.mark.parametrize(("bias", "expected"), [(0.0, 0.0), (0.15, 0.15)])
def test_the_error_of_presence_holds_no_chance_of_samples(bias, expected):
    generator = np.random.default_rng(0)
    scores = score_against_truth(np.stack([SMALL, LARGE]), OUTCOMES, TRUTH)
    true = generator.uniform(0.2, 0.8, 4000)
    drawn = generator.binomial(10, true + bias) / 10
    cases = [
        dataclasses.replace(scores, presence=own, true_presence=share)
        for own, share in zip(drawn, true, strict=True)
    ]
    assert np.sqrt(np.mean((drawn - true) ** 2)) > expected + 0.04
    assert presence_error(cases, 10) == pytest.approx(expected, abs=0.03)


def _iou(a, b):
    union = (a | b).sum()
    return (a & b).sum() / union if union else 1.0
