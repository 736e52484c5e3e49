import numpy as np

from diffunet.plans import MaskPlan
from diffunet.wsss.masks.label_masks import label_masks, shared_thresholds

PLAN = MaskPlan(smoothing_voxels=0.0)
NAN = float("nan")


def masks_of(saliency, thresholds, *, plan=PLAN, slice_axis=None, is_exclusive=True):
    return label_masks(
        np.array(saliency, np.float32),
        np.array(thresholds, np.float64),
        plan=plan,
        slice_axis=slice_axis,
        is_exclusive=is_exclusive,
    )


def test_a_mask_is_where_the_map_is_above_the_threshold():
    masks = masks_of([[[0.0, 0.5, 0.6]]], [[0.5]])
    assert masks.tolist() == [[[False, False, True]]]


def test_the_sign_is_the_plans():
    plan = MaskPlan(sign="negative", smoothing_voxels=0.0)
    assert masks_of([[[-1.0, 1.0]]], [[0.5]], plan=plan).tolist() == [[[True, False]]]


def test_exclusive_labels_go_to_the_one_furthest_above_its_threshold():
    saliency = [[[1.0, 1.0, 1.0, 0.0]], [[0.875, 1.25, 1.5, 1.0]]]
    masks = masks_of(saliency, [[0.5, 0.75]])
    assert masks[0].tolist() == [[True, True, False, False]]
    assert masks[1].tolist() == [[False, False, True, True]]


def test_an_absent_label_takes_nothing_from_the_others():
    masks = masks_of([[[1.0]], [[9.0]]], [[0.5, NAN]])
    assert masks.tolist() == [[[True]], [[False]]]


def test_regions_may_overlap():
    assert masks_of([[[1.0]], [[2.0]]], [[0.5, 0.5]], is_exclusive=False).all()


def test_each_slice_has_its_threshold_whichever_axis_they_lie_along():
    saliency = np.ones((1, 2, 3, 4))
    for axis, shape in ((0, 2), (1, 3), (2, 4)):
        thresholds = np.full((shape, 1), 2.0)
        thresholds[1] = 0.5
        mask = masks_of(saliency, thresholds, slice_axis=axis)[0]
        assert np.moveaxis(mask, axis, 0)[1].all()
        assert mask.sum() == 24 // shape


def test_the_largest_component_is_that_of_each_slice():
    plan = MaskPlan(smoothing_voxels=0.0, components="largest")
    saliency = np.zeros((1, 2, 1, 5))
    saliency[0, 0, 0, [0, 2, 3]] = saliency[0, 1, 0, [0]] = 1.0
    mask = masks_of(saliency, [[0.5], [0.5]], plan=plan, slice_axis=0)[0]
    assert mask[:, 0].tolist() == [[False, False, True, True, False], [True] + [False] * 4]


def test_a_shared_threshold_is_the_mean_over_all_slices_of_a_set_that_show_the_label():
    ours = np.array([[1.0, NAN], [3.0, NAN]])
    others = np.array([[5.0, 7.0]])
    shared = shared_thresholds(ours, all_thresholds=[ours, others])
    assert np.array_equal(shared, [[3.0, NAN], [3.0, NAN]], equal_nan=True)
    assert shared_thresholds(others, all_thresholds=[ours, others]).tolist() == [[3.0, 7.0]]
