import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import regret  # pyright: ignore[reportMissingImports]

NUM_CASES, NUM_SEEDS = 60, 3


def choice(means, *, noise, draw=0):
    """Return a field whose values have these means; cases of two share a patient.

    Half of the noise is of the case, half of the training.
    """
    generator = np.random.default_rng(draw)
    of_case = generator.normal(size=(len(means), NUM_CASES, NUM_SEEDS))
    of_training = generator.normal(size=(len(means), 1, NUM_SEEDS))
    scores = np.array(means)[:, None, None] + noise * (of_case + of_training)
    values = tuple(f"value {place}" for place in range(len(means)))
    patients = np.arange(NUM_CASES) // 2
    return regret.Choice(name="field", values=values, scores=scores, patients=patients)


def test_regret_is_what_a_better_value_gains():
    found = choice([0.3, 0.2, 0.4], noise=0.01).regrets()
    lower, upper = np.percentile(found, (2.5, 97.5))
    assert found.mean() == pytest.approx(0.1, abs=0.02)
    assert 0.05 < lower < upper < 0.15


def test_values_that_differ_by_chance_are_not_regretted():
    """The plain difference to the best of eight is above zero each time, the regret is not."""
    same = [choice([0.3] * 8, noise=0.2, draw=draw) for draw in range(200)]
    plain = [each.means()[0] - each.means().min() for each in same]
    regrets = [each.regrets(num_draws=20).mean() for each in same]
    error = np.std(regrets) / np.sqrt(len(same))
    assert np.mean(plain) > 0.1
    assert abs(np.mean(regrets)) < 3 * error < 0.05


def test_a_plan_that_is_best_has_no_regret():
    assert np.all(choice([0.1, 0.5], noise=0.01).regrets() == 0)


def test_crops_of_an_image_and_its_masks_are_of_one_place(tmp_path):
    source, target = tmp_path / "Dataset001_Images", tmp_path / "Dataset002_Crops"
    generator = np.random.default_rng(0)
    for part in ("Tr", "Ts"):
        for case in ("a", "b"):
            pixels = generator.integers(256, size=(20, 24), dtype=np.uint8)
            for folder, ending in (("images", "0000"), ("labels", "r00"), ("labels", "r01")):
                path = source / f"{folder}{part}" / f"{case}{part}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (source / "dataset.json").write_text(json.dumps({"numTraining": 2, "file_ending": ".png"}))
    (source / "patients.csv").write_text("case,patient\naTr,p\nbTr,p\naTs,q\nbTs,r\n")
    regret.main(["crops", str(source), str(target), "--edge", "8", "--every", "2"])
    assert json.loads((target / "dataset.json").read_text())["numTraining"] == 1
    assert (target / "patients.csv").read_text() == "case,patient\naTr,p\naTs,q\n"
    image = np.array(Image.open(target / "imagesTr" / "aTr_0000.png"))
    assert image.shape == (8, 8)
    for rater in ("r00", "r01"):
        assert np.array_equal(image, Image.open(target / "labelsTr" / f"aTr_{rater}.png"))
    whole = np.array(Image.open(source / "imagesTr" / "aTr_0000.png"))
    windows = np.lib.stride_tricks.sliding_window_view(whole, (8, 8))
    assert (windows == image).all(axis=(2, 3)).sum() == 1


def test_the_table_is_of_fields_that_a_sweep_varied(tmp_path, capsys):
    """A value that lacks a seed is left out, and a case that lacks a score."""
    cases = {f"case{number}": 0.2 + 0.001 * number for number in range(8)}
    own = {"b": 0.1, "name": "x_0"}
    variants = [
        row(own, cases, is_own=True),
        row({**own, "b": 0.5}, {case: score - 0.1 for case, score in cases.items()}),
        row({**own, "b": 1.0}, dict.fromkeys(cases, 0.0), seeds=(0,)),
        row({**own, "name": "v"}, {case: score + 0.1 for case, score in cases.items()}),
    ]
    for each in variants:
        for run in each["runs"]:
            run["cases"] = {**run["cases"], "odd": None if each["is_own"] else 2.0}
    outcome = {
        "dataset": "Dataset001_Images",
        "cases": {"patients": {case: f"patient of {case}" for case in [*cases, "odd"]}},
        "one_at_a_time": True,
        "is_lower_better": True,
        "seeds": [0, 1],
        "axes": [{"path": "b"}, {"path": "name"}],
        "variants": variants,
    }
    file = tmp_path / "ablation.json"
    file.write_text(json.dumps(outcome))
    regret.main(["table", str(file)])
    of_b, of_name = capsys.readouterr().out.splitlines()[2:]
    assert of_b == (
        "| Dataset001_Images | `b` | 0.1 | 0.204 | 0.5: 0.104 | +0.100 [+0.100, +0.100] | +49 |"
    )
    assert of_name.endswith("| x_0 | 0.204 | v: 0.304 | +0.000 [+0.000, +0.000] | +0 |")


def row(values, cases, *, is_own=False, seeds=(0, 1)):
    runs = [{"seed": seed, "cases": cases} for seed in seeds]
    return {"values": values, "is_own": is_own, "runs": runs}
