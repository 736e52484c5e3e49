import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice
from monai.metrics.utils import get_mask_edges, get_surface_distance
from scipy import ndimage

from diffunet.evaluation.surface import surface, surface_distances


def blob(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 2) > 0.03


SHAPES = [((40, 30), (0.7, 1.3)), ((14, 18, 16), (3.0, 0.8, 1.0))]


@pytest.mark.parametrize("shape", [(40, 30), (14, 18, 16), (1, 9), (5,)])
def test_surface_is_what_an_erosion_removes(shape):
    mask = blob(0, shape)
    np.testing.assert_array_equal(surface(mask), mask ^ ndimage.binary_erosion(mask))


@pytest.mark.parametrize("shape, spacing_mm", SHAPES)
def test_distances_equal_those_of_monai(shape, spacing_mm):
    first, second = blob(1, shape), blob(2, shape)
    ours = surface_distances(first, second, spacing_mm=spacing_mm)
    edges = get_mask_edges(first, second, crop=False)
    forward = get_surface_distance(*edges, distance_metric="euclidean", spacing=spacing_mm)
    backward = get_surface_distance(*edges[::-1], distance_metric="euclidean", spacing=spacing_mm)
    np.testing.assert_allclose(np.sort(ours.from_prediction), np.sort(forward), atol=1e-5)
    np.testing.assert_allclose(np.sort(ours.from_reference), np.sort(backward), atol=1e-5)


@pytest.mark.parametrize("shape, spacing_mm", SHAPES)
def test_hd95_is_the_percentile_of_both_ways_pooled(shape, spacing_mm):
    first, second = blob(1, shape), blob(2, shape)
    surfaces = [mask ^ ndimage.binary_erosion(mask) for mask in (first, second)]
    pooled = [
        ndimage.distance_transform_edt(~target, sampling=spacing_mm)[source]
        for source, target in (surfaces, surfaces[::-1])
    ]
    expected = np.percentile(np.concatenate(pooled), 95)
    ours = surface_distances(first, second, spacing_mm=spacing_mm)
    assert ours.hd95 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape, spacing_mm", SHAPES)
@pytest.mark.parametrize("tolerance_mm", [0.5, 1.0, 3.0])
def test_surface_dice_equals_monai(shape, spacing_mm, tolerance_mm):
    first, second = blob(1, shape), blob(2, shape)
    expected = compute_surface_dice(
        torch.from_numpy(first)[None, None],
        torch.from_numpy(second)[None, None],
        class_thresholds=[tolerance_mm],
        include_background=True,
        spacing=spacing_mm,
    )
    ours = surface_distances(first, second, spacing_mm=spacing_mm)
    assert ours.surface_dice(tolerance_mm=tolerance_mm) == pytest.approx(float(expected), abs=1e-6)


def test_two_voxels_are_their_spacing_apart():
    first, second = np.zeros((2, 8, 8), bool)
    first[1, 1], second[4, 5] = True, True
    distances = surface_distances(first, second, spacing_mm=(2.0, 0.5))
    assert distances.hd95 == pytest.approx(math.hypot(6.0, 2.0))
    assert distances.surface_dice(tolerance_mm=6.3) == 0.0
    assert distances.surface_dice(tolerance_mm=6.4) == 1.0


def test_equal_masks_are_not_apart():
    mask = blob(3, (20, 20))
    distances = surface_distances(mask, mask, spacing_mm=(1.0, 1.0))
    assert (distances.hd95, distances.surface_dice(tolerance_mm=0.0)) == (0.0, 1.0)


def test_two_empty_masks_agree_fully():
    empty = np.zeros((3, 4), bool)
    distances = surface_distances(empty, empty, spacing_mm=(1.0, 1.0))
    assert (distances.hd95, distances.surface_dice(tolerance_mm=1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("is_prediction_empty", [True, False])
def test_one_empty_mask_is_the_diagonal_of_the_image_apart(is_prediction_empty):
    masks = [np.zeros((3, 4), bool), np.zeros((3, 4), bool)]
    masks[1 if is_prediction_empty else 0][1:, 1:] = True
    distances = surface_distances(*masks, spacing_mm=(2.0, 2.0))
    assert (distances.hd95, distances.surface_dice(tolerance_mm=100.0)) == (10.0, 0.0)
