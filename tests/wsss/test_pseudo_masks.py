import math

import numpy as np
import pytest
from scipy import ndimage

from diffunet.labels import LabelScheme
from diffunet.plans import MaskPlan
from diffunet.wsss.masks.pseudo_masks import (
    largest_component,
    mask_of,
    mean_threshold,
    oriented_map,
    otsu_threshold,
    pseudo_label_map,
    shared_threshold,
    smoothed_map,
    strongest_component,
    threshold_of,
    unsure_mask,
    upper_otsu_threshold,
)

PLAIN = MaskPlan(smoothing_voxels=0.0)


def prepared_map(saliency: np.ndarray, *, plan: MaskPlan) -> np.ndarray:
    return oriented_map(smoothed_map(saliency, plan=plan), plan=plan)


def two_groups(seed: int = 0, *, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    high = generator.random(shape) < 0.2
    return np.where(high, generator.normal(3, 0.5, shape), generator.normal(0, 1, shape))


def skimage_threshold(values: np.ndarray) -> float:
    """Otsu's threshold by the definition of scikit-image, one candidate at a time."""
    counts, edges = np.histogram(values.ravel(), bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    variances = []
    for last in range(255):
        lower, upper = counts[: last + 1], counts[last + 1 :]
        first_mean = np.average(centres[: last + 1], weights=lower)
        second_mean = np.average(centres[last + 1 :], weights=upper)
        variances.append(lower.sum() * upper.sum() * (first_mean - second_mean) ** 2)
    return next(
        c for c, v in zip(centres, variances, strict=False) if v > 0.9999999 * max(variances)
    )


def blob(centre: tuple[int, int], radius: float, size: int = 32) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


@pytest.mark.parametrize("seed", range(8))
def test_otsus_threshold_is_that_of_scikit_image(seed):
    values = two_groups(seed) ** (1 + seed % 3)
    assert otsu_threshold(values) == pytest.approx(skimage_threshold(values), rel=1e-12)


def test_otsus_threshold_separates_two_values():
    assert 0.0 < otsu_threshold(np.array([0.0, 0.0, 0.0, 1.0])) < 1.0


def test_the_threshold_follows_a_change_of_units():
    values = two_groups()
    assert otsu_threshold(100 + 7 * values) == pytest.approx(100 + 7 * otsu_threshold(values))


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-30])
def test_nothing_is_above_the_threshold_of_equal_values(value):
    values = np.full((4, 4), value, np.float32)
    assert not (values > otsu_threshold(values)).any()


@pytest.mark.parametrize(
    "values", [np.array([0.0, np.nan]), np.array([np.inf, 1.0]), np.zeros((0, 3))]
)
def test_values_that_are_not_finite_or_absent_are_refused(values):
    with pytest.raises(ValueError, match="finite values"):
        otsu_threshold(values)


def test_float32_values_one_step_apart_have_a_threshold_between_them():
    low = np.float32(1.0)
    values = np.array([low, np.nextafter(low, np.float32(2))])
    assert list(values > otsu_threshold(values)) == [False, True]


def test_a_map_is_smoothed_within_its_slices_only():
    saliency = np.zeros((3, 21, 21), np.float32)
    saliency[1, 10, 10] = 1
    smooth = prepared_map(saliency, plan=MaskPlan(smoothing_voxels=2.0))
    assert not smooth[[0, 2]].any()
    along = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    along /= along.sum()
    np.testing.assert_allclose(smooth[1, 2:19, 10], along * along[8], rtol=1e-5)


def test_a_volume_is_prepared_as_its_slices_are():
    saliency = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    plan = MaskPlan(sign="absolute", smoothing_voxels=1.5)
    slices = [prepared_map(each, plan=plan) for each in saliency]
    np.testing.assert_array_equal(prepared_map(saliency, plan=plan), np.stack(slices))


def test_the_sign_chooses_which_values_speak_for_the_label():
    saliency = np.array([[-2.0, 0.0, 3.0]])
    for plan, expected in (
        (MaskPlan(smoothing_voxels=0, sign="positive"), [0, 0, 3]),
        (MaskPlan(smoothing_voxels=0, sign="negative"), [2, 0, 0]),
        (MaskPlan(smoothing_voxels=0, sign="absolute"), [2, 0, 3]),
    ):
        np.testing.assert_array_equal(prepared_map(saliency, plan=plan), [expected])


def test_absolute_values_are_taken_after_noise_has_cancelled():
    rows, columns = np.indices((32, 32))
    checkers = np.where((rows + columns) % 2, 1.0, -1.0)
    smooth = prepared_map(checkers, plan=MaskPlan(sign="absolute", smoothing_voxels=2.0))
    assert smooth[8:-8, 8:-8].max() < 1e-3


def test_a_dark_structure_does_not_pull_the_threshold_below_zero():
    saliency = np.random.default_rng(0).normal(0, 0.05, (32, 32))
    saliency[blob((8, 8), 6)] = -10
    saliency[blob((24, 24), 4)] = 1
    prepared = prepared_map(saliency, plan=PLAIN)
    mask = mask_of(prepared, threshold_of(prepared, plan=PLAIN), plan=PLAIN)
    np.testing.assert_array_equal(mask, blob((24, 24), 4))


def test_otsu_gives_each_slice_its_own_threshold():
    maps = np.stack([two_groups(0), 10 * two_groups(1)])
    found = threshold_of(maps, plan=MaskPlan(threshold="otsu"))
    np.testing.assert_allclose(found, [otsu_threshold(each) for each in maps])


def test_otsu_volume_gives_the_threshold_of_all_present_slices_pooled():
    maps = np.stack([two_groups(0), 10 * two_groups(1), 100 * two_groups(2)])
    shown = np.array([True, True, False])
    found = threshold_of(maps, plan=MaskPlan(threshold="otsu_volume"), is_present=shown)
    expected = otsu_threshold(maps[:2])
    np.testing.assert_array_equal(found, [expected, expected, np.nan])


def test_a_fixed_threshold_is_that_of_the_plan():
    plan = MaskPlan(threshold="fixed", threshold_value=0.25)
    found = threshold_of(np.zeros((2, 4, 4)), plan=plan, is_present=np.array([False, True]))
    np.testing.assert_array_equal(found, [np.nan, 0.25])


def test_an_image_without_slices_has_one_threshold():
    image = two_groups()
    assert float(threshold_of(image, plan=PLAIN)) == otsu_threshold(image)
    assert np.isnan(threshold_of(image, plan=PLAIN, is_present=np.array(False)))


def test_slices_without_the_label_have_empty_masks_under_every_rule():
    maps = np.stack([two_groups(0), two_groups(1)])
    for plan in (
        MaskPlan(threshold="otsu"),
        MaskPlan(threshold="otsu_volume"),
        MaskPlan(threshold="fixed", threshold_value=1.0),
    ):
        thresholds = threshold_of(maps, plan=plan, is_present=np.array([False, True]))
        mask = mask_of(maps, thresholds, plan=plan)
        assert (mask[0].any(), mask[1].any()) == (False, True)


def test_maps_of_absent_slices_are_not_looked_at():
    maps = np.full((2, 4, 4), np.nan)
    assert np.isnan(threshold_of(maps, plan=PLAIN, is_present=np.zeros(2, bool))).all()


def test_the_mean_threshold_is_over_the_slices_that_show_the_label():
    thresholds = [np.array([1.0, np.nan, 3.0]), np.array(8.0)]
    assert mean_threshold(thresholds) == 4.0


def test_the_mean_threshold_of_a_set_without_the_label_is_undefined():
    assert math.isnan(mean_threshold([np.array([np.nan]), np.array(np.nan)]))
    assert math.isnan(mean_threshold([]))


def test_the_shared_threshold_replaces_those_of_slices_with_the_label_only():
    np.testing.assert_array_equal(
        shared_threshold(np.array([1.0, np.nan]), 2.5), np.array([2.5, np.nan])
    )


def test_two_passes_give_every_image_of_a_set_the_mean_threshold():
    plan = MaskPlan(threshold="otsu_mean")
    maps = [two_groups(seed) * (1 + seed) for seed in range(3)]
    own = [threshold_of(each, plan=plan) for each in maps]
    mean = mean_threshold(own)
    assert mean == pytest.approx(np.mean([otsu_threshold(each) for each in maps]))
    for each, threshold in zip(maps, own, strict=True):
        found = mask_of(each, shared_threshold(threshold, mean), plan=plan)
        np.testing.assert_array_equal(found, each > mean)


def test_a_constant_map_has_an_empty_mask():
    flat = np.full((2, 8, 8), 0.7)
    assert not mask_of(flat, threshold_of(flat, plan=PLAIN), plan=PLAIN).any()


def test_the_largest_component_of_each_slice_is_kept():
    small, large = blob((6, 6), 2), blob((20, 20), 6)
    mask = np.stack([small | large, small])
    np.testing.assert_array_equal(largest_component(mask), np.stack([large, small]))


def test_the_largest_component_is_that_of_an_independent_labelling():
    mask = np.random.default_rng(3).random((40, 40)) < 0.4
    components = np.zeros(mask.shape, int)
    ndimage.label(mask, np.ones((3, 3)), output=components)
    best = max(
        range(1, components.max() + 1), key=lambda number: np.count_nonzero(components == number)
    )
    np.testing.assert_array_equal(largest_component(mask), components == best)


def test_an_empty_mask_has_no_largest_component():
    assert not largest_component(np.zeros((2, 5, 5), bool)).any()


def test_a_plan_drops_smaller_components():
    values = np.where(blob((6, 6), 2) | blob((20, 20), 6), 1.0, 0.0)
    plan = MaskPlan(components="largest")
    found = mask_of(values, threshold_of(values, plan=plan), plan=plan)
    np.testing.assert_array_equal(found, blob((20, 20), 6))


def test_pixels_are_unsure_between_shares_of_the_way_to_the_means_of_their_sides():
    # threshold 4; means 1 below (0, 0, 3) and 8 above (6, 8, 10): with half of the way unsure in
    # (2.5, 6]
    values = np.array([[0.0, 0.0, 3.0, 6.0, 8.0, 10.0]])
    plan = MaskPlan(threshold="fixed", threshold_value=4.0, unsure_share=0.5)
    found = unsure_mask(values, np.array(4.0), plan=plan)
    np.testing.assert_array_equal(found, [[False, False, True, True, False, False]])


def test_no_pixel_is_unsure_with_a_share_of_none():
    values = two_groups()
    found = unsure_mask(values, threshold_of(values, plan=PLAIN), plan=MaskPlan(unsure_share=0.0))
    assert not found.any()


def test_more_pixels_are_unsure_with_a_larger_share():
    values = two_groups()
    threshold = threshold_of(values, plan=PLAIN)
    counts = [
        np.count_nonzero(unsure_mask(values, threshold, plan=MaskPlan(unsure_share=share)))
        for share in (0.2, 0.5, 1.0)
    ]
    assert 0 < counts[0] < counts[1] < counts[2] < values.size


@pytest.mark.parametrize("threshold", [-5.0, 50.0])
def test_a_threshold_beyond_all_values_leaves_none_unsure_on_its_empty_side(threshold):
    values = np.array([[0.0, 1.0, 2.0]])
    plan = MaskPlan(unsure_share=1.0)
    found = unsure_mask(values, np.array(threshold), plan=plan)
    if threshold < 0:  # all above; the mean of the upper side is 1
        np.testing.assert_array_equal(found, [[True, True, False]])
    else:  # all below; the mean of the lower side is 1
        np.testing.assert_array_equal(found, [[False, False, True]])


def test_slices_without_the_label_are_surely_background():
    assert not unsure_mask(two_groups()[None], np.array([np.nan]), plan=PLAIN).any()


def test_what_the_largest_component_leaves_out_is_unsure():
    small, large = blob((6, 6), 2), blob((20, 20), 6)
    values = np.where(small | large, 1.0, 0.0)
    plan = MaskPlan(components="largest")
    found = unsure_mask(values, threshold_of(values, plan=plan), plan=plan)
    np.testing.assert_array_equal(found & small, small)


def test_unsure_pixels_hold_the_ignore_label():
    labels = LabelScheme(names=("a", "b"), values=((1,), (2,)), ignore_value=3)
    masks = np.array([[[1, 1, 0, 0]], [[0, 0, 1, 0]]], bool)
    unsure = np.array([[[0, 1, 0, 0]], [[0, 0, 0, 1]]], bool)
    found = pseudo_label_map(masks, unsure, labels=labels)
    np.testing.assert_array_equal(found, [[1, 3, 2, 3]])


def test_without_an_ignore_label_unsure_pixels_are_refused():
    labels = LabelScheme(names=("a",), values=((1,),))
    mask = np.ones((1, 2, 2), bool)
    with pytest.raises(ValueError, match="4 unsure pixels need a label scheme with 'ignore'"):
        pseudo_label_map(mask, mask, labels=labels)
    np.testing.assert_array_equal(pseudo_label_map(mask, ~mask, labels=labels), np.ones((2, 2)))


def test_an_unsure_share_above_one_is_refused():
    with pytest.raises(ValueError, match="unsure_share"):
        MaskPlan(unsure_share=1.5)


def test_half_of_the_maximum_is_a_threshold_of_each_slice():
    maps = np.stack([np.full((4, 4), 1.0), np.arange(16.0).reshape(4, 4)])
    plan = MaskPlan(threshold="maximum", maximum_share=0.5)
    np.testing.assert_allclose(threshold_of(maps, plan=plan), [0.5, 7.5])


def test_the_upper_threshold_finds_the_rarest_of_three_classes():
    values = np.repeat([0.0, 1.0, 5.0], [900, 90, 10]).reshape(20, 50)
    values += np.random.default_rng(0).normal(0, 0.05, values.shape)
    upper = float(threshold_of(values, plan=MaskPlan(threshold="otsu_upper")))
    assert 1.1 < upper < 4.8
    skewed = np.repeat([0.0, 1.0, 1.8], [900, 90, 10]) + np.linspace(0, 0.1, 1000)
    first = otsu_threshold(skewed)
    assert first < 1.0
    assert first < upper_otsu_threshold(skewed)


def test_the_upper_threshold_of_equal_values_is_their_value():
    assert upper_otsu_threshold(np.full((3, 3), 2.0)) == 2.0


def test_the_strongest_component_holds_the_largest_value():
    prepared = np.zeros((2, 6, 6))
    prepared[:, :3, :3], prepared[:, 5, 5] = 1.0, 2.0
    prepared[1, 5, 5] = 0.5
    plan = MaskPlan(components="strongest")
    mask = mask_of(prepared, np.array([0.4, 0.4]), plan=plan)
    assert np.argwhere(mask[0]).tolist() == [[5, 5]]
    assert mask[1].sum() == 9
    assert mask[1, :3, :3].all()


def test_a_larger_value_beside_the_mask_does_not_make_a_component_the_strongest():
    prepared = np.array([[1.0, 0.0, 2.0, 0.0, 9.0]])
    mask = np.array([[True, False, True, False, False]])
    assert np.argwhere(strongest_component(mask, prepared)).tolist() == [[0, 2]]


def test_an_empty_mask_has_no_strongest_component():
    plan = MaskPlan(components="strongest")
    assert not mask_of(np.zeros((4, 4)), np.array(1.0), plan=plan).any()
