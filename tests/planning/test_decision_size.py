import math

import pytest

from diffunet.fingerprint.fingerprint import WHOLE
from diffunet.planning.decision_size import choose_decision_size
from diffunet.planning.diffusion import (
    choose_encoding,
    choose_input_scale,
    choose_loss_weighting_bias,
)
from tests.planning.fingerprints import a_disagreement, a_label, a_summary, an_object


def _choose(labels, **changes):
    values = {
        "dimensions": 2,
        "is_slicewise": False,
        "voxel_edge_mm": 1.0,
        "patch_edge": 128.0,
        "spacing_ratio": 1.0,
    }
    return choose_decision_size(labels, **(values | changes))


def test_one_rater_decides_about_the_disc_of_the_mean_diameter():
    found = _choose({"nodule": a_label(objects=an_object(11.33))})
    assert found.value == pytest.approx(math.pi / 4 * 11.33**2)
    assert "formula A" in found.reason
    assert "'nodule'" in found.reason


def test_formula_a_counts_voxels_of_the_training_resolution():
    label = a_label(objects=an_object(10, edge_mm=0.5))
    assert _choose({"x": label}, voxel_edge_mm=2.5).value == pytest.approx(math.pi / 4 * 2**2)
    ball = _choose({"x": label}, dimensions=3, voxel_edge_mm=0.5)
    assert ball.value == pytest.approx(math.pi / 6 * 1000)


def test_slices_have_their_own_objects():
    label = a_label(objects=an_object(30), objects_of_slice=an_object(10))
    found = _choose({"x": label}, is_slicewise=True)
    assert found.value == pytest.approx(math.pi / 4 * 100)


def test_two_raters_decide_about_the_piece_in_which_they_differ():
    found = _choose({"nodule": a_label(disagreement=a_disagreement())})
    assert found.value == pytest.approx(72)
    assert "formula B" in found.reason


@pytest.mark.parametrize(
    ("patch_edge", "size", "where"),
    [
        (10, 40, "windows of 32"),
        (40, 40, "windows of 32"),
        (50, 52, "windows of 64"),
        (128, 72, "windows of 128"),
        (600, 75, "windows of 512"),
        (800, 90, "the whole image"),
    ],
)
def test_the_window_nearest_to_the_patch_is_taken(patch_edge, size, where):
    sizes = {"32": 40, "64": 52, "128": 72, "256": 74, "512": 75, WHOLE: 90}
    label = a_label(disagreement=a_disagreement(sizes=sizes))
    found = _choose({"x": label}, patch_edge=patch_edge)
    assert found.value == pytest.approx(size)
    assert where in found.reason


def test_formula_b_counts_voxels_of_the_training_resolution():
    label = a_label(disagreement=a_disagreement())
    assert _choose({"x": label}, spacing_ratio=2.0).value == pytest.approx(72 / 4)
    assert _choose({"x": label}, spacing_ratio=2.0, dimensions=3).value == pytest.approx(72 / 8)
    assert _choose({"x": label}, spacing_ratio=20.0).value == 1


def test_slices_have_their_own_differences():
    pieces = {"128": a_summary(7), WHOLE: a_summary(7)}
    disagreement = a_disagreement(largest_piece_of_slice=pieces)
    assert _choose(
        {"x": a_label(disagreement=disagreement)}, is_slicewise=True
    ).value == pytest.approx(7)


def test_raters_who_never_differ_leave_formula_a():
    disagreement = a_disagreement(largest_piece={})
    found = _choose({"x": a_label(disagreement=disagreement)})
    assert "formula A" in found.reason


def test_only_whole_images_measured_is_enough():
    label = a_label(disagreement=a_disagreement(sizes={WHOLE: 33}))
    assert _choose({"x": label}).value == 33


def test_several_labels_take_the_geometric_mean():
    labels = {
        "a": a_label(objects=an_object(10)),
        "b": a_label(objects=an_object(40)),
        "never marked": a_label(objects=None),
    }
    found = _choose(labels)
    assert found.value == pytest.approx(math.pi / 4 * 20**2)
    assert "geometric mean" in found.reason
    assert "never marked" not in found.reason


def test_the_reason_names_a_few_of_a_hundred_labels():
    labels = {f"organ {i}": a_label(objects=an_object(10 + i)) for i in range(100)}
    reason = _choose(labels).reason
    assert "'organ 4'" in reason
    assert "'organ 5'" not in reason
    assert "and 95 more: N from 78.54 to 9331 in all; geometric mean" in reason


@pytest.mark.parametrize("labels", [None, {}, {"x": a_label(objects=None)}])
def test_without_objects_nothing_is_known(labels):
    assert _choose(labels).value is None


@pytest.mark.parametrize(
    ("diameter", "expected", "is_warned"),
    [(11.33, 0.0996, False), (1.0, 1.0, False), (37, 0.0305, False), (100, 0.03, True)],
)
def test_input_scale_of_one_rater(diameter, expected, is_warned):
    found = choose_input_scale(_choose({"x": a_label(objects=an_object(diameter))}))
    assert found.value == pytest.approx(expected, abs=5e-4)
    assert bool(found.warning) is is_warned
    assert ("Clipped" in found.reason) is is_warned


def test_input_scale_of_lidc_is_near_p1s_by_both_formulas():
    one = choose_input_scale(_choose({"x": a_label(objects=an_object(10.94))})).value
    four = choose_input_scale(_choose({"x": a_label(disagreement=a_disagreement())})).value
    assert 0.09 <= one <= 0.13
    assert 0.09 <= four <= 0.13


def test_without_objects_the_input_scale_is_p1s_with_a_warning():
    found = choose_input_scale(_choose(None))
    assert found.value == 0.1
    assert "default" in found.warning


def test_bias_is_p1s_at_its_input_scale():
    assert choose_loss_weighting_bias(0.1).value == pytest.approx(-4.0, abs=0.01)
    assert choose_loss_weighting_bias(1.0).value == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("num_labels", "is_regions", "words"),
    [
        (1, False, "one channel"),
        (3, False, "4 classes"),
        (6, False, "7 classes"),
        (15, False, "16 classes"),
        (6, True, "overlap"),
        (104, True, "overlap"),
    ],
)
def test_labels_are_signed_channels(num_labels, is_regions, words):
    found = choose_encoding(num_labels, is_regions=is_regions)
    assert found.value == "signed"
    assert words in found.reason


@pytest.mark.parametrize(("num_labels", "num_bits"), [(16, 5), (104, 7)])
def test_many_exclusive_labels_are_bits(num_labels, num_bits):
    found = choose_encoding(num_labels, is_regions=False)
    assert found.value == "analog_bits"
    assert f"The {num_bits} bits" in found.reason
