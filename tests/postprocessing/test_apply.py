"""`diffunet_apply_postprocessing`: samples first, then what they have in common."""

import pickle

import numpy as np
import pytest

from diffunet.cli import evaluate, postprocess
from diffunet.data.image_io import read_map
from diffunet.jsonio import read_json, write_json
from tests.inference.models import dataset_content
from tests.inference.written_folders import (
    read_text,
    samples_in,
    write_predictions,
    write_references,
)

SCORES = {"mean": 0.5, "labels": {"nodule": 0.5}}
STEP = {
    "version": 1,
    "keep_largest_of": [["nodule"]],
    "criterion": "Dice",
    "before": SCORES,
    "after": SCORES,
    "tried": [],
    "decided_on": {
        "prediction": "p",
        "reference": "r",
        "dataset": None,
        "method": None,
        "cases": ["a"],
        "num_samples": 0,
        "num_raters": 1,
    },
}
# The largest component of the consensus would keep the first two voxels; the samples lose others.
CASES = {"a": ("11010000", "11010000", "00010111"), "b": ("01000000", "01100000", "01010000")}


def plan(path, **changes):
    write_json(path, {**STEP, **changes})
    return path


def apply(folder, output, file) -> int:
    words = ["-i", str(folder), "-o", str(output)]
    return postprocess.main_apply([*words, *([] if file is None else ["-pp", str(file)])])


@pytest.fixture
def predicted(tmp_path):
    return write_predictions(tmp_path / "predicted", CASES)


def test_each_sample_is_cleaned_and_the_consensus_is_made_anew(predicted, tmp_path):
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json")) == 0
    assert samples_in(tmp_path / "out", "a") == ["11000000", "11000000", "00000111"]
    assert read_text(predicted / "a.png") == "11010000"
    assert read_text(tmp_path / "out" / "a.png") == "11000000"
    assert samples_in(tmp_path / "out", "b") == ["01000000", "01100000", "01010000"]


def test_uncertainty_and_volumes_are_those_of_cleaned_samples(predicted, tmp_path):
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json")) == 0
    uncertainty, _ = read_map(tmp_path / "out" / "a_uncertainty.png")
    assert np.array_equal(uncertainty[0] > 0, [True, True, False, False, False, True, True, True])
    about = read_json(tmp_path / "out" / "predictions.json")["cases"]["a"]
    assert about["volumes"]["nodule"]["samples"] == [2, 2, 3]
    assert about["disagreement"]["nodule"] == pytest.approx(1 - 4 / 24)


def test_the_output_is_scored_as_any_prediction(predicted, tmp_path):
    reference = write_references(tmp_path / "labelsTr", dict.fromkeys(CASES, ("11000000",)))
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json")) == 0
    assert evaluate.main([str(reference), str(tmp_path / "out"), "-np", "0"]) == 0
    summary = read_json(tmp_path / "out" / "summary.json")
    assert summary["metric_per_case"][0]["metrics"]["1"]["Dice"] == 1


def test_what_is_decided_is_what_is_applied(tmp_path):
    cases = {"a": ("11010000", "11110000"), "b": ("01100100", "01100000")}
    predicted = write_predictions(tmp_path / "predicted", cases)
    reference = write_references(tmp_path / "labelsTr", {"a": ("11000000",), "b": ("01100000",)})
    words = ["-i", str(predicted), "-ref", str(reference), "-np", "0"]
    assert postprocess.main_determine(words) == 0
    file = predicted / "postprocessing.json"
    assert apply(predicted, tmp_path / "out", file) == 0
    assert evaluate.main([str(reference), str(tmp_path / "out"), "-np", "0"]) == 0
    scored = read_json(tmp_path / "out" / "summary.json")["foreground_mean"]["Dice"]
    assert scored == pytest.approx(read_json(file)["after"]["mean"])


def test_of_predictions_without_samples_the_mask_alone_is_cleaned(tmp_path):
    predicted = write_predictions(
        tmp_path / "predicted", {"a": ("11010000",)}, method="supervised", saves_samples=False
    )
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json")) == 0
    assert read_text(tmp_path / "out" / "a.png") == "11000000"
    assert not (tmp_path / "out" / "samples").exists()
    assert not list((tmp_path / "out").glob("*uncertainty*"))
    record = read_json(tmp_path / "out" / "predictions.json")
    assert record["cases"]["a"]["seconds"] == 1.0
    assert record["cases"]["a"]["volumes"]["nodule"]["samples"] == [2]
    assert record["settings"]["postprocessing"] == [["nodule"]]


def test_what_samples_said_that_nobody_saved_is_not_said_of_the_cleaned_mask(tmp_path):
    predicted = write_predictions(tmp_path / "predicted", {"a": ("11010000",)}, saves_samples=False)
    path = predicted / "records" / "a.json"
    write_json(path, {**read_json(path), "disagreement": {"nodule": 0.4}})
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json")) == 0
    assert read_json(tmp_path / "out" / "records" / "a.json")["disagreement"] == {}


def test_components_of_volumes_span_slices(tmp_path):
    content = dataset_content(file_ending=".nii.gz")
    predicted = write_predictions(
        tmp_path / "predicted",
        {"a": ("1100 0000/1100 0001",)},
        content=content,
        spacing_mm=(2.0, 1.0, 1.0),
    )
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json")) == 0
    assert samples_in(tmp_path / "out", "a") == ["1100 0000/1100 0000"]


def test_cleaned_samples_can_be_joined(predicted, tmp_path):
    from diffunet.cli import ensemble

    assert apply(predicted, tmp_path / "cleaned", plan(tmp_path / "pp.json")) == 0
    words = ["-i", str(predicted), str(tmp_path / "cleaned"), "-o", str(tmp_path / "out")]
    assert ensemble.main(words) == 0
    assert samples_in(tmp_path / "out", "a")[:2] == ["11010000", "11000000"]


def test_masks_that_are_cleaned_twice_tell_both_steps(tmp_path):
    content = dataset_content(labels={"background": 0, "one": 1, "two": 2})
    predicted = write_predictions(tmp_path / "predicted", {"a": ("11012202",)}, content=content)
    first = plan(tmp_path / "1.json", keep_largest_of=[["one"]])
    second = plan(tmp_path / "2.json", keep_largest_of=[["two"]])
    assert apply(predicted, tmp_path / "once", first) == 0
    assert apply(tmp_path / "once", tmp_path / "twice", second) == 0
    assert samples_in(tmp_path / "twice", "a") == ["11002200"]
    settings = read_json(tmp_path / "twice" / "predictions.json")["settings"]
    assert settings["postprocessing"] == [["one"], ["two"]]


def test_run_again_nothing_is_written(predicted, tmp_path):
    file = plan(tmp_path / "pp.json")
    assert apply(predicted, tmp_path / "out", file) == 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert apply(predicted, tmp_path / "out", file) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_other_steps_into_the_same_folder_are_refused(tmp_path, capsys):
    content = dataset_content(labels={"background": 0, "one": 1, "two": 2})
    predicted = write_predictions(tmp_path / "predicted", {"a": ("1201",)}, content=content)
    assert (
        apply(predicted, tmp_path / "out", plan(tmp_path / "1.json", keep_largest_of=[["one"]]))
        == 0
    )
    assert (
        apply(predicted, tmp_path / "out", plan(tmp_path / "2.json", keep_largest_of=[["two"]]))
        == 2
    )
    assert "was made with other settings (postprocessing" in capsys.readouterr().err


def test_the_predictions_themselves_are_not_replaced(predicted, tmp_path, capsys):
    assert apply(predicted, predicted, plan(tmp_path / "pp.json")) == 2
    assert "is or holds an input" in capsys.readouterr().err
    assert samples_in(predicted, "a")[0] == "11010000"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"keep_largest_of": [["lesion"]]},
            "expected labels of the predictions, 'nodule', found 'lesion'",
        ),
        ({"keep_largest_of": [[]]}, "keep_largest_of: expected labels, each once, found ()"),
        ({"keep_largest_of": [["nodule", "nodule"]]}, "each once"),
        ({"keep_largest_of": "nodule"}, "keep_largest_of: expected a list, found 'nodule'"),
        ({"keep_largest_of": [[1]]}, "keep_largest_of[0][0]: expected str, found 1"),
        ({"version": 2}, "version: 2 is not one of 1"),
        ({"radius": 3}, "unknown key 'radius'"),
    ],
)
def test_a_file_with_a_fault_is_refused_by_the_name_of_its_field(
    changes, message, predicted, tmp_path, capsys
):
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json", **changes)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# How users of nnU-Net's post-processing broke it, rebuilt: github.com/MIC-DKFZ/nnUNet, issues 2789
# (no file was decided yet), 1465 (a pickle of a case, and one mask instead of a folder), and
# huangnick/mcPVS-Net issue 1 (a file that keeps everything).


def test_without_a_file_it_says_how_to_get_one(predicted, tmp_path, capsys):
    assert apply(predicted, tmp_path / "out", None) == 2
    said = capsys.readouterr().err
    assert "Run diffunet_determine_postprocessing on predictions of validation cases" in said


def test_a_pickle_is_never_read(predicted, tmp_path, capsys):
    file = tmp_path / "postprocessing.pkl"
    file.write_bytes(pickle.dumps(([], [])))
    assert apply(predicted, tmp_path / "out", file) == 2
    assert "pickles such as nnU-Net's are never read" in capsys.readouterr().err


def test_a_single_mask_in_place_of_a_folder_is_refused(predicted, tmp_path, capsys):
    assert apply(predicted / "a.png", tmp_path / "out", plan(tmp_path / "pp.json")) == 2
    assert "is a file; give the folder" in capsys.readouterr().err


def test_a_file_that_keeps_everything_says_so_and_copies(predicted, tmp_path, capsys):
    assert apply(predicted, tmp_path / "out", plan(tmp_path / "pp.json", keep_largest_of=[])) == 0
    assert "no step made the scores better" in capsys.readouterr().out
    assert samples_in(tmp_path / "out", "a") == list(CASES["a"])
