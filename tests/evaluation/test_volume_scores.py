import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from diffunet.evaluation.scores import score_case
from diffunet.evaluation.volume_scores import mean_difference, volume_crps, volume_crps_curvas


def test_crps_of_volumes_equals_loops_over_pairs():
    generator = np.random.default_rng(0)
    samples, raters = generator.gamma(2, 50, size=7), generator.gamma(2, 50, size=3)
    within = [abs(a - b) for i, a in enumerate(samples) for j, b in enumerate(samples) if i != j]
    expected = np.mean([np.mean(np.abs(samples - y)) - np.mean(within) / 2 for y in raters])
    assert volume_crps(samples, raters) == pytest.approx(expected)
    assert mean_difference(samples) == pytest.approx(np.mean(within))


@pytest.mark.parametrize("num_samples", [2, 16])
def test_crps_of_gaussian_volumes_is_the_closed_form_whatever_the_number_of_samples(num_samples):
    """At the mean: sigma (2 phi(0) - 1 / sqrt(pi)) (Gneiting and Raftery 2007)."""
    generator, sigma = np.random.default_rng(0), 3.0
    found = [
        volume_crps(generator.normal(10, sigma, size=num_samples), np.array([10.0]))
        for _ in range(8000 // num_samples)
    ]
    expected = sigma * (2 * norm.pdf(0) - 1 / math.sqrt(math.pi))
    assert np.mean(found) == pytest.approx(expected, abs=3 * np.std(found) / math.sqrt(len(found)))


def test_volumes_drawn_as_raters_draw_have_the_crps_that_the_raters_tell():
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(1000):
        volumes = generator.gamma(2, size=8) * (generator.random(8) < 0.7)
        perfect = mean_difference(volumes[5:]) / 2
        differences.append(volume_crps(volumes[:5], volumes[5:]) - perfect)
    assert abs(np.mean(differences)) < 3 * np.std(differences) / math.sqrt(1000)


def test_crps_of_one_sample_is_undefined():
    assert math.isnan(volume_crps(np.array([1.0]), np.array([1.0, 2.0])))


@pytest.mark.parametrize("samples", [[2.0, 4.0], [40.0, 50.0]])
def test_curvas_integrates_the_squared_difference_of_the_raters_gaussian_and_a_step(samples):
    raters = np.array([10.0, 12.0, 20.0])
    center, step = norm(raters.mean(), raters.std()), np.mean(samples)
    below = quad(lambda v: center.cdf(v) ** 2, -80, step)[0]
    above = quad(lambda v: (1 - center.cdf(v)) ** 2, step, 120)[0]
    assert volume_crps_curvas(np.array(samples), raters) == pytest.approx(below + above, rel=1e-6)


def test_curvas_of_raters_who_agree_is_the_distance_from_them():
    assert volume_crps_curvas(np.array([1.0, 2.0]), np.array([5.0, 5.0])) == 3.5


def test_volumes_are_in_mm3():
    generator = np.random.default_rng(0)
    samples, raters = (
        generator.random((3, 1, 4, 5, 6)) < 0.4,
        generator.random((2, 1, 4, 5, 6)) < 0.3,
    )
    found = score_case(samples, raters, spacing_mm=(3.0, 0.5, 2.0))
    volumes = [3.0 * masks.sum(axis=(1, 2, 3, 4)) for masks in (samples, raters)]
    assert found.distribution["volume_crps"] == pytest.approx(volume_crps(*volumes))
    curvas = volume_crps_curvas(*volumes)
    assert found.distribution["volume_crps_curvas"] == pytest.approx(curvas)
    assert found.perfect_model["volume_crps"] == abs(volumes[1][0] - volumes[1][1]) / 2
