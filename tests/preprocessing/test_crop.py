import numpy as np
from scipy import ndimage

from diffunet.geometry import Box
from diffunet.preprocessing.crop import body_mask, crop_box


def test_a_volume_is_cropped_to_what_is_not_zero_in_some_channel():
    image = np.zeros((2, 6, 7, 8), np.int16)
    image[0, 1, 2, 3] = -5
    image[1, 4, 2, 6] = 1
    assert crop_box(image) == Box((1, 2, 3), (5, 3, 7))


def test_a_volume_of_zeros_is_kept_whole():
    assert crop_box(np.zeros((1, 3, 4, 5))) == Box((0, 0, 0), (3, 4, 5))


def test_a_picture_is_kept_whole():
    image = np.zeros((1, 6, 7), np.uint8)
    image[0, 2, 3] = 1
    assert crop_box(image) == Box((0, 0), (6, 7))


def test_the_body_mask_equals_scipy_fill_holes():
    generator = np.random.default_rng(0)
    image = generator.random((2, 9, 10, 11)) * (generator.random((2, 9, 10, 11)) > 0.55)
    expected = ndimage.binary_fill_holes((image != 0).any(axis=0))
    np.testing.assert_array_equal(body_mask(image), expected)


def test_a_hole_belongs_to_the_body_and_a_bay_does_not():
    image = np.ones((1, 5, 5))
    image[0, 2, 2] = 0
    image[0, 0, 1] = 0
    expected = np.ones((5, 5), bool)
    expected[0, 1] = False
    np.testing.assert_array_equal(body_mask(image), expected)
