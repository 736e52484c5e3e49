import dataclasses

import numpy as np
import pytest
import torch

from diffunet.data.batches.augment import Augmentation, SpatialChange, seeded_globals
from diffunet.plans import AugmentationPlan
from diffunet.randomness import numpy_generator

NOTHING = AugmentationPlan(
    rotation_probability=0,
    scaling_probability=0,
    gaussian_noise_probability=0,
    gaussian_blur_probability=0,
    brightness_probability=0,
    contrast_probability=0,
    low_resolution_probability=0,
    inverted_gamma_probability=0,
    gamma_probability=0,
)
EVERYTHING = AugmentationPlan(
    rotation_probability=1,
    scaling_probability=1,
    gaussian_noise_probability=1,
    gaussian_blur_probability=1,
    brightness_probability=1,
    contrast_probability=1,
    low_resolution_probability=1,
    inverted_gamma_probability=1,
    gamma_probability=1,
)


def picture(shape: tuple[int, ...]) -> np.ndarray:
    return numpy_generator("picture").normal(size=(2, *shape)).astype(np.float32)


def still(num_axes: int) -> SpatialChange:
    return SpatialChange(angles=(0.0,) * num_axes, scale=1.0)


def test_with_every_probability_zero_nothing_changes():
    image, label_maps = picture((12, 16)), np.ones((3, 12, 16), np.uint8)
    changed = Augmentation(plan=NOTHING, patch_size=(12, 16))(
        image.copy(), label_maps, change=still(2), seed=1
    )
    np.testing.assert_array_equal(changed[0], image)
    np.testing.assert_array_equal(changed[1], label_maps)


@pytest.mark.parametrize("patch_size", [(24, 20), (12, 10, 14)])
def test_the_same_seed_gives_the_same_patch_and_another_seed_another(patch_size):
    augmentation = Augmentation(plan=EVERYTHING, patch_size=patch_size)
    change = augmentation.draw_spatial(numpy_generator(5))
    image = picture(change.source_shape(patch_size))
    label_maps = (image[:1] > 0).astype(np.uint8)
    first, again, other = (
        augmentation(image.copy(), label_maps, change=change, seed=seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_global_generators_are_left_as_they_were():
    augmentation = Augmentation(plan=EVERYTHING, patch_size=(16, 16))
    change = augmentation.draw_spatial(numpy_generator(5))
    image = picture(change.source_shape((16, 16)))
    np.random.seed(3)
    torch.manual_seed(3)
    expected = np.random.random(), torch.rand(1).item()
    np.random.seed(3)
    torch.manual_seed(3)
    augmentation(image, np.zeros((1, *image.shape[1:]), np.uint8), change=change, seed=8)
    assert (np.random.random(), torch.rand(1).item()) == expected


def test_an_exception_inside_seeded_globals_restores_them_too():
    state, num_threads = torch.random.get_rng_state(), torch.get_num_threads()
    with pytest.raises(KeyError), seeded_globals(4):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == num_threads


def test_a_quarter_turn_is_the_quarter_turn_of_numpy_for_image_and_labels():
    augmentation = Augmentation(plan=NOTHING, patch_size=(9, 9))
    change = SpatialChange(angles=(0.0, np.pi / 2), scale=1.0)
    assert change.source_shape((9, 9)) == (9, 9)
    image, label_map = picture((9, 9)), numpy_generator(1).integers(0, 4, (1, 9, 9), np.uint8)
    turned, turned_labels = augmentation(image.copy(), label_map, change=change, seed=0)
    turns = [np.rot90(image, k, axes=(1, 2)) for k in (1, 3)]
    nearest = min(turns, key=lambda each: np.abs(each - turned).max())
    np.testing.assert_allclose(turned, nearest, atol=1e-4)
    k = 1 if nearest is turns[0] else 3
    np.testing.assert_array_equal(turned_labels, np.rot90(label_map, k, axes=(1, 2)))


def test_a_scale_of_two_shows_twice_as_much():
    augmentation = Augmentation(plan=NOTHING, patch_size=(8, 8))
    change = SpatialChange(angles=(0.0, 0.0), scale=2.0)
    rows, columns = np.indices(change.source_shape((8, 8)), np.float32)
    changed, _ = augmentation(
        np.stack([rows, columns]), np.zeros((1, *rows.shape), np.uint8), change=change, seed=0
    )
    np.testing.assert_allclose(np.diff(changed[0], axis=0), 2, atol=1e-4)
    np.testing.assert_allclose(np.diff(changed[1], axis=1), 2, atol=1e-4)


@pytest.mark.parametrize("patch_size", [(16, 16), (15, 22), (8, 12, 10), (7, 9, 13)])
def test_a_changed_patch_shows_nothing_from_outside_of_its_source(patch_size):
    plan = dataclasses.replace(NOTHING, rotation_probability=1, scaling_probability=1)
    augmentation = Augmentation(plan=plan, patch_size=patch_size)
    for number in range(20):
        change = augmentation.draw_spatial(numpy_generator(number))
        shape = change.source_shape(patch_size)
        assert all((a - b) % 2 == 0 for a, b in zip(shape, patch_size, strict=True))
        ones = np.ones((1, *shape), np.float32)
        image, labels = augmentation(ones, ones.astype(np.uint8), change=change, seed=0)
        np.testing.assert_allclose(image, 1, atol=1e-5)
        assert (labels == 1).all()


def test_a_first_axis_treated_apart_is_neither_rotated_nor_scaled():
    plan = dataclasses.replace(
        NOTHING, rotation_probability=1, scaling_probability=1, treats_first_axis_apart=True
    )
    augmentation = Augmentation(plan=plan, patch_size=(4, 12, 12))
    change = augmentation.draw_spatial(numpy_generator(1))
    shape = change.source_shape((4, 12, 12))
    assert shape[0] == 4
    image = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None], shape)[None].copy()
    changed, labels = augmentation(image, image.astype(np.uint8), change=change, seed=0)
    np.testing.assert_allclose(changed[0].mean(axis=(1, 2)), np.arange(4), atol=1e-4)
    assert (labels[0] == np.arange(4)[:, None, None]).all()


def test_all_raters_are_changed_alike_and_follow_the_image():
    plan = dataclasses.replace(NOTHING, rotation_probability=1, mirror_axes=(0, 1))
    augmentation = Augmentation(plan=plan, patch_size=(32, 32))
    change = augmentation.draw_spatial(numpy_generator(2))
    shape = change.source_shape((32, 32))
    rows, columns = np.indices(shape)
    disc = (np.hypot(rows - shape[0] / 2 - 5, columns - shape[1] / 2) < 7).astype(np.uint8)
    label_maps = np.stack([disc, disc * 2, np.zeros_like(disc)])
    image, changed = augmentation(disc[None].astype(np.float32), label_maps, change=change, seed=4)
    np.testing.assert_array_equal(changed[1], 2 * changed[0])
    assert not changed[2].any()
    assert ((image[0] > 0.5) == changed[0]).mean() > 0.995


def test_labels_beyond_255_keep_their_values_and_type():
    augmentation = Augmentation(plan=NOTHING, patch_size=(8, 8))
    change = SpatialChange(angles=(0.0, 0.3), scale=1.0)
    label_maps = np.full((1, *change.source_shape((8, 8))), 40000, np.uint16)
    _, changed = augmentation(label_maps.astype(np.float32), label_maps, change=change, seed=0)
    assert changed.dtype == np.uint16
    assert (changed == 40000).all()


def test_axes_too_short_to_blur_are_left_sharp():
    plan = dataclasses.replace(NOTHING, gaussian_blur_probability=1)
    augmentation = Augmentation(plan=plan, patch_size=(2, 16, 16))
    image = np.zeros((8, 2, 16, 16), np.float32)
    image[:, 0] = 1
    changed, _ = augmentation(image, np.zeros((1, 2, 16, 16), np.uint8), change=still(3), seed=3)
    np.testing.assert_allclose(changed[:, 0], 1, atol=1e-5)
    np.testing.assert_allclose(changed[:, 1], 0, atol=1e-5)


def test_rotation_and_scaling_happen_as_often_as_planned():
    augmentation = Augmentation(
        plan=AugmentationPlan(rotation_probability=0.2, scaling_probability=0.6),
        patch_size=(16, 16),
    )
    changes = [augmentation.draw_spatial(numpy_generator(k)) for k in range(2000)]
    assert np.mean([any(each.angles) for each in changes]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([each.scale != 1 for each in changes]) == pytest.approx(0.6, abs=0.04)
    assert max(abs(angle) for each in changes for angle in each.angles) <= np.radians(30)
    assert {0.7 <= each.scale <= 1.4 for each in changes} == {True}
