import pytest
import torch

from diffunet.inference.sliding_window import Tiling, crop_to, mirrorings, pad_to


@pytest.mark.parametrize(
    "image_shape, patch_size, step_size",
    [
        ((64,), (16,), 0.5),
        ((50, 37), (16, 8), 0.5),
        ((50, 37), (16, 8), 1.0),
        ((3, 20, 21), (8, 8), 0.25),
        ((19, 20, 21), (8, 16, 8), 0.7),
        ((5, 30), (8, 16), 0.5),
    ],
)
def test_weights_of_all_tiles_add_up_to_one(image_shape, patch_size, step_size):
    tiling = Tiling(image_shape=image_shape, patch_size=patch_size, step_size=step_size)
    total = torch.zeros(tiling.shape)
    for start in tiling.starts:
        total[tiling.slices(start)] += tiling.weights(start)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_weights_are_gaussians_of_an_eighth_of_the_tile():
    tiling = Tiling(image_shape=(24,), patch_size=(16,), step_size=0.5)
    first, second = (tiling.weights(start) for start in tiling.starts)
    # at voxel 11 the centres, at 7.5 and 15.5, are 3.5 and 4.5 voxels = 1.75 and 2.25 sigma away
    expected = torch.tensor([-(1.75**2) / 2, -(2.25**2) / 2]).softmax(0)
    assert torch.allclose(torch.stack([first[11], second[3]]), expected, atol=1e-6)


def test_tiles_come_in_lexicographic_order():
    tiling = Tiling(image_shape=(20, 20), patch_size=(8, 8), step_size=0.5)
    assert tiling.starts == sorted(tiling.starts)
    assert len(tiling.starts) == 16


def test_a_2d_patch_cuts_every_slice_of_a_volume():
    tiling = Tiling(image_shape=(3, 8, 12), patch_size=(8, 8), step_size=0.5)
    assert tiling.tile == (1, 8, 8)
    assert tiling.starts == [(z, 0, x) for z in range(3) for x in (0, 4)]


def test_padding_puts_the_image_in_the_middle_of_zeros():
    image = torch.ones(2, 3, 4)
    padded = pad_to(image, (6, 4))
    assert padded.shape == (2, 6, 4)
    assert torch.equal(padded[:, 1:4], image)
    assert padded.sum() == image.sum()


def test_padding_then_cropping_returns_the_image():
    image = torch.randn(2, 3, 4, 5)
    assert torch.equal(crop_to(pad_to(image, (8, 4, 6)), (3, 4, 5)), image)


def test_an_image_of_the_right_shape_is_not_copied():
    image = torch.randn(1, 8, 8)
    assert pad_to(image, (8, 8)) is image


def test_mirrorings_are_all_sets_of_axes_the_empty_one_first():
    assert mirrorings(()) == [()]
    assert mirrorings((0, 2)) == [(), (0,), (2,), (0, 2)]


def test_chunks_keep_the_order():
    tiling = Tiling(image_shape=(24,), patch_size=(8,), step_size=1.0)
    assert tiling.chunks([2, 1]) == [[(0,), (8,)], [(16,)]]
