import numpy as np
import pytest

from diffunet.wsss.choice.gains import Gains


def test_the_overlap_is_the_ochiai_coefficient_of_mask_and_object():
    """An object of a tenth of the image, and what a mask explains in proportion to what it covers
    of it: 10 logits for the whole."""
    covered = np.array([[0.5, 1.0, 1.0]])
    area = np.array([[0.05, 0.1, 0.4]])
    overlap = Gains(gain=10 * covered, area=area).overlap
    ochiai = covered * 0.1 / np.sqrt(0.1 * area)
    np.testing.assert_allclose(overlap / overlap[0, 1], ochiai)
    assert overlap.argmax() == 1


def test_empty_masks_overlap_nothing():
    assert Gains(gain=np.zeros((2, 1)), area=np.zeros((2, 1))).overlap.tolist() == [[0.0], [0.0]]


def test_the_best_is_the_largest_overlap_not_the_largest_gain():
    gain = np.array([[1.0, 1.2], [1.1, 1.3]])
    gains = Gains(gain=gain, area=np.array([[0.1, 0.4], [0.1, 0.4]]))
    assert gains.best() == gains.first_as_good() == 0


def test_the_first_is_taken_unless_another_is_better_by_more_than_a_standard_error():
    noisy = np.array([[1.0, 1.1], [1.2, 1.1], [1.0, 1.1]])
    clear = np.array([[0.0, 1.0], [0.1, 1.1], [0.0, 1.2]])
    area = np.ones_like(noisy)
    assert Gains(gain=noisy, area=area).best() == 1
    assert Gains(gain=noisy, area=area).first_as_good() == 0
    assert Gains(gain=clear, area=area).first_as_good() == 1


def test_a_single_image_tells_no_standard_error_so_nothing_is_clear_by_it():
    gains = Gains(gain=np.array([[0.0, 1.0]]), area=np.array([[0.1, 0.1]]))
    assert (gains.best(), gains.first_as_good()) == (1, 0)
    assert not gains.is_above_zero(1)
    assert gains.summary()["standard_error"] is None
    assert gains.in_words(1) == "erasure gain 1.00 of one image, which tells no standard error"


def test_masks_that_mark_nothing_are_not_better_than_masks_that_explain_little():
    gain = np.array([[-0.1, 0.0, -0.2], [-0.1, 0.0, 0.1]])
    area = np.array([[0.1, 0.0, 0.1], [0.1, 0.0, 0.1]])
    assert Gains(gain=gain, area=area).best() == 2
    assert Gains(gain=gain, area=area).first_as_good() == 0
    nothing = Gains(gain=np.zeros((2, 2)), area=np.zeros((2, 2)))
    assert nothing.best() == nothing.first_as_good() == 0


def test_a_gain_within_two_standard_errors_of_zero_is_none():
    gain = np.array([[1.0, 1.0], [-0.5, 1.2], [0.4, 0.9], [0.1, 1.1]])
    gains = Gains(gain=gain, area=np.ones_like(gain))
    assert not gains.is_above_zero(0)
    assert gains.is_above_zero(1)


def test_a_gain_of_one_and_a_half_standard_errors_is_none():
    gains = Gains(gain=np.array([[0.5], [2.5]]), area=np.ones((2, 1)))
    assert gains.summary()["standard_error"] == pytest.approx(1.0)
    assert not gains.is_above_zero(0)


def test_the_summary_names_means_and_the_standard_error():
    gains = Gains(gain=np.array([[1.0], [3.0]]), area=np.array([[0.25], [0.25]]))
    assert gains.summary() == pytest.approx(
        {
            "num_images": 2,
            "gain": 2.0,
            "standard_error": 1.0,
            "area_share": 0.25,
            "gain_over_root_of_area": 4.0,
        }
    )


def test_settings_are_picked_and_put_side_by_side():
    gains = Gains(gain=np.array([[1.0, 2.0]]), area=np.array([[0.1, 0.2]]))
    beside = Gains.beside([gains.of([1]), gains.of([0, 1])])
    assert beside.gain.tolist() == [[2.0, 1.0, 2.0]]
    assert beside.area.tolist() == [[0.2, 0.1, 0.2]]
