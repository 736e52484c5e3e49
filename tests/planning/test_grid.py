import pytest

from diffunet.planning.geometry import (
    choose_recommended_configuration,
    patch_grid,
    plan_grid,
)
from tests.planning.fingerprints import a_geometry


def _grid(shape, spacing_mm=None, *, has_image_labels=False, overwrite=None, **changes):
    return plan_grid(
        a_geometry(shape, spacing_mm, **changes),
        has_image_labels=has_image_labels,
        overwrite_spacing_mm=overwrite,
    )


def test_everything_is_in_training_order():
    grid = _grid((300, 280, 30), (0.7, 0.8, 5.0), largest=(310, 290, 40), finest_mm=(0.7, 0.8, 2.5))
    assert grid.axis_order.value == (2, 0, 1)
    assert grid.spacing_mm.value == (2.5, 0.7, 0.8)
    assert grid.median_shape == (60, 300, 280)
    assert grid.largest_shape == (80, 310, 290)
    assert grid.file_spacing_mm == (5.0, 0.7, 0.8)


def test_slices_of_volumes_lose_the_first_axis():
    axes = patch_grid(_grid((30, 300, 280), (5.0, 0.8, 0.8)), dimensions=2)
    assert axes.is_slicewise
    assert axes.spacing_mm == (0.8, 0.8)
    assert axes.median_shape == axes.largest_shape == (300, 280)
    assert axes.num_slices == 30
    assert axes.voxel_edge_mm == pytest.approx(0.8)
    assert axes.spacing_ratio == pytest.approx(1)


def test_volumes_keep_all_axes():
    axes = patch_grid(_grid((30, 60, 50), overwrite=(2.0, 2.0, 2.0)), dimensions=3)
    assert not axes.is_slicewise
    assert axes.median_shape == (15, 30, 25)
    assert axes.num_slices == 1
    assert axes.spacing_ratio == pytest.approx(2)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "has_image_labels", "expected", "words"),
    [
        ((128, 128), None, False, "2d", "two dimensions"),
        ((36, 51, 35), None, False, "3d_fullres", "cubes"),
        ((36, 51, 35), None, True, "2d", "belong to slices"),
        ((7, 100, 100), None, False, "2d", "too few"),
        ((8, 100, 100), None, False, "3d_fullres", "cubes"),
        ((60, 100, 100), (4.0, 1.0, 1.0), False, "2d", "4 times as thick"),
        ((60, 100, 100), (3.0, 1.0, 1.0), False, "3d_fullres", "ratio 3"),
    ],
)
def test_recommended_configuration(shape, spacing_mm, has_image_labels, expected, words):
    grid = _grid(shape, spacing_mm, has_image_labels=has_image_labels)
    found = choose_recommended_configuration(grid, has_image_labels=has_image_labels)
    assert found.value == expected
    assert words in found.reason
