import numpy as np
import pytest

from diffunet.fingerprint.intensity import measure_channel, neighbour_correlation


def test_noise_has_no_neighbours_alike_and_anatomy_has():
    noise = np.random.default_rng(0).normal(size=(64, 64))
    y, x = np.mgrid[:64, :64]
    assert abs(neighbour_correlation(noise)) < 0.05
    assert neighbour_correlation(np.sin(x / 9) + np.cos(y / 7)) > 0.9


def test_checkerboard_neighbours_are_opposite():
    board = np.indices((16, 16)).sum(axis=0) % 2
    assert neighbour_correlation(board) == pytest.approx(-1)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (1, 1)])
def test_a_constant_image_is_no_noise(shape):
    assert neighbour_correlation(np.full(shape, 7, np.uint8)) == 1


def test_a_single_row_is_compared_along_itself():
    assert neighbour_correlation(np.array([[0.0, 1, 0, 1, 0, 1]])) == pytest.approx(0)


def test_integers_do_not_overflow():
    channel = np.tile(np.array([0, 65535], np.uint16), (32, 16))
    assert neighbour_correlation(np.sort(channel, axis=1)) > 0.9


def test_values_are_drawn_from_the_foreground_alone():
    channel = np.arange(100).reshape(10, 10)
    foreground = channel >= 90
    found = measure_channel(channel, foreground, case="a", num_drawn=1000)
    assert found.foreground_sample.shape == (1000,)
    assert set(found.foreground_sample.tolist()) == set(range(90, 100))
    assert (found.foreground_minimum, found.foreground_maximum) == (90, 99)
    assert (found.minimum, found.maximum) == (0, 99)


def test_no_foreground_draws_nothing():
    found = measure_channel(np.ones((4, 4)), np.zeros((4, 4), bool), case="a", num_drawn=10)
    assert found.foreground_sample.size == 0
    assert found.foreground_minimum is found.foreground_maximum is None


def test_what_is_drawn_depends_on_the_case_alone():
    channel = np.random.default_rng(0).random((10, 10))
    everywhere = np.ones((10, 10), bool)

    def drawn(case: str) -> list[float]:
        measured = measure_channel(channel, everywhere, case=case, num_drawn=20)
        return measured.foreground_sample.tolist()

    assert drawn("a") == drawn("a")
    assert drawn("a") != drawn("b")
