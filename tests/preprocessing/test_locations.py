import numpy as np

from diffunet.labels import LabelScheme
from diffunet.preprocessing import locations
from diffunet.preprocessing.locations import MAX_VOXELS_PER_LABEL, foreground_locations

TWO_LABELS = LabelScheme(names=("a", "b"), values=((1,), (2,)))


def test_locations_are_the_union_of_raters():
    maps = np.zeros((2, 4, 5), np.uint8)
    maps[0, 1, 2] = maps[1, 1, 2] = maps[1, 3, 4] = 1
    maps[0, 0, 0] = 2
    found = foreground_locations(maps, TWO_LABELS, case="x")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [[0, 1, 2], [0, 3, 4], [1, 0, 0]])


def test_a_region_gathers_all_its_integers():
    scheme = LabelScheme(names=("all", "core"), values=((1, 2), (2,)), is_regions=True)
    found = foreground_locations(np.array([[[1, 2, 0]]]), scheme, case="x")
    np.testing.assert_array_equal(found, [[0, 0, 0], [0, 0, 1], [1, 0, 1]])


def test_an_empty_case_has_no_locations():
    assert foreground_locations(np.zeros((3, 2, 2, 2)), TWO_LABELS, case="x").shape == (0, 4)


def test_at_most_10000_voxels_of_a_label_are_kept_spread_evenly(monkeypatch):
    monkeypatch.setattr(locations, "_SLAB_VOXELS", 3 * 40 * 50)
    maps = np.ones((1, 30, 40, 50), np.uint8)
    found = foreground_locations(maps, TWO_LABELS, case="x")
    assert len(found) == MAX_VOXELS_PER_LABEL
    assert len(np.unique(found, axis=0)) == MAX_VOXELS_PER_LABEL
    per_slice = np.bincount(found[:, 1], minlength=30)
    assert per_slice.min() > 260  # 333 expected, standard deviation 17
    assert per_slice.max() < 406
    assert maps[0][tuple(found[:, 1:].T)].all()


def test_the_choice_depends_on_the_case_alone():
    maps = np.ones((1, 150, 150), np.uint8)
    first = foreground_locations(maps, TWO_LABELS, case="x")
    np.testing.assert_array_equal(first, foreground_locations(maps, TWO_LABELS, case="x"))
    assert (first != foreground_locations(maps, TWO_LABELS, case="y")).any()
