import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_iou

from diffunet.evaluation.baselines import TRIVIAL_ANSWERS, centre_blob, redraw_raters
from diffunet.evaluation.scores import (
    ScoreOptions,
    mean_scores,
    score_case,
)

SPACING_MM = (2.0, 0.5)


def random_case(seed: int = 0, *, num_labels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    samples = generator.random((8, num_labels, 12, 10)) < 0.4
    raters = generator.random((4, num_labels, 12, 10)) < 0.4
    return samples, raters


def consensus_scores(
    mask: np.ndarray, raters: np.ndarray, *, spacing_mm: tuple[float, ...] = SPACING_MM
) -> list[dict[str, int | float]]:
    """Score one mask, (label, *spatial), which is all that was drawn."""
    found = score_case(mask[None], raters, spacing_mm=spacing_mm)
    return [label.consensus for label in found.labels]


def test_case_scores_are_means_over_labels():
    samples, raters = random_case()
    scores = score_case(samples, raters, spacing_mm=SPACING_MM)
    alone = [
        score_case(samples[:, [label]], raters[:, [label]], spacing_mm=SPACING_MM)
        for label in range(2)
    ]
    for name in ("ged", "hm_iou", "ncc"):
        expected = np.mean([each.distribution[name] for each in alone])
        assert scores.distribution[name] == pytest.approx(expected)
    expected = np.mean([each.consensus["HD95"] for each in alone])
    assert scores.consensus["HD95"] == pytest.approx(expected)
    assert (scores.num_samples, scores.num_raters, len(scores.labels)) == (8, 4, 2)


def test_consensus_scores_equal_monai():
    samples, raters = random_case()
    mask, reference = samples[0], raters.sum(axis=0) > 2
    found = consensus_scores(mask, raters)
    tensors = [torch.from_numpy(masks)[None] for masks in (mask, reference)]
    dice, iou = compute_dice(*tensors)[0], compute_iou(*tensors)[0]
    assert [each["Dice"] for each in found] == pytest.approx(dice.tolist())
    assert [each["IoU"] for each in found] == pytest.approx(iou.tolist())


def test_consensus_is_scored_against_the_majority_and_each_rater():
    raters = np.zeros((3, 1, 4, 4), bool)
    raters[:2, :, :2] = True  # two of three mark the upper half, the third nothing
    (scores,) = consensus_scores(raters[0], raters)
    assert (scores["Dice"], scores["HD95"], scores["surface_dice"]) == (1.0, 0.0, 1.0)
    assert scores["Dice_over_raters"] == pytest.approx(2 / 3)
    assert scores["IoU_over_raters"] == pytest.approx(2 / 3)
    assert scores["HD95_over_raters"] == pytest.approx(math.hypot(8.0, 2.0) / 3)
    assert scores["surface_dice_over_raters"] == pytest.approx(2 / 3)
    assert (scores["TP"], scores["TN"], scores["n_pred"], scores["n_ref"]) == (8, 8, 8, 8)


def test_volume_error_is_in_cubic_millimetres():
    mask, rater = np.zeros((2, 1, 5, 4, 4), bool)
    mask[0, 0, :2, :2] = True
    rater[0, 0, :2, :1] = True
    (scores,) = consensus_scores(mask, rater[None], spacing_mm=(3.0, 0.5, 1.0))
    assert (scores["volume_error"], scores["relative_volume_error"]) == (2 * 1.5, 1.0)


def test_single_rater_is_the_majority():
    samples, raters = random_case()
    for each in consensus_scores(samples[0], raters[:1]):
        for name in ("Dice", "IoU", "HD95", "surface_dice"):
            assert each[name] == each[f"{name}_over_raters"]


def test_consensus_defaults_to_the_majority_of_the_samples():
    samples, raters = random_case()
    expected = consensus_scores(samples.sum(axis=0) > 4, raters)
    found = score_case(samples, raters, spacing_mm=SPACING_MM)
    assert [label.consensus for label in found.labels] == expected


def test_given_consensus_is_scored_in_its_place():
    samples, raters = random_case()
    found = score_case(samples, raters, spacing_mm=SPACING_MM, consensus=raters[0])
    expected = consensus_scores(raters[0], raters)
    assert [label.consensus for label in found.labels] == expected


def test_trivial_answers_are_scored_like_samples():
    samples, raters = random_case(num_labels=1)
    found = score_case(
        samples, raters, spacing_mm=SPACING_MM, case="a", blob_volumes=[30.0]
    ).trivial_answers
    assert tuple(found) == TRIVIAL_ANSWERS
    blob = centre_blob(samples.shape[2:], spacing_mm=SPACING_MM, volume=30.0)
    answers = {
        "always_empty": np.zeros_like(samples[0, 0]),
        "oracle_majority": raters[:, 0].sum(axis=0) > 2,
        "centre_blob": blob,
    }
    drawn = {name: np.repeat(mask[None, None], 8, axis=0) for name, mask in answers.items()}
    drawn["oracle_raters"] = raters[redraw_raters(4, num_samples=8, seed=0, case="a")]
    for name, masks in drawn.items():
        expected = score_case(masks, raters, spacing_mm=SPACING_MM).distribution
        assert found[name] == pytest.approx(expected), name


def test_centre_blob_is_left_out_without_its_volume():
    samples, raters = random_case()
    found = score_case(samples, raters, spacing_mm=SPACING_MM).trivial_answers
    assert set(found) == {"always_empty", "oracle_majority", "oracle_raters"}


def test_surface_scores_and_trivial_answers_can_be_left_out():
    samples, raters = random_case()
    options = ScoreOptions(has_surface_scores=False, has_trivial_answers=False)
    found = score_case(samples, raters, spacing_mm=SPACING_MM, options=options)
    assert "HD95" not in found.consensus
    assert found.trivial_answers == {}


def test_ignored_voxels_change_no_score_of_a_case():
    samples, raters = random_case()
    ignored = np.zeros((12, 10), bool)
    ignored[4:7, 3:] = True
    spoiled = [np.where(ignored, ~masks, masks) for masks in (samples, raters)]
    found = score_case(*spoiled, spacing_mm=SPACING_MM, ignored=ignored)
    expected = score_case(samples, raters, spacing_mm=SPACING_MM, ignored=ignored)
    assert found.distribution == expected.distribution
    assert found.consensus == expected.consensus
    assert (
        found.consensus["TP"] < score_case(samples, raters, spacing_mm=SPACING_MM).consensus["TP"]
    )


def test_regions_may_overlap():
    whole = np.zeros((2, 1, 6, 6), bool)
    whole[:, 0, 1:5, 1:5] = True
    core = np.zeros((2, 1, 6, 6), bool)
    core[:, 0, 2:4, 2:4] = True
    masks = np.concatenate([whole, core], axis=1)
    scores = score_case(masks, masks, spacing_mm=SPACING_MM)
    assert [label.consensus["Dice"] for label in scores.labels] == [1.0, 1.0]


def test_mean_leaves_out_what_is_undefined():
    means = mean_scores([{"a": 1.0, "b": math.nan}, {"a": math.nan, "b": math.nan}])
    assert means["a"] == 1.0
    assert math.isnan(means["b"])


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"samples": np.zeros((0, 2, 12, 10), bool)}, "at least one sample"),
        ({"raters": np.zeros((4, 2, 12, 11), bool)}, "raters have shape"),
        ({"raters": np.zeros((4, 1, 12, 10), bool)}, "raters have shape"),
        ({"consensus": np.zeros((12, 10), bool)}, "consensus have shape"),
        ({"ignored": np.zeros((12, 11), bool)}, "ignored have shape"),
        ({"spacing_mm": (1.0, 1.0, 1.0)}, "spacing_mm"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changed, message):
    samples, raters = random_case()
    arguments = {"samples": samples, "raters": raters, "spacing_mm": SPACING_MM} | changed
    with pytest.raises(ValueError, match=message):
        score_case(arguments.pop("samples"), arguments.pop("raters"), **arguments)
