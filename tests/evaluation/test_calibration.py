import math

import numpy as np
import pytest

from diffunet.evaluation.calibration import (
    Reliability,
    ece_over_raters,
    nominal_volume_coverage,
    volume_coverage,
)
from diffunet.evaluation.mask_pool import MaskPool


def reliability_of(samples: np.ndarray, raters: np.ndarray) -> Reliability:
    numbers = np.arange(len(samples) + len(raters))
    pool = MaskPool.of([*samples, *raters])
    return Reliability.of(pool.levels(numbers[: len(samples)], numbers[len(samples) :]))


def test_errors_of_ten_voxels_by_hand():
    samples, raters = np.zeros((2, 2, 10), bool)
    samples[:, :2] = True  # two voxels with share 1
    samples[0, 2:4] = True  # two voxels with share 1/2
    raters[:, :1] = True  # of the first two, raters mark one
    raters[:, 2:4] = True  # and both of the second two
    diagram = reliability_of(samples, raters)
    np.testing.assert_array_equal(diagram.num_voxels, [6, 0, 0, 0, 0, 2, 0, 0, 0, 2])
    np.testing.assert_array_equal(diagram.predicted[[0, 5, 9]], [0, 1, 2])
    np.testing.assert_array_equal(diagram.observed[[0, 5, 9]], [0, 2, 1])
    assert diagram.ece == pytest.approx((0 + 1 + 1) / 10)
    assert diagram.ace == pytest.approx((0 + 0.5 + 0.5) / 3)


def test_share_of_samples_falls_into_bins_of_a_tenth():
    generator = np.random.default_rng(0)
    samples, raters = generator.random((30, 200)) < 0.4, generator.random((4, 200)) < 0.5
    diagram = reliability_of(samples, raters)
    share, observed = samples.sum(axis=0), raters.mean(axis=0)
    for number in range(10):
        is_inside = (share >= 3 * number) & (share < 3 * number + (3 if number < 9 else 99))
        assert diagram.num_voxels[number] == is_inside.sum()
        assert diagram.predicted[number] == pytest.approx(share[is_inside].sum() / 30)
        assert diagram.observed[number] == pytest.approx(observed[is_inside].sum())


def test_samples_that_are_the_raters_are_calibrated():
    masks = np.random.default_rng(0).random((4, 100)) < 0.3
    diagram = reliability_of(masks, masks)
    assert (diagram.ece, diagram.ace) == (pytest.approx(0), pytest.approx(0))


def test_diagrams_add_up():
    masks = np.random.default_rng(0).random((8, 100)) < 0.3
    halves = [
        reliability_of(masks[:4, part], masks[4:, part]) for part in (slice(50), slice(50, 100))
    ]
    whole = reliability_of(masks[:4], masks[4:])
    assert (halves[0] + halves[1]).ece == pytest.approx(whole.ece)
    assert (halves[0] + halves[1]).ace == pytest.approx(whole.ace)


def test_the_calibration_error_against_each_rater_by_hand():
    samples, raters = np.zeros((2, 2, 10), bool)
    samples[:, :2] = True  # two voxels with share 1
    samples[0, 2:4] = True  # two voxels with share 1/2
    raters[0, :1] = True  # one rater marks one of the first two, and both of the second two
    raters[0, 2:4] = True
    raters[1, :2] = True  # the other the first two, and one that no sample marks
    raters[1, 9] = True
    numbers = np.arange(4)
    levels = MaskPool.of([*samples, *raters]).levels(numbers[:2], numbers[2:])
    of_first, of_second = (1 + 1) / 10, (1 + 0 + 1) / 10
    assert ece_over_raters(levels) == pytest.approx((of_first + of_second) / 2)


def test_errors_against_each_rater_are_not_below_that_against_their_mean():
    masks = np.random.default_rng(0).random((9, 100)) < 0.3
    numbers = np.arange(9)
    levels = MaskPool.of([*masks]).levels(numbers[:5], numbers[5:])
    assert ece_over_raters(levels) > Reliability.of(levels).ece


def test_nothing_to_count_is_undefined():
    nothing = Reliability(num_voxels=np.zeros(10), predicted=np.zeros(10), observed=np.zeros(10))
    assert math.isnan(nothing.ece)
    assert math.isnan(nothing.ace)


def test_volume_interval_is_at_weibull_positions():
    volumes = np.arange(1.0, 20.0)  # 19 samples: 5 % is the first, 95 % the nineteenth
    assert volume_coverage(volumes, np.array([1.0, 19.0, 0.9, 19.1])) == 0.5
    volumes = np.arange(1.0, 40.0)  # 39 samples: 5 % is the second
    assert volume_coverage(volumes, np.array([1.0, 1.9, 2.0, 38.0])) == 0.5


@pytest.mark.parametrize("num_samples", [4, 16, 19, 100])
def test_volumes_drawn_alike_are_covered_at_the_nominal_rate(num_samples):
    generator = np.random.default_rng(0)
    found = [
        volume_coverage(generator.normal(size=num_samples), generator.normal(size=50))
        for _ in range(2000)
    ]
    assert np.mean(found) == pytest.approx(nominal_volume_coverage(num_samples), abs=0.012)
