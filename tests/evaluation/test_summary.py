import json
import math

import numpy as np
import pytest

from diffunet.evaluation.scores import ScoreOptions, score_case
from diffunet.evaluation.summary import summarise, without_nan
from diffunet.evaluation.table import direction_of

OPTIONS = ScoreOptions(num_bootstrap_draws=200)


def scored_cases(*, num_samples: tuple[int, ...] = (3, 3, 3, 3), num_raters: int = 2):
    generator = np.random.default_rng(0)
    return [
        score_case(
            generator.random((number, 2, 8, 8)) < 0.5,
            generator.random((num_raters, 2, 8, 8)) < 0.5,
            spacing_mm=(1.0, 1.0),
            case=str(index),
            blob_volumes=[10.0, 10.0],
        )
        for index, number in enumerate(num_samples)
    ]


def summary_of(cases, patients=("p", "p", "q", "r")):
    return summarise(cases, patients, label_names=("core", "rim"), options=OPTIONS)


def test_means_are_over_cases_and_lie_in_their_intervals():
    cases = scored_cases()
    summary = summary_of(cases)
    found = summary["mean"]["scores"]["ged"]
    assert found["mean"] == pytest.approx(np.mean([case.distribution["ged"] for case in cases]))
    assert found["lower"] <= found["mean"] <= found["upper"]
    of_label = summary["labels"]["rim"]["consensus"]["Dice"]["mean"]
    assert of_label == pytest.approx(np.mean([case.labels[1].consensus["Dice"] for case in cases]))
    assert (summary["num_cases"], summary["num_patients"]) == (4, 3)
    assert (summary["num_samples"], summary["num_raters"]) == ([3, 3], [2, 2])
    assert summary["nominal_volume_coverage"] == pytest.approx(0.5)


def test_trivial_answers_stand_beside_with_the_paired_difference():
    cases = scored_cases()
    found = summary_of(cases)["mean"]["trivial_answers"]["oracle_majority"]["ged"]
    theirs = np.array([case.trivial_answers["oracle_majority"]["ged"] for case in cases])
    ours = np.array([case.distribution["ged"] for case in cases])
    assert found["mean"] == pytest.approx(theirs.mean())
    assert found["difference"] == pytest.approx((ours - theirs).mean())
    assert found["lower"] <= found["difference"] <= found["upper"]


def test_a_perfect_model_stands_beside_with_the_paired_difference():
    cases = scored_cases(num_samples=(3, 4, 5, 16))
    found = summary_of(cases)["mean"]["perfect_model"]
    floors = [
        np.mean([label.distribution["D_yy"] for label in case.labels])
        * (1 / case.num_samples + 1 / case.num_raters)
        for case in cases
    ]
    ours = [case.distribution["ged"] for case in cases]
    assert found["ged"]["mean"] == pytest.approx(np.mean(floors))
    assert found["ged"]["difference"] == pytest.approx(np.mean(np.subtract(ours, floors)))
    assert found["ged_fully_unbiased"]["mean"] == 0


def test_the_first_geds_have_the_floor_of_their_own_number_of_samples():
    (case,) = scored_cases(num_samples=(17,))
    distance = case.distribution["D_yy"]
    for size in (4, 16):
        assert case.perfect_model[f"ged_{size}"] == pytest.approx(distance * (1 / size + 1 / 2))


def test_with_one_rater_no_perfect_model_is_known():
    summary = summary_of(scored_cases(num_raters=1))
    assert {each["mean"] for each in summary["mean"]["perfect_model"].values()} == {None}


def test_undefined_scores_are_null_in_json():
    summary = summary_of(scored_cases(num_samples=(1, 1, 1, 1), num_raters=1))
    assert summary["mean"]["scores"]["ged_unbiased"] == {"mean": None, "lower": None, "upper": None}
    json.dumps(summary, allow_nan=False)


def test_score_that_some_cases_lack_is_averaged_over_the_others():
    cases = scored_cases(num_samples=(3, 3, 4, 4))
    summary = summary_of(cases)
    expected = np.mean([case.distribution["ged_4"] for case in cases[2:]])
    assert summary["mean"]["scores"]["ged_4"]["mean"] == pytest.approx(expected)
    assert summary["num_samples"] == [3, 4]


def test_calibration_pools_the_voxels_of_all_cases():
    cases = scored_cases()
    found = summary_of(cases)["calibration"]["core"]
    diagrams = [case.labels[0].reliability for case in cases]
    assert sum(found["num_voxels"]) == 4 * 64
    observed = sum(diagram.observed for diagram in diagrams)
    voxels = sum(diagram.num_voxels for diagram in diagrams)
    for index, value in enumerate(found["observed"]):
        expected = None if voxels[index] == 0 else pytest.approx(observed[index] / voxels[index])
        assert value == expected
    predicted = sum(diagram.predicted for diagram in diagrams)
    assert found["ece"] == pytest.approx(np.abs(predicted - observed).sum() / 256)


def test_every_score_is_known_to_the_table():
    (case, *_) = scored_cases()
    counts = {"TP", "FP", "FN", "TN", "n_pred", "n_ref"}
    assert {name for name in case.consensus if direction_of(name) is None} == counts
    assert all(direction_of(name) is not None for name in case.distribution)


def test_numpy_and_nested_nan_become_plain_values():
    content = {"a": [math.nan, np.float64(1.5)], "b": {"c": math.nan}, "d": "x"}
    assert without_nan(content) == {"a": [None, 1.5], "b": {"c": None}, "d": "x"}


@pytest.mark.parametrize("patients", [(), ("p",)])
def test_summary_refuses_cases_without_patients(patients):
    with pytest.raises(ValueError, match="one patient for each"):
        summary_of(scored_cases(), patients)


def test_summary_refuses_no_cases():
    with pytest.raises(ValueError, match="at least one case"):
        summary_of([], ())
