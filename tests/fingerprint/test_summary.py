import numpy as np
import pytest

from diffunet.fingerprint.summary import RunningSummary


def test_no_value_has_no_summary():
    running = RunningSummary("x")
    running.add([])
    assert running.summary() is None
    assert running.std == 0


def test_values_in_parts_are_summed_up_as_numpy_does_at_once():
    values = np.random.default_rng(0).normal(5, 3, 1000)
    running = RunningSummary("x")
    for part in np.split(values, [1, 10, 500]):
        running.add(part)
    found = running.summary()
    assert found is not None
    assert found.count == 1000
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std())
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.median == pytest.approx(np.median(values))
    assert found.percentile_05 == pytest.approx(np.percentile(values, 5))
    assert found.percentile_10 == pytest.approx(np.percentile(values, 10))
    assert found.percentile_90 == pytest.approx(np.percentile(values, 90))
    assert found.percentile_95 == pytest.approx(np.percentile(values, 95))


def test_no_more_than_twice_the_capacity_is_held():
    running = RunningSummary("x", capacity=100)
    for start in range(0, 10_000, 50):
        running.add(np.arange(start, start + 50))
        assert len(running._values) <= 100
        assert running._num_waiting <= 150
    found = running.summary()
    assert found is not None
    assert found.count == 10_000


def test_what_is_kept_beyond_the_capacity_is_a_uniform_sample():
    running = RunningSummary("x", capacity=2000)
    for start in range(0, 100_000, 1000):
        running.add(np.arange(start, start + 1000))
    quartiles = running.percentiles((25, 50, 75))
    # standard error of a quartile of 2000 uniform values: 0.01 of the range
    assert quartiles == pytest.approx([25_000, 50_000, 75_000], abs=4000)


def test_the_same_values_give_the_same_sample():
    def percentiles(name: str) -> list[float]:
        running = RunningSummary(name, capacity=10)
        running.add(np.arange(1000))
        return running.percentiles((5, 50, 95))

    assert percentiles("a") == percentiles("a")
    assert percentiles("a") != percentiles("b")
