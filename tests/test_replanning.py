"""Planning a dataset again whose files have changed: what is measured anew, kept, extended."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from diffunet import api
from diffunet.errors import DatasetError, WorkspaceError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.jsonio import read_json
from tests.data.tiny_datasets import edit_json, write_csv, write_png, write_volume

NAME = "Dataset001_Tiny"
SHAPE = (24, 20)
DESCRIBED = {
    "channel_names": {"0": "MR"},
    "labels": {"background": 0, "lesion": 1},
    "file_ending": ".png",
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Path:
    """Return a workspace with five planned images, a to e."""
    workspace = tmp_path_factory.mktemp("planned")
    raw = workspace / "raw" / NAME
    for case in "abcde":
        write_case(raw, case)
    (raw / "dataset.json").write_text(json.dumps(DESCRIBED))
    plan(workspace)
    return workspace


@pytest.fixture
def workspace(planned, tmp_path: Path) -> Path:
    """Return a copy of `planned`."""
    return shutil.copytree(planned, tmp_path / "workspace")  # times stay as they are


def write_case(raw: Path, case: str, *, channels: int = 1, seed: int = 0) -> None:
    values = np.random.default_rng(ord(case[0]) + seed).integers(0, 255, SHAPE)
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:8, 3:7] = 1
    for channel in range(channels):
        write_png(raw / "imagesTr" / f"{case}_{channel:04d}.png", values.astype(np.uint8))
    write_png(raw / "labelsTr" / f"{case}.png", mask)


def remove_case(raw: Path, case: str) -> None:
    (raw / f"imagesTr/{case}_0000.png").unlink()
    (raw / f"labelsTr/{case}.png").unlink()


def plan(workspace: Path, **options) -> None:
    api.plan_and_preprocess(1, workspace=workspace, num_processes=0, preprocesses=False, **options)


def preprocessed(workspace: Path, name: str) -> Path:
    return workspace / "preprocessed" / NAME / name


def measured(workspace: Path) -> Fingerprint:
    return api.extract_fingerprint(1, workspace=workspace, num_processes=0, checks_dataset=False)


def folds(workspace: Path) -> list[dict[str, list[str]]]:
    return read_json(preprocessed(workspace, "splits_final.json"))


def test_files_that_were_mended_are_measured_and_planned_anew(workspace, caplog):
    before = read_json(preprocessed(workspace, "diffunet_plans.json"))
    for case in "abcde":
        large = np.zeros((96, 80), np.uint8)
        write_png(workspace / "raw" / NAME / "imagesTr" / f"{case}_0000.png", large)
        write_png(workspace / "raw" / NAME / "labelsTr" / f"{case}.png", large)
    with caplog.at_level("INFO"):
        plan(workspace)
    after = read_json(preprocessed(workspace, "diffunet_plans.json"))
    medians = [each["configurations"]["2d"]["median_shape"] for each in (before, after)]
    assert medians == [[24, 20], [96, 80]]
    assert "5 cases with other files" in caplog.text
    assert "measured anew" in caplog.text


def test_a_mended_header_is_measured_anew(tmp_path):
    raw = tmp_path / "raw" / NAME
    volume = np.zeros((4, 6, 8), np.uint8)
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(DESCRIBED | {"file_ending": ".nii.gz"}))
    for spacing_mm in ((2, 1, 1), (3, 1.5, 1.5)):
        write_volume(raw / "imagesTr/a_0000.nii.gz", volume, spacing_mm=spacing_mm)
        write_volume(raw / "labelsTr/a.nii.gz", volume, spacing_mm=spacing_mm)
        found = measured(tmp_path).geometry.spacing_mm
        assert tuple(axis.median for axis in found) == spacing_mm


def test_nothing_is_measured_anew_where_nothing_changed(workspace, caplog):
    before = preprocessed(workspace, "dataset_fingerprint.json").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        plan(workspace)
    assert preprocessed(workspace, "dataset_fingerprint.json").stat().st_mtime_ns == before
    assert "exists and is kept" in caplog.text
    assert not preprocessed(workspace, "diffunet_plans.former.json").exists()


def test_a_file_of_the_same_size_and_time_is_known_by_its_ends(workspace, caplog):
    path = workspace / "raw" / NAME / "imagesTr" / "c_0000.png"
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with caplog.at_level("INFO"):
        measured(workspace)
    assert "1 case with other files, patient, raters or image-level labels: 'c'" in caplog.text


def test_a_case_that_was_added_is_in_every_fold_once_and_said_so(workspace, caplog):
    before = folds(workspace)
    write_case(workspace / "raw" / NAME, "f")
    with caplog.at_level("INFO"):
        plan(workspace)
    assert "1 case added: 'f'" in caplog.text
    assert f"'{preprocessed(workspace, 'splits_final.json')}' is extended" in caplog.text
    after = folds(workspace)
    assert sum("f" in fold["val"] for fold in after) == 1
    assert all(("f" in fold["val"]) != ("f" in fold["train"]) for fold in after)
    for old, new in zip(before, after, strict=True):
        assert [case for case in new["train"] if case != "f"] == old["train"]
        assert [case for case in new["val"] if case != "f"] == old["val"]


def test_a_case_that_was_removed_leaves_the_folds_and_is_named(workspace, caplog):
    raw = workspace / "raw" / NAME
    write_case(raw, "f")
    plan(workspace)
    remove_case(raw, "f")
    with caplog.at_level("INFO"):
        plan(workspace)
    assert "1 case removed: 'f'" in caplog.text
    assert "f" not in preprocessed(workspace, "splits_final.json").read_text().split('"')


def test_a_fold_that_a_removed_case_leaves_empty_is_named_with_its_folder(workspace):
    remove_case(workspace / "raw" / NAME, "a")
    before = preprocessed(workspace, "diffunet_plans.json").read_bytes()
    with pytest.raises(DatasetError) as caught:
        plan(workspace)
    assert str(preprocessed(workspace, "splits_final.json")) in str(caught.value)
    assert "remove the file to have folds made" in str(caught.value)
    assert preprocessed(workspace, "diffunet_plans.json").read_bytes() == before


def test_a_channel_that_was_added_is_planned_for(workspace):
    for case in "abcde":
        write_case(workspace / "raw" / NAME, case, channels=2)
    path = workspace / "raw" / NAME / "dataset.json"
    edit_json(path, channel_names={"0": "MR", "1": "FLAIR"})
    plan(workspace)
    plans = read_json(preprocessed(workspace, "diffunet_plans.json"))
    assert len(plans["configurations"]["2d"]["preprocessing"]["normalization"]) == 2


def test_planning_that_fails_leaves_every_file_as_it_was(workspace):
    folder = workspace / "preprocessed" / NAME
    preprocessed(workspace, "splits_final.json").write_text('[{"train": ["a"], "val": ["x"]}]')
    edit_json(workspace / "raw" / NAME / "dataset.json", labels={"background": 0, "cyst": 1})
    measured(workspace)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(DatasetError, match=r"found 1 others in fold 0, 'val': 'x'"):
        api.plan_experiment(1, workspace=workspace)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_planning_alone_refuses_a_fingerprint_of_other_data(workspace):
    write_case(workspace / "raw" / NAME, "f")
    with pytest.raises(DatasetError, match="1 case added: 'f'; measure it anew with diffunet_extr"):
        api.plan_experiment(1, workspace=workspace)


def test_a_fingerprint_that_cannot_be_read_is_measured_anew(workspace, caplog):
    path = preprocessed(workspace, "dataset_fingerprint.json")
    for content in ('{"format_version": 2}', "{", ""):
        path.write_text(content)
        plan(workspace)
        assert "is measured anew" in caplog.text
        assert read_json(path)["num_cases"] == 5
        caplog.clear()


def test_the_spacing_beside_a_tiff_volume_is_one_of_its_files(tmp_path):
    raw = tmp_path / "raw" / NAME
    volume = np.zeros((4, 6, 8), np.uint8)
    for name in ("imagesTr/a_0000.tif", "labelsTr/a.tif"):
        (raw / name).parent.mkdir(parents=True)
        tifffile.imwrite(raw / name, volume, photometric="minisblack")
    (raw / "dataset.json").write_text(json.dumps(DESCRIBED | {"file_ending": ".tif"}))
    for spacing_mm in ((2, 1, 1), (4, 2, 2)):
        for kind in ("imagesTr", "labelsTr"):
            (raw / kind / "a.json").write_text(json.dumps({"spacing": spacing_mm}))
        found = measured(tmp_path).geometry.spacing_mm
        assert tuple(axis.median for axis in found) == spacing_mm


def test_plans_that_somebody_edited_are_kept_beside_the_new_ones(workspace, caplog):
    path = preprocessed(workspace, "diffunet_plans.json")
    content = json.loads(path.read_text())
    content["configurations"]["2d"]["diffusion"]["input_scale"] = 0.0123
    edited = json.dumps(content)
    path.write_text(edited)
    plan(workspace)
    assert "diffusion.input_scale" in caplog.text
    assert preprocessed(workspace, "diffunet_plans.former.json").read_text() == edited
    assert path.read_text() != edited


def test_cases_that_changed_after_planning_are_said_when_preprocessing(workspace, caplog):
    write_case(workspace / "raw" / NAME, "f")
    api.preprocess(1, workspace=workspace, configurations=["2d"], num_processes=0)
    assert "the data have changed since plans and folds were made: 1 case added: 'f'" in caplog.text


def test_planning_without_a_fingerprint_says_how_to_measure(workspace):
    preprocessed(workspace, "dataset_fingerprint.json").unlink()
    with pytest.raises(DatasetError, match="no fingerprint '.*diffunet_extract_fingerprint -d Dat"):
        api.plan_experiment(1, workspace=workspace)


def test_plans_of_another_dataset_are_obeyed_and_said(workspace, caplog):
    other = "Dataset002_Other"
    shutil.copytree(workspace / "raw" / NAME, workspace / "raw" / other)
    folder = workspace / "preprocessed" / other
    folder.mkdir()
    shutil.copy(preprocessed(workspace, "diffunet_plans.json"), folder)
    api.preprocess(other, workspace=workspace, num_processes=0)
    assert f"were made for {NAME} and are now used for {other}" in caplog.text
    assert len(read_json(folder / "splits_final.json")) == 5
    assert read_json(folder / "dataset.json")["labels"] == DESCRIBED["labels"]


def test_a_patient_that_folds_divide_is_named_with_the_folder(workspace):
    rows = [("case", "patient"), *((case, "p" if case in "ab" else case) for case in "abcde")]
    write_csv(workspace / "raw" / NAME / "patients.csv", rows)
    with pytest.raises(DatasetError, match=r"preprocessed/.*'p'.*remove the file to have folds"):
        plan(workspace)


def test_one_patient_can_be_planned_again_and_again(tmp_path, caplog):
    raw = tmp_path / "raw" / NAME
    write_case(raw, "a")
    (raw / "dataset.json").write_text(json.dumps(DESCRIBED))
    for _ in range(2):
        plan(tmp_path)
        assert "there are no folds: train with the fold 'all'" in caplog.text
        caplog.clear()
    for case in "bc":
        write_case(raw, case)
    plan(tmp_path)
    assert len(folds(tmp_path)) == 3


NNUNET_FINGERPRINT = {
    "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
    "median_relative_size_after_cropping": 1.0,
    "shapes_after_crop": [[1, 24, 20]],
    "spacings": [[999.0, 1.0, 1.0]],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset_fingerprint.json", NNUNET_FINGERPRINT),
        ("nnUNetPlans.json", {"dataset_name": NAME, "experiment_planner_used": "X"}),
        ("gt_segmentations/a.nii.gz", None),
    ],
)
def test_a_folder_of_nnunet_is_refused_and_nothing_in_it_changes(workspace, name, content):
    folder = workspace / "preprocessed" / NAME
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    for extracts_anew in (False, True):
        with pytest.raises(WorkspaceError, match=r"is nnU-Net's.*diffunet_preprocessed"):
            plan(workspace, extracts_anew=extracts_anew)
    for step in (api.plan_experiment, api.preprocess):
        with pytest.raises(WorkspaceError, match="is nnU-Net's"):
            step(1, workspace=workspace)
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / name]


def changes_told(workspace: Path, caplog) -> list[str]:
    caplog.clear()
    with caplog.at_level("WARNING"), pytest.raises(WorkspaceError):
        api.train(1, 0, workspace=workspace, settings=["training.num_iterations=1"])
    return [text for text in caplog.messages if "data have changed" in text]


def test_a_training_tells_that_the_raw_data_changed_after_preprocessing(workspace, caplog):
    raw = workspace / "raw" / NAME
    (workspace / "preprocessed" / NAME / "splits_final.json").rename(workspace / "aside.json")
    state = workspace / "preprocessed" / NAME / "dataset_state.json"
    os.utime(state, ns=(2**61, 2**61))  # what is older than it is not looked at
    assert changes_told(workspace, caplog) == []
    os.utime(state, (1e9, 1e9))
    assert changes_told(workspace, caplog) == []
    write_case(raw, "b", seed=1)
    (told,) = changes_told(workspace, caplog)
    assert "1 case with other files" in told
    assert "'b'" in told
    assert "run diffunet_plan_and_preprocess -d Dataset001_Tiny" in told
    (raw / "dataset.json").write_text("{")  # faulty: no training needs it
    assert changes_told(workspace, caplog) == []
