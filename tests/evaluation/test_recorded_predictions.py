"""Evaluation takes no samples of two runs for those of one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.errors import DatasetError
from diffunet.evaluation.folder import evaluate_folders
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.jsonio import read_json, write_json
from diffunet.labels import LabelScheme

LABELS = LabelScheme(names=("lesion",), values=((1,),))
SHAPE = (6, 5)


def write_mask(path: Path, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, SHAPE).astype(np.uint8)
    geometry = ImageGeometry(shape=SHAPE, spacing_mm=(1.0, 1.0), has_spacing=False)
    write_label_map(path, mask, geometry)


def predict(folder: Path, *, seed: int, num_samples: int, cases=("a", "b"), settings=None) -> None:
    """Write what a prediction leaves, with its records."""
    for case in cases:
        names = [f"{case}.bmp", *(f"samples/{case}_s{k:02d}.bmp" for k in range(num_samples))]
        for number, name in enumerate(names):
            write_mask(folder / name, hash((seed, case, number)) % 2**32)
        files = {name: FileState.of(folder / name, has_time=False) for name in names}
        record = {"settings": {"seed": seed, **(settings or {})}, "input": None, "files": files}
        write_json(folder / "records" / f"{case}.json", record)


def evaluate(references: Path, folder: Path, **more) -> dict:
    folders = ScoredFolders(
        reference=references,
        prediction=folder,
        labels=LABELS,
        file_ending=".bmp",
        **{"has_raters": False, **more},
    )
    return evaluate_folders(folders, num_processes=0)


@pytest.fixture
def references(tmp_path) -> Path:
    for number, case in enumerate("ab"):
        write_mask(tmp_path / "references" / f"{case}.bmp", number)
    return tmp_path / "references"


def test_what_one_run_wrote_is_scored_wherever_it_was_copied(references, tmp_path):
    predict(tmp_path / "out", seed=0, num_samples=3)
    first = evaluate(references, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)
    again = evaluate(references, tmp_path / "copy")
    assert again["distribution"]["mean"] == first["distribution"]["mean"]


def test_masks_that_were_drawn_as_one_rater_are_told_where_others_count(
    references, tmp_path, caplog
):
    predict(tmp_path / "out", seed=0, num_samples=2, settings={"rater": "r01"})
    for number, rater in enumerate(("a_r00", "a_r01", "b_r00")):
        write_mask(tmp_path / "raters" / f"{rater}.bmp", number)
    found = evaluate(tmp_path / "raters", tmp_path / "out", has_raters=True)
    assert "drawn as the rater r01 would, and are scored against all raters" in caplog.text
    assert found["distribution"]["num_raters"] == [1, 2]
    caplog.clear()
    found = evaluate(tmp_path / "raters", tmp_path / "out", has_raters=True, rater="r01")
    assert not caplog.text
    assert found["distribution"]["num_raters"] == [1, 1]
    (case,) = found["metric_per_case"]
    assert case["reference_file"].endswith("a_r01.bmp")
    with pytest.raises(DatasetError, match="--rater r07: expected one of .* 'r00', 'r01'"):
        evaluate(tmp_path / "raters", tmp_path / "out", has_raters=True, rater="r07")
    predict(tmp_path / "mixed", seed=0, num_samples=2)
    evaluate(tmp_path / "raters", tmp_path / "mixed", has_raters=True)
    assert "drawn as" not in caplog.text
    evaluate(tmp_path / "raters", tmp_path / "mixed", has_raters=True, rater="r01")
    assert "drawn as all raters together would, and are scored against r01 alone" in caplog.text


def test_samples_of_two_runs_within_a_case_are_noticed(references, tmp_path):
    """Twenty of one, ten of another: ten to nineteen were left of the first."""
    predict(tmp_path / "out", seed=0, num_samples=20)
    predict(tmp_path / "other", seed=1, num_samples=10)
    shutil.copytree(tmp_path / "other" / "samples", tmp_path / "out/samples", dirs_exist_ok=True)
    with pytest.raises(DatasetError, match=r"case 'a': .*a_s00.bmp' has changed since it was"):
        evaluate(references, tmp_path / "out")
    shutil.copytree(tmp_path / "other" / "records", tmp_path / "out/records", dirs_exist_ok=True)
    with pytest.raises(DatasetError, match="case 'b': expected the 10 files .* found 20"):
        evaluate(references, tmp_path / "out")


def test_cases_of_different_settings_are_no_set(references, tmp_path):
    predict(tmp_path / "out", seed=0, num_samples=2, cases=("a",))
    predict(tmp_path / "out", seed=5, num_samples=2, cases=("b",))
    with pytest.raises(DatasetError, match=r"1 and 1 that differ \(seed: 0 and 5\): 'b'; predict"):
        evaluate(references, tmp_path / "out")


def test_a_case_that_was_not_predicted_to_the_end_is_named(references, tmp_path):
    predict(tmp_path / "out", seed=0, num_samples=2)
    (tmp_path / "out" / "records" / "b.json").unlink()
    with pytest.raises(DatasetError, match="found none of 1: 'b'; their prediction did not finish"):
        evaluate(references, tmp_path / "out")


def test_a_mask_that_a_user_corrected_is_scored(references, tmp_path):
    predict(tmp_path / "out", seed=0, num_samples=2)
    shutil.copy(references / "a.bmp", tmp_path / "out" / "a.bmp")
    summary = evaluate(references, tmp_path / "out")
    scores = {case["reference_file"]: case["metrics"] for case in summary["metric_per_case"]}
    assert scores[str(references / "a.bmp")]["1"]["Dice"] == 1


def test_records_that_tell_of_no_files_are_taken(references, tmp_path):
    predict(tmp_path / "out", seed=0, num_samples=2)
    for path in (tmp_path / "out" / "records").iterdir():
        write_json(path, {"settings": read_json(path)["settings"]})
    assert evaluate(references, tmp_path / "out")["distribution"]["num_cases"] == 2
