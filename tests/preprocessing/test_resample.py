import numpy as np
import pytest
from scipy import ndimage

from diffunet.preprocessing.resample import (
    resample_image,
    resample_label_map,
    resampled_shape,
    separate_axis,
)

GRIDS = [
    ((7, 9), (14, 5)),
    ((5, 7, 9), (10, 5, 9)),
    ((40, 50, 60), (33, 77, 61)),
    ((1, 4, 3), (2, 9, 5)),
    ((2, 60, 130), (1, 150, 90)),
]


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape, new_shape", GRIDS)
def test_resampling_equals_scipy_zoom_on_grids_with_common_borders(shape, new_shape, order):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 100
    zoom = [new / old for new, old in zip(new_shape, shape, strict=True)]
    expected = ndimage.zoom(
        image.astype(np.float64), zoom, order=order, grid_mode=True, mode="nearest"
    )
    found = resample_image(image, new_shape, order=order, nearest_axis=None)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.ptp(image))


def test_the_coarse_axis_repeats_slices_and_the_others_are_splines():
    image = np.random.default_rng(1).normal(size=(3, 8, 8)).astype(np.float32)
    found = resample_image(image, (6, 12, 8), order=3, nearest_axis=0)
    expected = ndimage.zoom(image, (1, 1.5, 1), order=3, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(found, np.repeat(expected, 2, axis=0), atol=1e-5)


def test_an_image_on_its_own_grid_is_returned_as_it_is():
    image = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_array_equal(resample_image(image, (4, 5), order=3, nearest_axis=None), image)


def test_a_constant_image_stays_constant():
    found = resample_image(np.full((5, 6, 7), 3.5, np.float32), (9, 4, 20), order=3, nearest_axis=1)
    np.testing.assert_allclose(found, 3.5, rtol=1e-6)


@pytest.mark.parametrize("nearest_axis", [None, 0])
@pytest.mark.parametrize("new_shape", [(23, 31, 17), (40, 21, 33), (9, 50, 60)])
def test_labels_are_the_argmax_of_linearly_interpolated_masks(new_shape, nearest_axis):
    generator = np.random.default_rng(3)
    field = ndimage.gaussian_filter(generator.normal(size=(20, 30, 30)), 3)
    label_map = np.digitize(field, np.quantile(field, [0.6, 0.75, 0.9])).astype(np.uint8)
    masks = [
        resample_image(
            (label_map == value).astype(np.float32), new_shape, order=1, nearest_axis=nearest_axis
        )
        for value in range(4)
    ]
    ordered = np.sort(masks, axis=0)
    is_clear = ordered[-1] - ordered[-2] > 1e-4
    found = resample_label_map(label_map, new_shape, nearest_axis=nearest_axis)
    assert is_clear.mean() > 0.9
    np.testing.assert_array_equal(found[is_clear], np.argmax(masks, axis=0)[is_clear])


def test_a_tie_between_label_and_background_goes_to_background():
    found = resample_label_map(np.array([[0, 1, 1, 0]], np.uint8), (1, 2), nearest_axis=None)
    np.testing.assert_array_equal(found, [[0, 0]])


def test_a_tie_between_labels_goes_to_the_smaller():
    found = resample_label_map(np.array([[2, 1, 1, 2]], np.uint8), (1, 2), nearest_axis=None)
    np.testing.assert_array_equal(found, [[1, 1]])


def test_doubling_the_resolution_keeps_a_box_of_labels():
    label_map = np.zeros((6, 6), np.uint8)
    label_map[2:4, 1:5] = 7
    expected = np.repeat(np.repeat(label_map, 2, axis=0), 2, axis=1)
    found = resample_label_map(label_map, (12, 12), nearest_axis=None)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)  # its corners have 9/16 of the weight


def test_one_voxel_at_the_border_survives_upsampling():
    label_map = np.zeros((3, 5, 4), np.uint8)
    label_map[0, 4, 3] = 1
    found = resample_label_map(label_map, (6, 10, 8), nearest_axis=None)
    assert found[:2, 8:, 6:].any()
    assert found.sum() == found[:2, 8:, 6:].sum()


def test_an_empty_label_map_stays_empty():
    found = resample_label_map(np.zeros((3, 4), np.uint16), (5, 9), nearest_axis=None)
    assert found.shape == (5, 9)
    assert not found.any()


@pytest.mark.parametrize("place", [(0, 0), (0, 3), (3, 0), (7, 7), (3, 3), (4, 5)])
@pytest.mark.parametrize("nearest_axis", [None, 0])
def test_labels_between_the_centres_of_coarser_voxels_are_gone(place, nearest_axis):
    label_map = np.zeros((8, 8), np.uint8)
    label_map[place] = 1
    resampled = resample_label_map(label_map, (2, 2), nearest_axis=nearest_axis)
    np.testing.assert_array_equal(resampled, np.zeros((2, 2)))


def test_a_label_map_on_its_own_grid_is_copied():
    label_map = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found = resample_label_map(label_map, (2, 3), nearest_axis=None)
    np.testing.assert_array_equal(found, label_map)
    assert found is not label_map


def test_the_new_shape_fills_the_same_extent():
    shape = resampled_shape((10, 20, 1), spacing_mm=(3, 1, 1), new_spacing_mm=(1, 1.6, 5))
    assert shape == (30, 12, 1)  # 12.5 rounds to even, as in nnU-Net; never less than one voxel


@pytest.mark.parametrize(
    "spacing_mm, new_spacing_mm, axis",
    [
        ((5, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 4, 1), 1),
        ((3, 1, 1), (1, 1, 1), None),  # not more than three times
        ((0.2, 1, 1), (1, 1, 1), None),  # two axes are equally coarse
        ((9, 1), (1, 1), None),  # a picture has no slices
    ],
)
def test_the_coarse_axis_is_apart(spacing_mm, new_spacing_mm, axis):
    assert separate_axis(spacing_mm, new_spacing_mm, anisotropy=3.0) == axis
