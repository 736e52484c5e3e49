import dataclasses

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import _build_kernel
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform

from diffunet.data.batches import batch_augment
from diffunet.data.batches.augment import Augmentation, SpatialChange
from diffunet.data.batches.batch_augment import BatchAugmentation, BatchPlace, balanced_factors
from diffunet.plans import AugmentationPlan
from diffunet.randomness import numpy_generator

NOTHING = dataclasses.replace(
    AugmentationPlan().without_intensity(), rotation_probability=0, scaling_probability=0
)
PROBABILITIES = [
    "gaussian_noise_probability",
    "gaussian_blur_probability",
    "brightness_probability",
    "contrast_probability",
    "low_resolution_probability",
    "inverted_gamma_probability",
    "gamma_probability",
]


def place(indices=range(6), *, iteration=3, global_size=6) -> BatchPlace:
    return BatchPlace(seed=1, iteration=iteration, indices=tuple(indices), global_size=global_size)


def pictures(count: int, channels: int, *shape: int) -> torch.Tensor:
    """Return smooth, noisy, skewed images: every change shows on them."""
    generator = numpy_generator("pictures")
    noise = generator.normal(size=(count, channels, *shape))
    waves = sum(
        np.sin(np.linspace(0, 6, edge)).reshape([-1 if a == b else 1 for b in range(len(shape))])
        for a, edge in enumerate(shape)
    )
    return torch.from_numpy(np.exp(0.3 * noise + waves)).float()


def changed(plan, images, **where):
    return BatchAugmentation(plan=plan)(images.clone(), None, place=place(**where))[0]


def test_with_every_probability_zero_nothing_changes():
    images = pictures(6, 2, 12, 10)
    assert torch.equal(changed(NOTHING, images), images)


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("shape", [(12, 10), (6, 10, 9)])
def test_each_change_changes_the_drawn_samples_and_no_other(name, shape):
    images = pictures(40, 1, *shape)
    plan = dataclasses.replace(NOTHING, **{name: 0.5})
    result = changed(plan, images, indices=range(40), global_size=40)
    is_changed = (result != images).flatten(1).any(dim=1)
    # half of the channels of a drawn sample are blurred or coarsened, so a quarter of the samples
    expected = 10 if "blur" in name or "resolution" in name else 20
    assert abs(int(is_changed.sum()) - expected) <= 7
    assert torch.isfinite(result).all()


def test_a_sample_does_not_depend_on_which_others_share_its_process():
    images, label_maps = pictures(6, 2, 12, 10), torch.arange(720).reshape(6, 12, 10)
    plan = dataclasses.replace(NOTHING, mirror_axes=(0, 1), **dict.fromkeys(PROBABILITIES, 0.7))
    augment = BatchAugmentation(plan=plan)
    whole = augment(images.clone(), label_maps.clone(), place=place())
    parts = [
        augment(images[rows].clone(), label_maps[rows].clone(), place=place(rows))
        for rows in ([0, 1], [2, 3, 4, 5])
    ]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), whole[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), whole[1])


def test_other_iterations_draw_anew():
    images = pictures(6, 1, 12, 10)
    plan = dataclasses.replace(NOTHING, brightness_probability=1.0)
    assert not torch.equal(changed(plan, images), changed(plan, images, iteration=4))


def test_images_and_label_maps_are_mirrored_alike():
    images = pictures(50, 1, 8, 6)
    label_maps = (images[:, 0] * 100).to(torch.int32)
    plan = dataclasses.replace(NOTHING, mirror_axes=(0, 1))
    where = place(range(50), global_size=50)
    mirrored, moved = BatchAugmentation(plan=plan)(images.clone(), label_maps.clone(), place=where)
    assert torch.equal((mirrored[:, 0] * 100).to(torch.int32), moved)
    kinds = [
        next(axes for axes in ((), (1,), (2,), (1, 2)) if torch.equal(image.flip(axes), result))
        for image, result in zip(images, mirrored, strict=True)
    ]
    assert {kinds.count(axes) > 4 for axes in ((), (1,), (2,), (1, 2))} == {True}


def test_contrast_is_that_of_batchgenerators():
    images = pictures(1, 1, 12, 10)
    plan = dataclasses.replace(NOTHING, contrast_probability=1.0)
    draws = place([0], global_size=1).uniform("contrast factors", 1, 2)
    factor = float(balanced_factors(draws, (0.75, 1.25))[0, 0])
    oracle = ContrastTransform(factor, preserve_range=True, synchronize_channels=False)
    expected = oracle(image=images[0].clone())["image"]
    result = changed(plan, images, indices=[0], global_size=1)
    torch.testing.assert_close(result[0], expected)


@pytest.mark.parametrize("is_inverted", [True, False])
def test_gamma_is_that_of_batchgenerators(is_inverted):
    images = pictures(1, 1, 12, 10)
    name = "inverted gamma" if is_inverted else "gamma"
    field = "inverted_gamma_probability" if is_inverted else "gamma_probability"
    plan = dataclasses.replace(NOTHING, **{field: 1.0})
    draws = place([0], global_size=1).uniform(f"{name} factors", 1, 2)
    gamma = float(balanced_factors(draws, (0.7, 1.5))[0, 0])
    oracle = GammaTransform(gamma, float(is_inverted), False, 1, 1)
    expected = oracle(image=images[0].clone())["image"]
    result = changed(plan, images, indices=[0], global_size=1)
    torch.testing.assert_close(result[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 11), (9, 12, 10)])
@pytest.mark.parametrize("scale", [0.5, 0.61, 0.77, 0.99])
def test_low_resolution_is_that_of_batchgenerators(shape, scale):
    image = pictures(1, 1, *shape)[0]
    oracle = SimulateLowResolutionTransform((scale, scale), False, True, None, None, 1)
    expected = oracle(image=image.clone())["image"]
    result = image
    for axis in range(len(shape)):
        result = batch_augment._coarsened(result, np.array([scale]), axis=1 + axis)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_blur_kernels_are_those_of_batchgenerators():
    sigmas = np.array([0.5, 0.58, 0.6, 0.74, 0.75, 0.9, 0.92, 1.0])
    kernels = batch_augment.blur_kernels(sigmas)
    for sigma, kernel in zip(sigmas, kernels, strict=True):
        oracle = _build_kernel(float(sigma), truncate=6).numpy()
        inside = kernel[3 - len(oracle) // 2 : 4 + len(oracle) // 2]
        np.testing.assert_allclose(inside, oracle, atol=1e-6)
        assert kernel.sum() == pytest.approx(inside.sum())


def test_a_blurred_field_is_convolved_with_its_own_kernel_along_each_axis():
    from scipy.ndimage import convolve1d

    fields, kernels = pictures(1, 3, 9, 12)[0], batch_augment.blur_kernels(np.array([0.5, 0.8, 1]))
    for axis in (0, 1):
        result = batch_augment._convolved(fields[None], kernels, axis=axis)[0]
        for field, kernel, blurred in zip(fields, kernels, result, strict=True):
            expected = convolve1d(field.numpy(), kernel, axis=axis, mode="mirror")
            np.testing.assert_allclose(blurred.numpy(), expected, rtol=1e-4)


def statistics(images: np.ndarray) -> np.ndarray:
    """Return what the changes leave: mean, deviation, skewness, extremes and power by frequency."""
    flat = images.reshape(len(images), -1)
    mean, std = flat.mean(axis=1), flat.std(axis=1)
    skewness = (((flat - mean[:, None]) / std[:, None]) ** 3).mean(axis=1)
    power = np.abs(np.fft.fft2(images - mean[:, None, None])) ** 2
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) for size in images.shape[1:]]))
    bands = [
        np.log(power[:, (low <= radius.T) & (radius.T - low < 0.1)].mean(axis=1) + 1e-9)
        for low in (0.02, 0.15, 0.3, 0.45)
    ]
    return np.stack([mean, std, skewness, flat.min(axis=1), flat.max(axis=1), *bands], axis=1)


@pytest.mark.slow
def test_changed_images_are_distributed_as_those_of_batchgenerators():
    count, shape = 3000, (24, 20)
    image = pictures(1, 1, *shape)[0]
    plan = dataclasses.replace(
        AugmentationPlan(mirror_axes=(0, 1)), rotation_probability=0, scaling_probability=0
    )
    one_by_one = Augmentation(plan=plan, patch_size=shape)
    still = SpatialChange(angles=(0.0, 0.0), scale=1.0)
    apart = np.stack(
        [one_by_one(image.numpy().copy(), None, change=still, seed=k)[0][0] for k in range(count)]
    )
    together = BatchAugmentation(plan=plan)(
        image[None].repeat(count, 1, 1, 1),
        None,
        place=place(range(count), global_size=count),
    )[0][:, 0].numpy()
    first, second = statistics(apart), statistics(together)
    # quantiles over images agree to a few standard errors of their difference
    for share in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98):
        one, other = np.quantile(first, share, axis=0), np.quantile(second, share, axis=0)
        spread = np.quantile(first, 0.98, axis=0) - np.quantile(first, 0.02, axis=0)
        np.testing.assert_array_less(np.abs(one - other), 0.06 * spread + 1e-6)
    np.testing.assert_allclose(first.mean(axis=0), second.mean(axis=0), atol=0.1)
