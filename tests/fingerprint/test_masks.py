import math

import numpy as np
import pytest

from diffunet.fingerprint.masks import coarse_axis, measure_masks
from diffunet.labels import LabelScheme

ONE = LabelScheme(names=("lesion",), values=((1,),))
IGNORING = LabelScheme(names=("lesion",), values=((1,),), ignore_value=2)


def _measure(maps, *, labels=ONE, spacing_mm=(1.0, 1.0), slice_axis=None):
    return measure_masks(
        np.asarray(maps), labels=labels, spacing_mm=spacing_mm, slice_axis=slice_axis, case="a"
    )


@pytest.mark.parametrize(
    ("spacing_mm", "axis"),
    [((1, 1, 1), 0), ((1, 1, 5), 2), ((1, 3, 1), 1), ((0.995, 1, 1), 0), ((5, 1, 1), 0)],
)
def test_the_coarse_axis_has_the_largest_spacing_or_is_the_first(spacing_mm, axis):
    assert coarse_axis(spacing_mm) == axis


def test_two_raters_of_whom_one_saw_nothing():
    maps = np.zeros((2, 20, 20), np.uint8)
    maps[0, 3:6, 4:8] = 1
    (found,) = _measure(maps, spacing_mm=(0.5, 0.5))
    assert found.foreground_fraction.tolist() == [12 / 400, 0]
    assert found.objects.per_mask == [1]
    assert found.objects.voxels.tolist() == [12]
    assert found.objects.volume_mm.tolist() == [3]
    assert found.objects.diameter == pytest.approx([2 * math.sqrt(12 / math.pi)])
    assert found.objects.diameter_mm == pytest.approx([math.sqrt(12 / math.pi)])
    assert found.objects_of_slice is None
    # centre (4, 5.5), image centre (9.5, 9.5): 5.5 and 4 voxels of 0.5 mm
    assert found.centre_distance_mm == pytest.approx([math.hypot(5.5, 4) / 2])
    assert found.centre_distance == pytest.approx([math.sqrt((0.55**2 + 0.4**2) / 2)])
    disagreement = found.disagreement
    assert disagreement is not None
    assert disagreement.iou == [0]
    assert disagreement.iou_where_both_marked == []
    assert disagreement.num_equal_pairs == 0
    assert disagreement.piece_voxels.tolist() == [12]
    assert disagreement.largest_piece[0]["whole"] == [12]
    assert disagreement.largest_piece_of_slice == []


def test_pairs_of_three_raters():
    maps = np.zeros((3, 16, 16), np.uint8)
    maps[0, 2:4, 2:6] = maps[1, 2:4, 2:6] = 1
    maps[2, 2:4, 2:4] = 1
    (found,) = _measure(maps)
    disagreement = found.disagreement
    assert disagreement is not None
    assert disagreement.iou == [1, 0.5, 0.5]
    assert disagreement.iou_where_both_marked == [1, 0.5, 0.5]
    assert disagreement.num_equal_pairs == 1
    assert disagreement.piece_voxels.tolist() == [4, 4]


def test_equal_raters_have_no_pieces():
    maps = np.ones((2, 8, 8), np.uint8)
    (found,) = _measure(maps)
    assert found.disagreement is not None
    assert found.disagreement.num_equal_pairs == 1
    assert found.disagreement.piece_voxels.size == 0
    assert found.disagreement.largest_piece == []


def test_one_rater_does_not_disagree():
    (found,) = _measure(np.zeros((1, 8, 8), np.uint8))
    assert found.disagreement is None
    assert found.objects.voxels.size == 0


def test_voxels_that_a_rater_did_not_annotate_are_left_out():
    maps = np.zeros((2, 10, 10), np.uint8)
    maps[0, 0:2, 0:2] = 1
    maps[1, 0:2, 0:4] = 1
    maps[0, 0:2, 2:4] = 2
    (found,) = _measure(maps, labels=IGNORING)
    assert found.foreground_fraction.tolist() == [4 / 96, 4 / 96]
    assert found.disagreement is not None
    assert found.disagreement.iou == [1]


def test_an_object_larger_than_half_of_the_image_has_no_centre_distance():
    maps = np.zeros((1, 20, 20), np.uint8)
    maps[0, 2:14, 5] = 1
    maps[0, 2:4, 15] = 1
    (found,) = _measure(maps)
    assert found.objects.voxels.size == 2
    assert found.centre_distance.size == 1


def test_volumes_are_measured_whole_and_by_the_slice():
    maps = np.zeros((2, 6, 10, 10), np.uint8)
    maps[0, 1:4, 2:5, 2:5] = 1
    (found,) = _measure(maps, spacing_mm=(4.0, 1.0, 2.0), slice_axis=0)
    assert found.objects.voxels.tolist() == [27]
    assert found.objects.volume_mm.tolist() == [27 * 8]
    assert found.objects_of_slice is not None
    assert found.objects_of_slice.voxels.tolist() == [9, 9, 9]
    assert found.objects_of_slice.volume_mm.tolist() == [18, 18, 18]
    assert found.disagreement is not None
    assert found.disagreement.largest_piece[0]["whole"] == [27]
    assert found.disagreement.largest_piece_of_slice[0]["whole"] == [9, 9, 9]


def test_regions_may_overlap():
    regions = LabelScheme(
        names=("all", "core"), values=((1, 2), (2,)), is_regions=True, class_order=(1, 2)
    )
    maps = np.zeros((1, 10, 10), np.uint8)
    maps[0, 2:6, 2:6] = 1
    maps[0, 3:5, 3:5] = 2
    whole, core = _measure(maps, labels=regions)
    assert whole.objects.voxels.tolist() == [16]
    assert core.objects.voxels.tolist() == [4]
