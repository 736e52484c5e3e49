import numpy as np
import pytest

from diffunet.plans import MaskPlan
from diffunet.wsss.masks.edges import smooth_within_edges
from diffunet.wsss.masks.pseudo_masks import smoothed_map

RNG = np.random.default_rng(0)


def exact(saliency, image, *, sigma, contrast):
    """Return the joint bilateral filter by its definition, mirrored at the border as scipy does."""
    reach = int(4 * sigma + 0.5)
    padded, guide = (np.pad(each, reach, mode="symmetric") for each in (saliency, image))
    rows, columns = saliency.shape
    total, weights = np.zeros(saliency.shape), np.zeros(saliency.shape)
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            part = slice(dy, dy + rows), slice(dx, dx + columns)
            distance = (dy - reach) ** 2 + (dx - reach) ** 2
            weight = np.exp(-distance / (2 * sigma**2))
            weight = weight * np.exp(-((guide[part] - image) ** 2) / (2 * contrast**2))
            total += weight * padded[part]
            weights += weight
    return total / weights


@pytest.mark.parametrize("contrast", [0.3, 1.0, 5.0])
def test_it_is_the_joint_bilateral_filter(contrast):
    saliency, image = RNG.normal(size=(2, 24, 20))
    found = smooth_within_edges(saliency, image[None], sigma_voxels=2.0, contrast=contrast)
    expected = exact(saliency, image, sigma=2.0, contrast=contrast)
    error = np.abs(found - expected)
    assert error.mean() < 0.02 * np.ptp(saliency)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_where_the_image_is_flat_it_is_a_gaussian_filter():
    saliency = RNG.normal(size=(16, 16))
    found = smooth_within_edges(saliency, np.ones((1, 16, 16)), sigma_voxels=2.0, contrast=0.3)
    expected = smoothed_map(saliency, plan=MaskPlan(smoothing_voxels=2.0))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_nothing_leaks_over_an_edge():
    image = np.zeros((1, 16, 16))
    image[0, :, 8:] = 3.0
    saliency = np.where(image[0] > 0, 1.0, 0.0)
    found = smooth_within_edges(saliency, image, sigma_voxels=4.0, contrast=0.3)
    np.testing.assert_allclose(found, saliency, atol=1e-6)


def test_a_blob_takes_the_shape_of_the_object_it_lies_in():
    image = np.zeros((1, 32, 32))
    image[0, 8:20, 10:16] = 2.0
    blob = np.zeros((32, 32))
    blob[14, 12] = 1.0
    blob = smoothed_map(blob, plan=MaskPlan(smoothing_voxels=4.0))
    found = smooth_within_edges(blob, image, sigma_voxels=6.0, contrast=0.3)
    assert found[image[0] > 0].min() > found[image[0] == 0].max()


def test_slices_are_filtered_apart_and_channels_averaged():
    saliency, image = RNG.normal(size=(3, 12, 10)), RNG.normal(size=(2, 3, 12, 10))
    found = smooth_within_edges(saliency, image, sigma_voxels=2.0, contrast=0.5)
    for index in range(3):
        each = [
            smooth_within_edges(
                saliency[index], image[channel, index][None], sigma_voxels=2.0, contrast=0.5
            )
            for channel in range(2)
        ]
        np.testing.assert_allclose(found[index], np.mean(each, axis=0), atol=1e-12)


def test_type_and_sign_of_a_map_are_kept():
    saliency = RNG.normal(size=(12, 10)).astype(np.float32)
    image = RNG.normal(size=(1, 12, 10)).astype(np.float32)
    arguments = {"sigma_voxels": 2.0, "contrast": 0.5}
    found = smooth_within_edges(saliency, image, **arguments)
    assert found.dtype == np.float32
    np.testing.assert_allclose(smooth_within_edges(-saliency, image, **arguments), -found)


def test_a_plan_with_edges_smooths_first_everywhere_and_then_up_to_edges():
    saliency, image = RNG.normal(size=(12, 10)), RNG.normal(size=(1, 12, 10))
    plan = MaskPlan(smoothing_voxels=1.5, edge_smoothing_voxels=3.0, edge_contrast=0.4)
    gaussian = smoothed_map(saliency, plan=MaskPlan(smoothing_voxels=1.5))
    expected = smooth_within_edges(gaussian, image, sigma_voxels=3.0, contrast=0.4)
    np.testing.assert_array_equal(smoothed_map(saliency, plan=plan, image=image), expected)


def test_edges_without_an_image_are_refused():
    with pytest.raises(ValueError, match="needs the image"):
        smoothed_map(np.zeros((4, 4)), plan=MaskPlan(edge_smoothing_voxels=1.0))


@pytest.mark.parametrize(
    "wrong",
    [{"edge_smoothing_voxels": -1.0}, {"edge_contrast": 0.0}],
    ids=lambda each: next(iter(each)),
)
def test_impossible_edges_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MaskPlan(**wrong)
