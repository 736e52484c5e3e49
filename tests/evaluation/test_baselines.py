import numpy as np
import pytest

from diffunet.evaluation.baselines import centre_blob, majority, redraw_raters


def test_majority_needs_more_than_half():
    masks = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(majority(masks), [True, False, False, False])
    np.testing.assert_array_equal(majority(masks[:3]), [True, True, False, False])
    np.testing.assert_array_equal(majority(masks[:1]), masks[0])


@pytest.mark.parametrize("number", [127, 128, 300])
def test_majority_of_many_masks_does_not_overflow(number):
    masks = np.zeros((number, 2), bool)
    masks[:, 0] = True
    masks[: number // 2, 1] = True
    np.testing.assert_array_equal(majority(masks), [True, False])


@pytest.mark.parametrize(
    "shape, spacing_mm, volume",
    [((128, 128), (1.0, 1.0), 142.4), ((40, 60, 50), (3.0, 1.0, 1.0), 9000.0)],
)
def test_centre_blob_has_the_volume_asked_for_and_its_centre(shape, spacing_mm, volume):
    blob = centre_blob(shape, spacing_mm=spacing_mm, volume=volume)
    assert blob.sum() * np.prod(spacing_mm) == pytest.approx(volume, rel=0.05)
    centre = np.argwhere(blob).mean(axis=0)
    np.testing.assert_allclose(centre, (np.array(shape) - 1) / 2)


def test_centre_blob_in_an_anisotropic_image_is_round_in_millimetres():
    blob = centre_blob((41, 81), spacing_mm=(2.0, 1.0), volume=1000.0)
    extent = np.ptp(np.argwhere(blob), axis=0) * np.array([2.0, 1.0])
    assert abs(extent[0] - extent[1]) <= 2.0


def test_centre_blob_larger_than_the_image_fills_it():
    assert centre_blob((5, 6), spacing_mm=(1.0, 1.0), volume=1e4).all()


def test_centre_blob_of_no_volume_is_at_most_the_centre():
    assert not centre_blob((4, 4), spacing_mm=(1.0, 1.0), volume=0.0).any()


def test_redrawn_raters_depend_on_seed_and_case_only():
    first = redraw_raters(4, num_samples=50, seed=1, case="a")
    assert set(first) == {0, 1, 2, 3}
    np.testing.assert_array_equal(first, redraw_raters(4, num_samples=50, seed=1, case="a"))
    assert (first != redraw_raters(4, num_samples=50, seed=1, case="b")).any()
    assert (first != redraw_raters(4, num_samples=50, seed=2, case="a")).any()
