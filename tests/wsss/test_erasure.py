import numpy as np
import pytest
from scipy import ndimage

from diffunet.wsss.choice.controls import control_masks
from diffunet.wsss.choice.erasure import SMOOTHING_VOXELS, erased, with_controls


def square(shape=(24, 24), corner=(4, 4), edge=5) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[corner[0] : corner[0] + edge, corner[1] : corner[1] + edge] = True
    return mask


def test_a_constant_image_stays_as_it_is():
    image = np.full((2, 24, 24), 3.0, np.float32)
    np.testing.assert_allclose(erased(image, square()), image, rtol=1e-5)


def test_an_object_gives_way_to_its_surroundings():
    image = np.zeros((1, 24, 24), np.float32)
    image[0][square()] = 9.0
    assert np.abs(erased(image, square())).max() < 1e-5


def test_what_is_filled_in_lies_between_the_surroundings():
    image = np.random.default_rng(0).random((1, 24, 24)).astype(np.float32)
    filled = erased(image, square(edge=12))
    outside = image[0][~square(edge=12)]
    assert outside.min() <= filled.min()
    assert filled.max() <= outside.max()


def test_nothing_changes_outside_of_the_mask():
    image = np.random.default_rng(0).random((3, 24, 24)).astype(np.float32)
    before = image.copy()
    filled = erased(image, square())
    np.testing.assert_array_equal(filled[:, ~square()], before[:, ~square()])
    np.testing.assert_array_equal(image, before)


def test_a_wide_mask_is_filled_from_afar():
    image = np.zeros((1, 96, 96), np.float32)
    mask = square((96, 96), (8, 8), 80)
    image[0][mask] = 5.0
    assert np.abs(erased(image, mask)).max() < 1e-5


def test_nothing_is_left_of_an_image_that_is_masked_whole():
    image = np.full((1, 8, 8), 4.0, np.float32)
    np.testing.assert_array_equal(erased(image, np.ones((8, 8), bool)), np.zeros((1, 8, 8)))


def test_an_empty_mask_erases_nothing():
    image = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(erased(image, np.zeros((8, 8), bool)), image)


def test_the_mask_and_each_of_its_controls_are_erased():
    image = np.zeros((1, 24, 24), np.float32)
    image[0][square()] = 9.0
    body = np.ones((24, 24), bool)
    without, *others = with_controls(image, square(), body)
    assert without.max() < 1e-5
    for other, control in zip(others, control_masks(square(), body), strict=True):
        np.testing.assert_array_equal(other, erased(image, control))
        np.testing.assert_allclose(other, image, atol=0.05)


def erased_as_defined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blur the whole image with every Gaussian, then take the narrowest that finds enough."""
    filled = np.zeros_like(image)
    filled[:, ~mask] = image[:, ~mask]
    filled[:, mask] = image[:, ~mask].mean(axis=1, keepdims=True)
    for sigma in reversed(SMOOTHING_VOXELS):
        support = ndimage.gaussian_filter((~mask).astype(np.float32), sigma)
        reached = mask & (support > 0.05)
        for source, target in zip(image, filled, strict=True):
            blurred = ndimage.gaussian_filter(source * ~mask, sigma)
            target[reached] = blurred[reached] / support[reached]
    return filled


@pytest.mark.parametrize("place", ["corner", "middle", "scattered", "wide", "strip"])
def test_only_what_is_near_a_mask_is_blurred_and_nothing_else_matters(place):
    generator = np.random.default_rng(3)
    image = generator.normal(size=(2, 60, 50)).astype(np.float32)
    rows, columns = np.indices((60, 50))
    mask = {
        "corner": (rows < 5) & (columns > 44),
        "middle": np.hypot(rows - 30, columns - 20) < 6,
        "scattered": generator.random((60, 50)) < 0.05,
        "wide": np.hypot(rows - 30, columns - 20) < 19,
        "strip": columns < 35,
    }[place]
    np.testing.assert_allclose(erased(image, mask), erased_as_defined(image, mask), atol=1e-6)


def test_a_distant_bright_place_does_not_shine_into_a_small_mask():
    image = np.full((1, 64, 64), 2.0, np.float32)
    image[0, :8, :8] = 500.0
    np.testing.assert_allclose(erased(image, square((64, 64), (40, 40)))[0][40:45, 40:45], 2.0)


def test_a_slope_is_bridged_from_both_sides():
    """A straight line between the two edges: the mean of a symmetric surrounding is its middle."""
    ramp = np.broadcast_to(np.arange(25, dtype=np.float32), (1, 25, 25)).copy()
    mask = np.zeros((25, 25), bool)
    mask[10:15, 10:15] = True
    filled = erased(ramp, mask)[0]
    np.testing.assert_allclose(filled[12, 12], 12, atol=1e-4)
    np.testing.assert_allclose(filled[:, 10:15] + filled[:, 14:9:-1], 24, atol=1e-3)
    assert (np.diff(filled[12, 10:15]) > 0).all()


def test_each_channel_is_filled_from_itself():
    image = np.stack([np.full((24, 24), 1.0), np.full((24, 24), -7.0)]).astype(np.float32)
    image[:, square()] = 50.0
    filled = erased(image, square())
    np.testing.assert_allclose(filled, [[[1.0]], [[-7.0]]] * np.ones((2, 24, 24)), rtol=1e-5)
