import math

import numpy as np
import pytest

from diffunet.planning.sampling import choose_num_samples, choose_num_steps, share_of_decision
from tests.planning.fingerprints import a_disagreement, a_label


@pytest.mark.parametrize(
    ("input_scale", "share"),
    [
        (1.0, 0.094),
        (0.6, 0.152),
        (0.3, 0.269),
        (0.2, 0.344),
        (0.1, 0.410),
        (0.06, 0.372),
        (0.03, 0.249),
    ],
)
def test_share_of_decision_equals_counting_times(input_scale, share):
    # N = 100: counted on a fine grid of times, and the table from which the rule was derived
    t = (np.arange(200_000) + 0.5) / 200_000
    d_prime = 2 * np.sqrt(100) * input_scale / np.tan(np.pi * t / 2)
    counted = np.mean((d_prime > 1) & (d_prime < 4))
    found = share_of_decision(decision_size=100, input_scale=input_scale)
    assert found == pytest.approx(counted, abs=1e-4)
    assert found == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    ("size", "input_scale", "steps"),
    [
        (100, 0.1, 10),
        (1638, 0.03, 10),
        (100, 1.0, 43),
        (10_000, 0.03, 15),
        (1e6, 0.03, 50),
        (None, 0.1, 10),
    ],
)
def test_steps_put_four_where_the_decision_falls(size, input_scale, steps):
    found = choose_num_steps(decision_size=size, input_scale=input_scale)
    assert found.value == steps
    if size is not None and steps < 50:
        share = share_of_decision(decision_size=size, input_scale=input_scale)
        assert steps == max(10, math.ceil(4 / share))


@pytest.mark.parametrize(
    ("iou", "samples"), [(0.47, 16), (0.63, 16), (0.9, 8), (0.2, 32), (0.0, 32), (1.0, 8)]
)
def test_samples_bring_ged_close_to_its_limit(iou, samples):
    labels = {"x": a_label(disagreement=a_disagreement(iou=iou))}
    found = choose_num_samples(labels)
    assert found.value == samples
    assert (1 - iou) / samples <= 0.035


@pytest.mark.parametrize(
    ("labels", "words"), [(None, "Masks were not opened"), ({"x": a_label()}, "No case has two")]
)
def test_without_two_raters_samples_are_for_the_majority(labels, words):
    found = choose_num_samples(labels)
    assert found.value == 8
    assert words in found.reason


def test_several_labels_are_averaged():
    labels = {
        "a": a_label(disagreement=a_disagreement(iou=0.9)),
        "b": a_label(disagreement=a_disagreement(iou=0.3)),
    }
    assert "1 - IoU = 0.40" in choose_num_samples(labels).reason
