import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import paired_scores  # pyright: ignore[reportMissingImports]

NUM_CASES = 40


def summary(path, shift, *, patient="P{}", missing=()):
    """Write what is read of an evaluation: two labels, which differ, and cases of two a patient."""
    noise = np.random.default_rng(0).normal(size=NUM_CASES)
    cases = []
    for number, value in enumerate(noise + shift):
        score = None if number in missing else value
        labels = {"a": {"ged_fully_unbiased": score}, "b": {"ged_fully_unbiased": value + 0.2}}
        named = patient.format(number // 2)
        cases.append({"case": f"c{number}", "patient": named, "distribution": labels})
    path.write_text(json.dumps({"metric_per_case": cases}))
    return str(path)


def test_the_difference_of_the_same_noise_is_exact(tmp_path):
    first, second = summary(tmp_path / "a", 0.0), summary(tmp_path / "b", 0.25)
    content = json.loads(json.dumps(paired_scores.stored({"ours": first, "other": second})))
    table = paired_scores.table(content)
    assert "| | ours | other | difference |" in table
    assert "-0.250 [-0.250, -0.250]" in table
    assert "40 cases of 20 patients" in table
    mean = float(np.random.default_rng(0).normal(size=NUM_CASES).mean()) + 0.1
    assert f"| unbiased GED | {mean:.3f} |" in table
    assert "HM-IoU" not in table  # no case has it
    paired_scores.plot(content, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_label_without_the_score_is_left_out_of_the_mean(tmp_path):
    path = summary(tmp_path / "a", 0.0, missing=(3,))
    content = paired_scores.stored({"ours": path, "other": path})
    value = float(np.random.default_rng(0).normal(size=NUM_CASES)[3]) + 0.2
    assert content["scores"]["ours"]["ged_fully_unbiased"][3] == pytest.approx(value, abs=1e-4)
    assert content["scores"]["ours"]["hm_iou"] == [None] * NUM_CASES


def test_other_patients_are_refused(tmp_path):
    first, second = summary(tmp_path / "a", 0.0), summary(tmp_path / "b", 0.0, patient="Q{}")
    with pytest.raises(ValueError, match="other patients"):
        paired_scores.stored({"ours": first, "other": second})
