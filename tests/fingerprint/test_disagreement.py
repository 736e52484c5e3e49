import numpy as np
import pytest

from diffunet.fingerprint.disagreement import largest_pieces
from diffunet.fingerprint.fingerprint import WHOLE


def test_the_largest_piece_of_the_whole_image_is_the_largest_component():
    difference = np.zeros((20, 20), bool)
    difference[2:5, 2:5] = True
    difference[10, 10:14] = True
    found = largest_pieces(difference, start=(0, 0), shape=(20, 20), shift=(0.5, 0.5))
    assert found == {key: [9.0] for key in ("32", "64", "128", "256", "512", WHOLE)}


def test_pieces_end_where_their_window_ends():
    difference = np.zeros((64, 64), bool)
    difference[10, 20:50] = True
    found = largest_pieces(difference, start=(0, 0), shape=(64, 64), shift=(0, 0))
    assert sorted(found["32"]) == [12, 18]
    assert found["64"] == found[WHOLE] == [30]


def test_a_shift_moves_the_windows():
    difference = np.zeros((64, 64), bool)
    difference[10, 20:50] = True
    # the first voxel of the image is voxel 24 of its window: cuts at 8 and 40
    found = largest_pieces(difference, start=(0, 0), shape=(64, 64), shift=(0, 0.75))
    assert sorted(found["32"]) == [10, 20]


def test_a_part_of_the_image_gives_what_the_image_gives():
    image = np.random.default_rng(0).random((100, 150)) < 0.05
    image[:13] = image[:, :40] = False
    shift = (0.3, 0.8)
    whole = largest_pieces(image, start=(0, 0), shape=image.shape, shift=shift)
    part = largest_pieces(image[13:, 40:], start=(13, 40), shape=image.shape, shift=shift)
    assert {name: sorted(sizes) for name, sizes in whole.items()} == {
        name: sorted(sizes) for name, sizes in part.items()
    }


def test_windows_equal_cutting_the_image_by_hand():
    from scipy import ndimage

    image = np.random.default_rng(1).random((96, 96)) < 0.1
    found = largest_pieces(image, start=(0, 0), shape=(96, 96), shift=(0, 0))
    expected = []
    for y in range(0, 96, 32):
        for x in range(0, 96, 32):
            labels, _ = ndimage.label(image[y : y + 32, x : x + 32], np.ones((3, 3)))
            expected.append(np.bincount(labels.ravel())[1:].max())
    assert sorted(found["32"]) == sorted(expected)


def test_an_axis_on_which_the_image_fits_the_window_is_not_cut():
    difference = np.zeros((20, 100), bool)
    difference[0:20, 5] = True
    found = largest_pieces(difference, start=(0, 0), shape=(20, 100), shift=(0.9, 0))
    assert found["32"] == [20]


def test_slices_of_volumes_are_apart():
    difference = np.zeros((4, 40, 40), bool)
    difference[1:3, 5:8, 5:8] = True
    found = largest_pieces(
        difference, start=(0, 0, 0), shape=(4, 40, 40), shift=(0, 0, 0), slice_axis=0
    )
    assert found["32"] == found[WHOLE] == [9, 9]
    whole = largest_pieces(difference, start=(0, 0, 0), shape=(4, 40, 40), shift=(0, 0, 0))
    assert whole[WHOLE] == [18]


def test_no_difference_has_no_pieces():
    with pytest.raises(ValueError, match="no pieces"):
        largest_pieces(np.zeros((4, 4), bool), start=(0, 0), shape=(4, 4), shift=(0, 0))
