import pytest

from diffunet.planning.spacing import (
    choose_axis_order,
    choose_target_spacing,
    resampled_shape,
    voxel_edge,
)


@pytest.mark.parametrize(
    ("median", "finest", "shape", "expected"),
    [
        ((1, 1, 1), (0.8, 0.8, 0.8), (36, 51, 35), (1, 1, 1)),
        # coarse and short: the 10th percentile of that axis
        ((5, 0.7, 0.7), (3, 0.6, 0.6), (30, 300, 300), (3, 0.7, 0.7)),
        # but never finer than the others
        ((5, 0.7, 0.8), (0.5, 0.6, 0.6), (30, 300, 300), (0.8, 0.7, 0.8)),
        # coarse, not short
        ((5, 0.7, 0.7), (3, 0.6, 0.6), (120, 300, 300), (5, 0.7, 0.7)),
        # short, not coarse
        ((2, 0.7, 0.7), (1, 0.6, 0.6), (30, 300, 300), (2, 0.7, 0.7)),
        # the coarse axis may be any
        ((0.7, 0.7, 5), (0.6, 0.6, 3), (300, 300, 30), (0.7, 0.7, 3)),
        # exactly three times is not more
        ((3, 1, 1), (1, 1, 1), (30, 300, 300), (3, 1, 1)),
        ((1, 1), (1, 1), (960, 999), (1, 1)),
    ],
)
def test_target_spacing(median, finest, shape, expected):
    found = choose_target_spacing(median_mm=median, percentile_10_mm=finest, median_shape=shape)
    assert found.value == expected
    assert "Median" in found.reason


def test_the_user_may_choose_the_spacing():
    shared = {"median_mm": (1, 1, 1), "percentile_10_mm": (1, 1, 1), "median_shape": (9, 9, 9)}
    found = choose_target_spacing(**shared, overwrite_mm=(2, 1, 1))
    assert found.value == (2.0, 1.0, 1.0)
    assert found.reason == "Set by the user."


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, -1, 1)])
def test_a_spacing_that_does_not_fit_is_an_error(spacing):
    with pytest.raises(ValueError, match="3 positive numbers"):
        choose_target_spacing(
            median_mm=(1, 1, 1),
            percentile_10_mm=(1, 1, 1),
            median_shape=(9, 9, 9),
            overwrite_mm=spacing,
        )


@pytest.mark.parametrize(
    ("spacing", "shape", "has_image_labels", "expected", "words"),
    [
        ((1, 1), (128, 128), False, (0, 1), "rows"),
        ((1, 1, 1), (36, 51, 35), False, (0, 1, 2), "cubes"),
        ((1, 1, 5), (300, 300, 30), False, (2, 0, 1), "largest spacing (5 mm)"),
        ((1, 5, 1), (300, 30, 300), False, (1, 0, 2), "File axis 1"),
        ((1, 1, 5), (300, 300, 30), True, (0, 1, 2), "image-level labels"),
        ((1, 1, 1), (300, 300, 1), False, (2, 0, 1), "one slice only"),
        ((5, 1, 1), (300, 300, 1), False, (2, 0, 1), "one slice only"),
    ],
)
def test_axis_order(spacing, shape, has_image_labels, expected, words):
    found = choose_axis_order(spacing, median_shape=shape, has_image_labels=has_image_labels)
    assert found.value == expected
    assert words in found.reason


def test_resampled_shape_keeps_the_extent():
    assert resampled_shape((100.0, 51.2, 0.1), (5.0, 0.5, 1.0)) == (20, 102, 1)


def test_voxel_edge_is_the_geometric_mean():
    assert voxel_edge((8.0, 1.0, 1.0)) == pytest.approx(2)
    assert voxel_edge((4.0, 1.0)) == pytest.approx(2)
