import math
import tracemalloc

import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry
from diffunet.inference.fuse import VolumeSummary, Votes, disagreements_of


def votes_of(counts, *, total, is_exclusive=True):
    """Return votes for one voxel: `counts` per label."""
    shape = (len(counts), 1, 1)
    return Votes(np.reshape(np.array(counts), shape), total=total, is_exclusive=is_exclusive)


@pytest.mark.parametrize(
    "counts, total, winner",
    [
        ([3], 5, [True]),
        ([2], 4, [False]),  # a tie goes to background
        ([2], 5, [False]),
        ([2, 1], 4, [True, False]),
        ([1, 2], 4, [False, True]),
        ([2, 2], 6, [False, False]),  # a tie of three, background among them
        ([3, 3], 8, [True, False]),  # a tie among labels: the first of them
        ([1, 3, 3], 8, [False, True, False]),
        ([2, 2, 3], 8, [False, False, True]),
    ],
)
def test_the_label_with_most_votes_wins(counts, total, winner):
    consensus = votes_of(counts, total=total).consensus()
    assert consensus.ravel().tolist() == winner


def test_overlapping_labels_win_apart_from_each_other_with_more_than_half():
    votes = votes_of([5, 4, 8], total=8, is_exclusive=False)
    assert votes.consensus().ravel().tolist() == [True, False, True]


def test_probability_is_the_share_of_samples():
    votes = Votes.none_of((2, 3, 4), num_samples=4, is_exclusive=True)
    masks = np.zeros((2, 3, 4), bool)
    masks[1, 2, 3] = True
    for _ in range(3):
        votes.add(masks)
    votes.add(~masks)
    assert votes.probability(1)[2, 3] == 0.75
    assert votes.probability(1)[0, 0] == 0.25
    assert votes.probability(0).dtype == np.float32


@pytest.mark.parametrize("num_samples, dtype", [(255, np.uint8), (256, np.uint16)])
def test_counts_take_one_byte_as_long_as_they_can(num_samples, dtype):
    votes = Votes.none_of((1, 2, 2), num_samples=num_samples, is_exclusive=True)
    for _ in range(num_samples):
        votes.add(np.ones((1, 2, 2), bool))
    assert votes.votes.dtype == dtype
    assert (votes.probability(0) == 1).all()
    assert (votes.uncertainty() == 0).all()


@pytest.mark.parametrize(
    "counts, total, expected",
    [
        ([0], 8, 0.0),
        ([8], 8, 0.0),
        ([4], 8, 1.0),
        ([2], 8, -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))),
        ([4, 4], 8, 1 / math.log2(3)),
        ([3, 3], 9, 1.0),
    ],
)
def test_uncertainty_is_the_entropy_over_its_maximum(counts, total, expected):
    uncertainty = votes_of(counts, total=total).uncertainty()
    assert uncertainty.dtype == np.float32
    assert uncertainty.item() == pytest.approx(expected, abs=1e-6)


def test_uncertainty_of_overlapping_labels_is_the_mean_over_labels():
    uncertainty = votes_of([4, 8], total=8, is_exclusive=False).uncertainty()
    assert uncertainty.item() == pytest.approx(0.5, abs=1e-6)


def test_a_supervised_model_votes_with_probabilities():
    probabilities = np.array([[0.3, 0.2], [0.3, 0.45]], np.float32).reshape(2, 1, 2)
    votes = Votes(probabilities, total=1, is_exclusive=True)
    assert votes.consensus()[:, 0].tolist() == [[False, False], [False, True]]
    assert np.array_equal(votes.probability(1), probabilities[1])


def test_slabs_do_not_show(monkeypatch):
    counts = np.random.default_rng(0).integers(0, 4, (2, 7, 3, 5))
    whole = Votes(counts, total=8, is_exclusive=True)
    expected = whole.consensus(), whole.uncertainty()
    monkeypatch.setattr("diffunet.inference.fuse._SLAB_VALUES", 20)
    assert np.array_equal(whole.consensus(), expected[0])
    assert np.array_equal(whole.uncertainty(), expected[1])


def test_maps_of_many_labels_are_made_of_small_slabs(monkeypatch):
    monkeypatch.setattr("diffunet.inference.fuse._SLAB_VALUES", 2**14)
    votes = Votes.none_of((100, 32, 16, 16), num_samples=2, is_exclusive=True)
    tracemalloc.start()
    votes.uncertainty()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21  # a slab of one plane takes 100 kB as float32; of 32 planes, 3.3 MB


def grid(*spacing_mm, has_spacing=True):
    shape = (8,) * len(spacing_mm)
    return ImageGeometry(shape=shape, spacing_mm=spacing_mm, has_spacing=has_spacing)


def test_volumes_are_in_cubic_millimetres():
    summary = VolumeSummary.of([10, 20, 60], geometry=grid(2.0, 0.5, 0.5))
    assert summary.unit == "mm^3"
    assert summary.samples == (5.0, 10.0, 30.0)
    assert (summary.mean, summary.median) == (15.0, 10.0)


def test_areas_are_in_square_millimetres():
    assert VolumeSummary.of([4], geometry=grid(0.5, 0.5)).unit == "mm^2"
    assert VolumeSummary.of([4], geometry=grid(0.5, 0.5)).mean == 1.0


@pytest.mark.parametrize(("size", "unit"), [((1.0, 1.0), "pixels"), ((1.0, 1.0, 1.0), "voxels")])
def test_without_a_spacing_voxels_are_counted(size, unit):
    summary = VolumeSummary.of([4], geometry=grid(*size, has_spacing=False))
    assert (summary.unit, summary.mean) == (unit, 4.0)


def test_percentiles_are_weibull_quantiles():
    summary = VolumeSummary.of(range(1, 40), geometry=grid(1.0, 1.0, 1.0))
    # ranks p (n + 1) = 2 and 38
    assert summary.percentile_5 == pytest.approx(2)
    assert summary.percentile_95 == pytest.approx(38)


def _voted(masks):
    votes = Votes.none_of(masks.shape[1:], num_samples=len(masks), is_exclusive=False)
    for mask in masks:
        votes.add(mask)
    return votes


def _pairs(masks):
    """Return |s and s'| and |s or s'| of all ordered pairs of different samples of one label."""
    flat = masks.reshape(len(masks), -1).astype(float)
    both = flat @ flat.T
    sizes = np.diag(both)
    different = ~np.eye(len(masks), dtype=bool)
    return both[different], (sizes[:, None] + sizes - both)[different]


@pytest.mark.parametrize("num_samples", [2, 5, 300])
def test_disagreement_is_that_of_all_pairs_of_different_samples(num_samples):
    generator = np.random.default_rng(num_samples)
    masks = generator.random((num_samples, 2, 6, 7)) < np.linspace(0, 0.6, 7)
    masks[0] = masks[num_samples // 2] = False
    votes = _voted(masks)
    for label in range(2):
        both, either = _pairs(masks[:, label])
        num_empty = int(np.sum(~masks[:, label].any(axis=(1, 2))))
        found = votes.disagreement(label, num_empty=num_empty)
        expected = 0.0
        if either.sum():
            expected = np.mean(either > 0) * (1 - both.sum() / either.sum())
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("num_marked", [0, 1, 3, 8, 16])
def test_disagreement_is_d_ss_where_samples_are_empty_or_one_mask(num_marked):
    """So a lesion that half of the samples mark is the least sure, not one that few mark."""
    masks = np.zeros((16, 1, 4, 5), bool)
    masks[:num_marked, :, 1:3, 1:4] = True
    both, either = _pairs(masks[:, 0])
    d_ss = np.mean(1 - np.where(either > 0, both / np.maximum(either, 1), 1))
    found = _voted(masks).disagreement(0, num_empty=16 - num_marked)
    assert found == pytest.approx(d_ss)


def test_one_mask_or_probabilities_do_not_disagree_with_anything():
    one = Votes.none_of((1, 3), num_samples=1, is_exclusive=True)
    supervised = Votes(np.full((1, 3), 0.5, np.float32), total=1, is_exclusive=True)
    volumes = {"lesion": VolumeSummary.of([3], geometry=grid(1.0, 1.0))}
    assert disagreements_of(one, volumes) == disagreements_of(supervised, volumes) == {}
