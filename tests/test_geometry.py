import math

import numpy as np
import pytest

from diffunet.geometry import Box, equivalent_diameter, tile_starts


def test_the_box_of_a_mask_holds_its_true_voxels_and_no_more():
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 5] = True
    box = Box.of_mask(mask)
    assert box == Box((1, 2, 3), (4, 3, 6))
    assert box.shape == (3, 1, 3)
    assert mask[box.slices].sum() == 2


def test_an_empty_mask_has_no_box():
    assert Box.of_mask(np.zeros((3, 3), bool)) is None


@pytest.mark.parametrize("shape", [(64, 64), (65, 100), (200, 64), (127, 129)])
@pytest.mark.parametrize("step_size", [0.25, 0.5, 1.0])
def test_tiles_cover_every_voxel_and_stay_inside(shape, step_size):
    covered = np.zeros(shape, bool)
    starts = tile_starts(shape, (64, 64), step_size)
    for start in starts:
        slices = tuple(slice(s, s + 64) for s in start)
        assert covered[slices].shape == (64, 64)
        covered[slices] = True
    assert covered.all()
    assert starts == sorted(starts)


def test_neighbouring_tiles_are_at_most_a_step_apart():
    rows = sorted({start[0] for start in tile_starts((300, 64), (64, 64), 0.5)})
    assert max(np.diff(rows)) <= 32


@pytest.mark.parametrize("step_size", [0, 1.5])
def test_an_impossible_step_is_refused(step_size):
    with pytest.raises(ValueError, match="step_size"):
        tile_starts((64,), (64,), step_size)


def test_a_tile_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        tile_starts((60,), (64,), 0.5)


def test_the_equivalent_diameter_inverts_disc_and_ball():
    assert equivalent_diameter(math.pi * 25, 2) == pytest.approx(10)
    assert equivalent_diameter(math.pi / 6 * 1000, 3) == pytest.approx(10)
