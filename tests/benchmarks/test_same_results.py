"""What the comparison of two commits calls equal, and what it names."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import same_results  # pyright: ignore[reportMissingImports]
from same_results_digests import results_of_folder  # pyright: ignore[reportMissingImports]


def run_of(results: dict, **more) -> dict:
    versions = {"torch": "2"}
    made = {"kinds": ["tags"], "is_trained": True, "versions": versions, "results": results}
    return made | more


def folder_of(folder: Path, *, score: float = 0.5, seconds: float = 1.0, bit: int = 0) -> Path:
    folder.mkdir()
    content = {"cases": [{"case": "c", "Dice": score, "seconds": seconds, "file": f"{folder}/c"}]}
    (folder / "summary.json").write_text(json.dumps(content))
    np.savez(folder / "samples.npz", masks=np.array([1, 2, 3 ^ bit]))
    return folder


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, []),
        ({"seconds": 2.0}, []),
        ({"score": 0.5 + 2**-53}, ["tags/summary.json/cases/c/Dice"]),
        ({"bit": 1}, ["tags/samples.npz/masks"]),
    ],
)
def test_a_changed_bit_is_named_and_clocks_and_folders_are_not(tmp_path, change, names):
    runs = []
    for folder in (folder_of(tmp_path / "a"), folder_of(tmp_path / "b", **change)):
        found = results_of_folder(folder, root=folder)
        runs.append(run_of({f"tags/{name}": value for name, value in found.items()}))
    assert list(same_results.differences(*runs)) == names


def test_what_is_missing_or_new_differs():
    found = same_results.differences(run_of({"tags/a": 1}), run_of({"tags/b": 1}))
    assert list(found) == ["tags/a", "tags/b"]


def test_without_training_only_what_follows_it_is_compared():
    before = run_of({"tags/train/m/weights": 1, "tags/predict/p": 1, "slices/predict/p": 1})
    after = run_of({"tags/predict/p": 2}, is_trained=False)
    assert list(same_results.differences(before, after)) == ["tags/predict/p"]


def test_differences_that_were_expected_are_no_failure(capsys):
    runs = run_of({"tags/plan/a": 1, "tags/b": 0.0}), run_of({"tags/plan/a": 2, "tags/b": 0.0})
    assert same_results.report(*runs, expected=[]) == 1
    assert "tags/plan/a: was 1, is 2" in capsys.readouterr().out
    assert same_results.report(*runs, expected=["*/plan/*"]) == 0
