import itertools
import math

import numpy as np
import pytest

from diffunet.evaluation import ambiguity
from diffunet.evaluation.distribution import score_distribution
from diffunet.evaluation.mask_pool import MaskPool

SAMPLES, RATERS = 6, 4


def random_masks(seed: int, number: int, *, size: int = 12) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shares = generator.uniform(0, 0.6, size=(number, 1, 1))
    masks = generator.random((number, size, size)) < shares
    masks[:: max(2, number // 2)] = False  # some saw nothing
    return masks


def scores_of(samples: np.ndarray, raters: np.ndarray, *, ignored=None, subset_sizes=()):
    pool = MaskPool.of([*samples, *raters], ignored=ignored)
    numbers = np.arange(len(samples) + len(raters))
    return score_distribution(
        pool,
        numbers[: len(samples)],
        numbers[len(samples) :],
        voxel_volume=2.0,
        subset_sizes=subset_sizes,
    ).scores


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else 1.0


def mean_distance(first, second) -> float:
    return float(np.mean([1 - iou(a, b) for a, b in itertools.product(first, second)]))


def naive_ged(samples, raters) -> float:
    within = mean_distance(samples, samples) + mean_distance(raters, raters)
    return 2 * mean_distance(samples, raters) - within


def naive_ncc(samples: np.ndarray, raters: np.ndarray) -> list[float]:
    """PHiSeg's definition, with cross-entropies of two classes."""

    def cross_entropy(prediction, target):
        logs = np.log(np.stack([1.0 - prediction, 1.0 * prediction]) + 1e-12)
        return -(np.stack([1.0 - target, 1.0 * target]) * logs).sum(axis=0)

    mean = samples.mean(axis=0)
    with_mean = np.mean([cross_entropy(s, mean) for s in samples], axis=0).ravel()
    results = []
    for rater in raters:
        error = np.mean([cross_entropy(s, rater) for s in samples], axis=0).ravel()
        is_constant = error.std() == 0 or with_mean.std() == 0
        results.append(0.0 if is_constant else float(np.corrcoef(with_mean, error)[0, 1]))
    return results


def test_cross_correlation_of_samples_that_all_agree_is_0():
    samples, raters = np.zeros((4, 6, 6), bool), random_masks(0, 4, size=6)
    samples[:, 2:4] = True
    assert scores_of(samples, raters)["ncc"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_pairs_equal_loops(seed):
    samples, raters = random_masks(seed, SAMPLES), random_masks(seed + 10, RATERS)
    scores = scores_of(samples, raters, subset_sizes=(3, 99))
    assert scores["ged"] == pytest.approx(naive_ged(samples, raters), abs=1e-12)
    assert scores["ged_3"] == pytest.approx(naive_ged(samples[:3], raters), abs=1e-12)
    assert "ged_99" not in scores
    different = [1 - iou(a, b) for a, b in itertools.combinations(samples, 2)]
    assert scores["D_ss"] == pytest.approx(np.mean(different), abs=1e-12)
    best = [max(dice(s, y) for s in samples) for y in raters]
    assert scores["D_max"] == pytest.approx(np.mean(best), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_voxels_equal_their_definitions(seed):
    samples, raters = random_masks(seed, SAMPLES), random_masks(seed + 10, RATERS)
    scores = scores_of(samples, raters)
    drawn, marked = samples.any(axis=0), raters.any(axis=0)
    assert scores["S_c"] == pytest.approx((drawn & marked).sum() / marked.sum(), abs=1e-12)
    published = (drawn & marked).sum() / drawn.sum()
    assert scores["S_c_ambdiffseg"] == pytest.approx(published, abs=1e-12)
    assert scores["ncc"] == pytest.approx(np.mean(naive_ncc(samples, raters)), abs=1e-8)
    cuts = [(samples.mean(axis=0) > t, raters.mean(axis=0) > t) for t in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert scores["soft_dice"] == pytest.approx(np.mean([dice(*cut) for cut in cuts]), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_diversity_agreement_equals_its_definition(seed):
    generator = np.random.default_rng(seed)  # no two masks are equal: V_min is not 0
    samples = generator.random((SAMPLES, 12, 12)) < 0.2
    raters = generator.random((RATERS, 12, 12)) < 0.5
    spreads = [
        [np.var(a.astype(int) - b.astype(int)) for a, b in itertools.combinations(masks, 2)]
        for masks in (samples, raters)
    ]
    highest = abs(max(spreads[0]) - max(spreads[1]))
    lowest = abs(min(spreads[0]) - min(spreads[1]))
    scores = scores_of(samples, raters)
    assert scores["D_a"] == pytest.approx(1 - (highest + lowest) / 2, abs=1e-12)
    assert scores["D_a_ambdiffseg"] == pytest.approx(1 - highest / 2, abs=1e-12)


def test_collective_insight_combines_its_three_factors():
    assert ambiguity.collective_insight(0.5, 0.8, 1.0) == pytest.approx(3 * 0.4 / 2.3)
    assert ambiguity.collective_insight(0.0, 0.0, 0.0) == 0.0


def test_under_segmentation_is_sensitive_to_no_more_than_it_covers():
    rater, sample = np.zeros((2, 10, 10), bool)
    rater[:9, :1], sample[:1, :1] = True, True
    scores = scores_of(sample[None], rater[None])
    assert scores["S_c"] == pytest.approx(1 / 9)
    assert scores["S_c_ambdiffseg"] == 1.0


def test_all_empty_masks_agree_fully():
    empty = np.zeros((3, 5, 5), bool)
    scores = scores_of(empty, empty)
    assert (scores["ged"], scores["ged_unbiased"], scores["D_ss"]) == (0.0, 0.0, 0.0)
    perfect = ("hm_iou", "D_max", "S_c", "S_c_ambdiffseg", "D_a", "CI", "soft_dice")
    assert [scores[name] for name in perfect] == [1.0] * len(perfect)
    assert scores["ncc"] == 0.0


def test_empty_samples_of_what_every_rater_saw_have_the_largest_ged():
    raters = np.zeros((4, 5, 5), bool)
    raters[:, 1:3, 1:3] = True
    scores = scores_of(np.zeros((2, 5, 5), bool), raters)
    assert scores["ged"] == 2.0
    assert (scores["hm_iou"], scores["D_max"], scores["S_c"]) == (0.0, 0.0, 0.0)
    assert scores["S_c_ambdiffseg"] == 1.0


def test_single_sample_and_single_rater_have_twice_their_distance():
    sample, rater = np.zeros((2, 4, 4), bool)
    sample[0, :2], rater[0, 1:3] = True, True
    scores = scores_of(sample[None], rater[None])
    assert scores["ged"] == pytest.approx(2 * (1 - 1 / 3))
    assert scores["hm_iou"] == pytest.approx(1 / 3)
    for name in ("ged_unbiased", "ged_fully_unbiased", "D_ss", "D_yy"):
        assert math.isnan(scores[name])


def test_ged_of_n_samples_exceeds_its_limit_by_their_diversity_over_n():
    samples, raters = random_masks(0, SAMPLES), random_masks(1, RATERS)
    scores = scores_of(samples, raters)
    excess = scores["D_ss"] / SAMPLES
    assert scores["ged"] == pytest.approx(scores["ged_unbiased"] + excess, abs=1e-12)


def test_unbiased_ged_does_not_depend_on_the_number_of_samples():
    outcomes = random_masks(3, 5)
    raters = random_masks(4, RATERS)
    limit = naive_ged(outcomes, raters)  # every outcome equally likely
    generator = np.random.default_rng(0)
    means = {}
    for number in (2, 8):
        drawn = [
            scores_of(outcomes[generator.integers(5, size=number)], raters) for _ in range(600)
        ]
        means[number] = np.mean([scores["ged_unbiased"] for scores in drawn])
        # three standard errors of these draws
        allowed = 3 * np.std([scores["ged_unbiased"] for scores in drawn]) / math.sqrt(600)
        assert means[number] == pytest.approx(limit, abs=allowed)


def test_fully_unbiased_ged_of_samples_drawn_as_raters_draw_is_zero_for_any_numbers():
    generator = np.random.default_rng(0)
    iou = MaskPool.of(list(random_masks(3, 5))).iou
    for number, num_raters in ((2, 2), (8, 3)):
        found = []
        for _ in range(2000):
            samples, raters = (
                generator.integers(5, size=number),
                generator.integers(5, size=num_raters),
            )
            pairs = (samples, raters), (samples, samples), (raters, raters)
            found.append(ambiguity.ged_fully_unbiased(*[iou[np.ix_(*pair)] for pair in pairs]))
        assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / math.sqrt(2000))


def test_fully_unbiased_ged_leaves_the_raters_own_pairs_out():
    scores = scores_of(random_masks(0, SAMPLES), random_masks(1, RATERS))
    expected = scores["ged"] - scores["D_ss"] / SAMPLES - scores["D_yy"] / RATERS
    assert scores["ged_fully_unbiased"] == pytest.approx(expected, abs=1e-12)


def test_with_one_rater_the_two_unbiased_geds_are_one():
    scores = scores_of(random_masks(0, SAMPLES), random_masks(1, 1))
    assert scores["ged_fully_unbiased"] == scores["ged_unbiased"]


@pytest.mark.parametrize("num_samples, num_raters", [(16, 4), (6, 4), (5, 3), (1, 4), (4, 1)])
def test_matched_iou_is_the_best_matching_of_repeated_masks(num_samples, num_raters):
    matrix = np.random.default_rng(0).random((num_samples, num_raters))
    assert ambiguity.hungarian_matched_iou(matrix) == pytest.approx(
        ambiguity._best_transport(matrix), abs=1e-9
    )


def test_matched_iou_of_two_and_three_masks_by_hand():
    matrix = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    # repeated to six: each sample fills three places, each rater two
    assert ambiguity.hungarian_matched_iou(matrix) == pytest.approx((2 + 0.5 + 0.5 + 2) / 6)


def test_matched_iou_of_coprime_numbers_needs_no_large_matrix():
    matrix = np.random.default_rng(0).random((97, 13))
    matched = ambiguity.hungarian_matched_iou(matrix)
    assert matrix.mean() < matched <= matrix.max(axis=0).mean()


def test_post_processing_empties_samples_of_at_most_half_the_largest():
    kept = ambiguity.is_kept_by_rel_area(np.array([10.0, 5.0, 6.0, 0.0]), 0.5)
    np.testing.assert_array_equal(kept, [True, False, True, False])


def test_post_processed_ged_is_that_of_the_emptied_samples():
    samples, raters = np.roll(random_masks(5, SAMPLES), 1, axis=0), random_masks(6, RATERS)
    volumes = samples.sum(axis=(1, 2))
    emptied = samples.copy()
    emptied[volumes <= volumes.max() / 2] = False
    emptied_first = samples[:3].copy()
    emptied_first[volumes[:3] <= volumes[:3].max() / 2] = False
    scores = scores_of(samples, raters, subset_sizes=(3,))
    assert scores["ged_post_processed"] == pytest.approx(naive_ged(emptied, raters), abs=1e-12)
    expected = naive_ged(emptied_first, raters)
    assert scores["ged_post_processed_3"] == pytest.approx(expected, abs=1e-12)


def test_ignored_voxels_change_no_score():
    samples, raters = random_masks(7, SAMPLES), random_masks(8, RATERS)
    ignored = np.zeros(samples.shape[1:], bool)
    ignored[3:8, 2:] = True
    inside = ~ignored
    expected = scores_of(samples[:, None, inside], raters[:, None, inside])
    found = scores_of(samples, raters, ignored=ignored)
    assert found == pytest.approx(expected, abs=1e-12)


def test_image_without_any_voxel_to_score_is_no_failure():
    masks = np.ones((2, 3, 3), bool)
    scores = scores_of(masks, masks, ignored=np.ones((3, 3), bool))
    assert (scores["ged"], scores["ncc"], scores["D_a"]) == (0.0, 0.0, 1.0)
    assert math.isnan(scores["ece"])
    assert math.isnan(scores["ace"])


def test_scores_do_not_depend_on_the_empty_space_around_but_for_shares_of_voxels():
    samples, raters = random_masks(9, SAMPLES), random_masks(10, RATERS)
    padding = ((0, 0), (5, 5), (5, 5))
    padded = scores_of(np.pad(samples, padding), np.pad(raters, padding))
    scores = scores_of(samples, raters)
    for name in ("ged", "hm_iou", "D_max", "S_c", "soft_dice", "volume_coverage"):
        assert padded[name] == pytest.approx(scores[name], abs=1e-12)
    assert padded["ece"] < scores["ece"]


def drawn_as_experts(generator: np.random.Generator, number: int) -> np.ndarray:
    """Draw masks of one distribution: nothing, or a bar whose two ends vary."""
    masks = np.zeros((number, 1, 12), bool)
    for mask in masks:
        if generator.random() < 0.7:
            mask[0, generator.integers(0, 4) : generator.integers(6, 12)] = True
    return masks


@pytest.fixture(scope="module")
def perfect_scores():
    """The scores of many cases whose samples are drawn as the raters draw, and their floors."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(120):
        masks = drawn_as_experts(generator, 5 + 3)
        pool, numbers = MaskPool.of([*masks]), np.arange(8)
        scored = score_distribution(
            pool, numbers[:5], numbers[5:], voxel_volume=2.0, subset_sizes=(4,)
        )
        found.append((scored.scores, scored.perfect_model))
    return found


@pytest.mark.parametrize(
    "name", ["ged", "ged_4", "ged_unbiased", "ged_fully_unbiased", "energy_score", "D_ss"]
)
def test_what_a_perfect_model_scores_is_what_it_is_said_to_score(perfect_scores, name):
    differences = [scores[name] - perfect[name] for scores, perfect in perfect_scores]
    error = np.std(differences) / math.sqrt(len(differences))
    assert abs(np.mean(differences)) < 3 * error
    assert error < 0.06


def test_a_model_that_draws_otherwise_scores_above_the_floor():
    generator = np.random.default_rng(1)
    differences = []
    for _ in range(100):
        raters, samples = drawn_as_experts(generator, 3), drawn_as_experts(generator, 5)
        samples[:, 0, :3] = False
        scores = scores_of(samples, raters)
        differences.append(scores["ged"] - scores["D_yy"] * (1 / 5 + 1 / 3))
    assert np.mean(differences) > 3 * np.std(differences) / 10


def test_the_energy_score_of_one_rater_is_half_of_the_ged_without_equal_pairs():
    samples, raters = random_masks(0, SAMPLES), random_masks(1, 1)
    scores = scores_of(samples, raters)
    assert scores["energy_score"] == pytest.approx(scores["ged_unbiased"] / 2)


@pytest.mark.parametrize("seed", range(3))
def test_matched_dice_is_the_best_of_all_ways_to_give_each_rater_a_sample_of_its_own(seed):
    samples, raters = random_masks(seed, 5), random_masks(seed + 10, 3)
    ways = itertools.permutations(samples, 3)
    best = max(np.mean([dice(s, y) for s, y in zip(way, raters, strict=True)]) for way in ways)
    assert scores_of(samples, raters)["match_dice"] == pytest.approx(best)


def test_matched_dice_needs_a_sample_for_each_rater():
    assert math.isnan(scores_of(random_masks(0, 2), random_masks(1, 3))["match_dice"])


def test_each_sample_is_compared_with_its_nearest_rater():
    samples, raters = random_masks(0, SAMPLES), random_masks(1, RATERS)
    best = [max(dice(s, y) for y in raters) for s in samples]
    assert scores_of(samples, raters)["D_max_of_samples"] == pytest.approx(np.mean(best))
