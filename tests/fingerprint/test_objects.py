import math

import numpy as np
import pytest

from diffunet.fingerprint.objects import centre_distances, diameters, find_objects


def test_an_empty_mask_has_no_objects():
    found = find_objects(np.zeros((4, 5), bool))
    assert found.voxels.shape == (0,)
    assert found.centres.shape == (0, 2)
    assert found.extents.shape == (0, 2)


def test_sizes_centres_and_extents_of_two_rectangles():
    mask = np.zeros((10, 12), bool)
    mask[1:4, 2:4] = True
    mask[8, 5:10] = True
    found = find_objects(mask)
    assert found.voxels.tolist() == [6, 5]
    assert found.centres.tolist() == [[2, 2.5], [8, 7]]
    assert found.extents.tolist() == [[3, 2], [1, 5]]


def test_touching_by_a_corner_is_one_object():
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = mask[1, 1] = True
    assert find_objects(mask).voxels.tolist() == [2]


@pytest.mark.parametrize(("axis", "sizes"), [(None, [8]), (0, [4, 4]), (2, [4, 4])])
def test_a_slice_axis_cuts_a_volume_into_its_slices(axis, sizes):
    volume = np.zeros((5, 6, 7), bool)
    volume[1:3, 2:4, 3:5] = True
    assert find_objects(volume, slice_axis=axis).voxels.tolist() == sizes


def test_diameters_are_those_of_discs_and_balls():
    assert diameters(np.array([math.pi * 25]), dimensions=2) == pytest.approx([10])
    assert diameters(np.array([math.pi / 6 * 1000]), dimensions=3) == pytest.approx([10])
    assert diameters(np.array([math.pi * 25]), dimensions=2, voxel_size_mm=0.5) == pytest.approx(
        [5]
    )


def test_the_centre_is_0_and_a_corner_almost_1():
    centres = np.array([[49.5, 24.5], [0, 0], [99, 49]], float)
    found = centre_distances(centres, shape=(100, 50))
    assert found[0] == 0
    assert found[1] == pytest.approx(found[2])
    assert found[1] == pytest.approx(math.sqrt((0.99**2 + 0.98**2) / 2))


def test_objects_anywhere_are_as_far_as_the_documentation_says():
    for shape, mean in (((1000, 1000), 0.54), ((1000, 1000, 1000), 0.55)):
        centres = np.random.default_rng(0).uniform(0, 1000, (20_000, len(shape)))
        assert centre_distances(centres, shape=shape).mean() == pytest.approx(mean, abs=0.006)


def test_an_axis_of_one_voxel_does_not_count():
    one = centre_distances(np.array([[0.0, 10, 20]]), shape=(1, 100, 50))
    two = centre_distances(np.array([[10.0, 20]]), shape=(100, 50))
    assert one == pytest.approx(two)
