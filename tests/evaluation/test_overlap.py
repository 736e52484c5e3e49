import math

import numpy as np
import pytest

from diffunet.evaluation import overlap
from diffunet.evaluation.overlap import (
    count_confusion,
    pairwise_dice,
    pairwise_intersections,
    pairwise_iou,
    relative_volume_error,
    volume_error,
)

SQUARE = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
SHIFTED = np.array([[0, 1, 1], [0, 1, 1], [0, 0, 0]], bool)
EMPTY = np.zeros((3, 3), bool)


def test_counts_of_two_shifted_squares():
    counts = count_confusion(SQUARE, SHIFTED)
    assert (counts.true_positive, counts.false_positive) == (2, 2)
    assert (counts.false_negative, counts.true_negative) == (2, 3)
    assert (counts.predicted_voxels, counts.reference_voxels) == (4, 4)
    assert counts.dice == 0.5
    assert counts.iou == 1 / 3


def test_two_empty_masks_agree_fully():
    counts = count_confusion(EMPTY, EMPTY)
    assert (counts.dice, counts.iou) == (1.0, 1.0)


@pytest.mark.parametrize("masks", [(EMPTY, SQUARE), (SQUARE, EMPTY)])
def test_one_empty_mask_does_not_agree_at_all(masks):
    counts = count_confusion(*masks)
    assert (counts.dice, counts.iou) == (0.0, 0.0)


def test_ignored_voxels_are_not_counted():
    ignored = np.zeros((3, 3), bool)
    ignored[:, 2] = True
    counts = count_confusion(SQUARE, SHIFTED, ignored=ignored)
    assert (counts.true_positive, counts.false_positive) == (2, 2)
    assert (counts.false_negative, counts.true_negative) == (0, 2)


def test_volume_errors_of_a_mask_half_too_large():
    larger = SQUARE.copy()
    larger[2, :2] = True
    counts = count_confusion(larger, SQUARE)
    assert volume_error(counts, voxel_volume=2.5) == 5.0
    assert relative_volume_error(counts) == 0.5


def test_volume_errors_of_an_empty_mask_are_negative():
    counts = count_confusion(EMPTY, SQUARE)
    assert volume_error(counts, voxel_volume=2.5) == -2.5 * np.count_nonzero(SQUARE)
    assert relative_volume_error(counts) == -1.0


def test_relative_volume_error_is_undefined_where_only_the_reference_is_empty():
    assert math.isnan(relative_volume_error(count_confusion(SQUARE, EMPTY)))
    assert relative_volume_error(count_confusion(EMPTY, EMPTY)) == 0.0


def test_pairwise_matrices_equal_counts_pair_by_pair(monkeypatch):
    monkeypatch.setattr(overlap, "_VOXELS_PER_BLOCK", 7)  # several blocks
    masks = np.random.default_rng(0).random((5, 50)) < 0.3
    masks[3] = False
    intersections = pairwise_intersections(masks)
    for i, first in enumerate(masks):
        for j, second in enumerate(masks):
            counts = count_confusion(first, second)
            assert intersections[i, j] == counts.true_positive
            assert pairwise_iou(intersections)[i, j] == pytest.approx(counts.iou, abs=1e-15)
            assert pairwise_dice(intersections)[i, j] == pytest.approx(counts.dice, abs=1e-15)
