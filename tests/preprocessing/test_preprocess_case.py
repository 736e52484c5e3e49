from dataclasses import replace

import numpy as np
import pytest

from diffunet.errors import DatasetError
from diffunet.geometry import Box
from diffunet.preprocessing.case import preprocess_case, restore_channel, restore_x_0
from diffunet.preprocessing.resample import resample_image
from tests.preprocessing.raw_datasets import configuration


def volume(shape=(9, 20, 24), *, num_channels=1):
    generator = np.random.default_rng(0)
    image = np.zeros((num_channels, *shape), np.int16)
    image[:, 1:-1, 3:-2, 2:-4] = generator.integers(
        1, 2000, size=(num_channels, shape[0] - 2, shape[1] - 5, shape[2] - 6)
    )
    return image


def preprocess(
    image,
    label_maps=None,
    *,
    spacing_mm=(3, 1, 1),
    target_mm=(3.0, 1.0, 1.0),
    transpose=(0, 1, 2),
    patch_size=(8, 8, 8),
    **plan,
):
    plan = {"patch_size": patch_size, "spacing_mm": target_mm, **plan}
    return preprocess_case(
        image,
        label_maps,
        spacing_mm=spacing_mm,
        configuration=configuration(num_channels=len(image), **plan),
        transpose_forward=transpose,
        case="x",
    )


def test_without_resampling_the_source_values_are_stored_and_normalised_on_load():
    image = volume()
    case = preprocess(image)
    inner = image[:, 1:-1, 3:-2, 2:-4]
    assert not case.properties.is_normalized
    assert case.image.dtype == np.int16
    np.testing.assert_array_equal(case.image, inner)
    expected = (inner - inner.mean()) / inner.std()
    found = case.properties.normalized(case.image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_patch_is_normalised_like_the_whole():
    case = preprocess(volume())
    patch = (slice(None), slice(1, 4), slice(2, 9), slice(5, 6))
    np.testing.assert_array_equal(
        case.properties.normalized(case.image[patch]),
        case.properties.normalized(case.image)[patch],
    )


def test_a_resampled_image_is_stored_normalised_and_clipped_to_its_range():
    image = volume()
    case = preprocess(image, spacing_mm=(3, 2, 1))
    inner = image[0, 1:-1, 3:-2, 2:-4]
    normalized = ((inner - inner.mean()) / inner.std()).astype(np.float32)
    expected = resample_image(normalized, case.properties.shape, order=3, nearest_axis=None)
    assert case.properties.is_normalized
    assert case.properties.shape == (7, 30, 18)
    assert (expected.max() > normalized.max()) or (expected.min() < normalized.min())
    np.testing.assert_allclose(
        case.image[0], np.clip(expected, normalized.min(), normalized.max()), atol=1e-5
    )
    assert case.properties.normalized(case.image) is case.image


def test_axes_are_transposed_before_cropping():
    image = volume()
    case = preprocess(image, spacing_mm=(1, 1, 3), transpose=(2, 0, 1))
    assert case.properties.crop_box == Box((2, 1, 3), (20, 8, 18))
    np.testing.assert_array_equal(case.image[0], image[0].transpose(2, 0, 1)[2:20, 1:8, 3:18])


def test_a_2d_configuration_of_volumes_is_resampled_in_the_plane_only():
    case = preprocess(volume(), spacing_mm=(9, 2, 1), patch_size=(8, 8), target_mm=(1.0, 1.0))
    assert case.properties.shape == (7, 30, 18)
    assert case.properties.spacing_mm == (9, 1, 1)


def test_a_coarse_axis_is_resampled_by_nearest_neighbour():
    image = volume()
    case = preprocess(image, spacing_mm=(4, 1, 1), target_mm=(2.0, 1.0, 1.0))
    assert case.properties.nearest_axis == 0
    np.testing.assert_array_equal(case.image[:, 0::2], case.image[:, 1::2])


def test_outside_of_the_mask_an_image_is_0():
    image = np.full((1, 5, 6, 6), 100, np.int16)
    image[0, :, 0, 0] = 0
    image[0, 2, 3, 3] = 0  # a hole
    image[0, 2, 2, 2] = 130
    case = preprocess(image, uses_mask=True)
    assert case.properties.is_normalized
    assert not case.image[0, :, 0, 0].any()
    inside = np.ones((5, 6, 6), bool)
    inside[:, 0, 0] = False
    values = image[0][inside]
    np.testing.assert_allclose(
        case.image[0][inside], (values - values.mean()) / values.std(), rtol=1e-4
    )


@pytest.mark.parametrize(
    "values, dtype",
    [
        (np.array([0.0, 255.0]), np.uint8),
        (np.array([-1, 255], np.int32), np.int16),
        (np.array([0, 40000], np.int64), np.uint16),
        (np.array([0.5, 2.0]), np.float32),
        (np.array([0, 70000], np.int32), np.float32),
    ],
)
def test_an_image_is_stored_in_the_smallest_dtype_that_holds_it(values, dtype):
    image = np.resize(values, (1, 4, 6))
    case = preprocess(
        image, spacing_mm=(1, 1), target_mm=(1.0, 1.0), transpose=(0, 1), patch_size=(8, 8)
    )
    assert case.image.dtype == dtype
    np.testing.assert_array_equal(case.image, image)


def test_label_maps_of_all_raters_follow_the_image():
    image = volume()
    label_maps = np.zeros((2, *image.shape[1:]), np.uint8)
    label_maps[0, 3:6, 8:14, 8:16] = 1
    label_maps[1, 4:6, 8:14, 10:16] = 2
    case = preprocess(image, label_maps, spacing_mm=(3, 2, 2))
    labels = case.labels
    assert labels is not None
    assert labels.dtype == np.uint8
    assert labels.shape == (2, *case.properties.shape)
    expected = np.zeros(labels.shape, np.uint8)
    expected[0, 2:5, 10:22, 12:28] = 1
    expected[1, 3:5, 10:22, 16:28] = 2
    np.testing.assert_array_equal(labels, expected)


def test_a_label_map_of_another_shape_is_an_error_that_names_both():
    with pytest.raises(DatasetError, match=r"case 'x'.*\(2, 2, 2\).*\(9, 20, 24\)"):
        preprocess(volume(), np.zeros((1, 2, 2, 2), np.uint8))


@pytest.mark.parametrize("value", [-1, 70000])
def test_integers_that_are_no_labels_are_an_error(value):
    with pytest.raises(DatasetError, match=f"0 to 65535.*{value}"):
        preprocess(volume(), np.full((1, 9, 20, 24), value))


def test_large_label_integers_are_kept():
    case = preprocess(volume(), np.full((1, 9, 20, 24), 300))
    assert case.labels is not None
    assert case.labels.dtype == np.uint16
    assert (case.labels == 300).all()


def test_an_image_with_nan_is_an_error_that_names_case_and_channel():
    image = volume(num_channels=2).astype(np.float32)
    image[1, 4, 5, 6] = np.nan
    with pytest.raises(DatasetError, match="case 'x', channel 1: .*NaN"):
        preprocess(image)


def test_a_wrong_number_of_channels_is_an_error():
    with pytest.raises(DatasetError, match="case 'x': expected 1 channels"):
        preprocess_case(
            volume(num_channels=2),
            None,
            spacing_mm=(3, 1, 1),
            configuration=configuration(patch_size=(8, 8, 8), spacing_mm=(3.0, 1.0, 1.0)),
            transpose_forward=(0, 1, 2),
            case="x",
        )


def test_a_transposition_of_other_dimensions_is_a_slip():
    with pytest.raises(ValueError, match="should have 3 values"):
        preprocess(volume(), transpose=(0, 1))


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_crop_then_restore_returns_the_input_and_background_outside(transpose):
    image = volume()
    isotropic = {"spacing_mm": (1, 1, 1), "target_mm": (1.0, 1.0, 1.0)}
    properties = preprocess(image, transpose=transpose, **isotropic).properties
    field = np.random.default_rng(1).normal(size=image.shape[1:]).astype(np.float32)
    stored = field.transpose(transpose)[properties.crop_box.slices]
    found = restore_x_0(stored[None], properties, background=[-1.0])[0]
    inside = np.zeros(field.shape, bool)
    inside[1:-1, 3:-2, 2:-4] = True
    np.testing.assert_array_equal(found[inside], field[inside])
    assert (found[~inside] == -1).all()


def test_restoring_a_smooth_map_undoes_resampling():
    z, y, x = np.meshgrid(*(np.linspace(0, 3, size) for size in (20, 40, 50)), indexing="ij")
    smooth = (np.sin(z) + np.cos(y) * np.sin(x)).astype(np.float32)
    image = (1000 * (smooth + 3)).astype(np.int16)[None]
    case = preprocess(image, spacing_mm=(2, 1, 0.8), target_mm=(1.0, 0.7, 1.0))
    stored = resample_image(smooth, case.properties.shape, order=3, nearest_axis=None)
    found = np.empty(smooth.shape, np.float32)
    restore_channel(stored, case.properties, background=0, out=found)
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(found[inner], smooth[inner], atol=0.02)


def test_each_channel_has_its_own_background():
    properties = preprocess(volume(), spacing_mm=(3, 1, 1)).properties
    stored = np.zeros((2, *properties.shape), np.float32)
    found = restore_x_0(stored, properties, background=[1.0, -1.0])
    assert found[0, 0, 0, 0] == 1
    assert found[1, 0, 0, 0] == -1


def test_a_case_knows_whether_it_is_on_its_original_grid():
    whole = preprocess(volume()[:, 1:-1, 3:-2, 2:-4]).properties
    assert whole.is_on_original_grid
    assert not preprocess(volume()).properties.is_on_original_grid
    assert not replace(whole, transpose_forward=(0, 2, 1)).is_on_original_grid


def test_a_spacing_that_makes_a_case_huge_is_an_error_that_names_it():
    with pytest.raises(DatasetError, match=r"case 'x'.*\(5000, 1, 1\) mm.*correct the spacing"):
        preprocess(volume((400, 600, 600)), spacing_mm=(5000, 1, 1))


def test_an_image_as_large_as_the_limit_may_be_resampled_to_its_own_size(monkeypatch):
    image = volume()
    monkeypatch.setattr("diffunet.limits._max_image_bytes", 2 * image.nbytes)
    preprocess(image, spacing_mm=(3, 1, 1.001))


@pytest.mark.parametrize("padding", [-3.4e38, 1e300, np.inf, np.nan])
def test_padding_that_32_bits_cannot_work_with_is_an_error_that_names_the_case(padding):
    image = volume().astype(np.float64)
    image[0, 2, 5, 5] = padding
    with pytest.raises(DatasetError, match="case 'x', channel 0: expected"):
        preprocess(image)
