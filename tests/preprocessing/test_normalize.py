import numpy as np
import pytest

from diffunet.data.store.case import IntensityNormalization
from diffunet.errors import DatasetError
from diffunet.plans import NormalizationPlan
from diffunet.preprocessing import normalize
from diffunet.preprocessing.normalize import case_normalization


def normalized(channel, plan, mask=None):
    out = np.empty(channel.shape, np.float32)
    case_normalization(channel, plan, mask=mask).apply(channel, out=out)
    return out


def test_zscore_gives_mean_0_and_standard_deviation_1():
    channel = np.random.default_rng(0).normal(500, 30, size=(20, 30, 10)).astype(np.int16)
    found = normalized(channel, NormalizationPlan(scheme="zscore")).astype(np.float64)
    assert found.mean() == pytest.approx(0, abs=1e-5)
    assert found.std() == pytest.approx(1, abs=1e-5)


def test_statistics_do_not_depend_on_the_slabs(monkeypatch):
    channel = np.random.default_rng(1).normal(5, 3, size=(40, 8))
    whole = case_normalization(channel, NormalizationPlan(scheme="zscore"), mask=None)
    monkeypatch.setattr(normalize, "_SLAB_VOXELS", 24)
    slabs = case_normalization(channel, NormalizationPlan(scheme="zscore"), mask=None)
    assert slabs.shift == pytest.approx(channel.mean(), rel=1e-12)
    assert slabs.scale == pytest.approx(channel.std(), rel=1e-12)
    assert (slabs.shift, slabs.scale) == pytest.approx((whole.shift, whole.scale), rel=1e-12)


def test_zscore_with_a_mask_looks_only_inside_of_it():
    channel = np.array([[0, 0, 10, 14]], np.uint8)
    rule = case_normalization(
        channel, NormalizationPlan(scheme="zscore", uses_mask=True), mask=channel > 0
    )
    assert (rule.shift, rule.scale) == (12, 2)


def test_an_empty_mask_leaves_intensities_alone():
    channel = np.zeros((2, 2))
    rule = case_normalization(
        channel, NormalizationPlan(scheme="zscore", uses_mask=True), mask=channel > 0
    )
    assert rule == IntensityNormalization()


def test_a_constant_image_becomes_0():
    channel = np.full((3, 3), 0.1, np.float32)
    np.testing.assert_allclose(normalized(channel, NormalizationPlan()), 0, atol=1e-7)


def test_ct_clips_to_the_percentiles_of_the_dataset():
    plan = NormalizationPlan(scheme="ct", lower=-100.5, upper=300, mean=50, std=25)
    found = normalized(np.array([[-1000, 50, 75, 3000]], np.int16), plan)
    np.testing.assert_allclose(found, [[-150.5 / 25, 0, 1, 10]], rtol=1e-6)


def test_rescaling_maps_the_range_to_0_and_1():
    plan = NormalizationPlan(scheme="rescale_to_0_1")
    np.testing.assert_allclose(normalized(np.array([[-2.0, 0, 6]]), plan), [[0, 0.25, 1]])


def test_rgb_is_divided_by_255():
    found = normalized(np.array([[0, 51, 255]], np.uint8), NormalizationPlan(scheme="rgb_to_0_1"))
    np.testing.assert_allclose(found, [[0, 0.2, 1]])


def test_rgb_outside_of_8_bits_is_an_error_that_names_the_range():
    with pytest.raises(DatasetError, match=r"\[0, 255\], found 0 to 256"):
        normalized(np.array([[0, 256]], np.int16), NormalizationPlan(scheme="rgb_to_0_1"))


def test_none_leaves_intensities_alone():
    channel = np.array([[1, 2]], np.uint8)
    np.testing.assert_array_equal(normalized(channel, NormalizationPlan(scheme="none")), channel)


@pytest.mark.parametrize("scheme", ["zscore", "none", "ct", "rescale_to_0_1"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_intensities_that_are_not_finite_are_an_error(scheme, value):
    plan = NormalizationPlan(scheme=scheme, lower=0, upper=1, mean=0, std=1)
    with pytest.raises(DatasetError, match="NaN or infinity"):
        normalized(np.array([[1.0, value]]), plan)


def test_a_scale_of_0_is_refused():
    with pytest.raises(ValueError, match="positive"):
        IntensityNormalization(scale=0)
