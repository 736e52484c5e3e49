import builtins
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from diffunet import api
from diffunet.api.weak_predictor import WeakPredictor
from diffunet.checkpoint import load_checkpoint, save_checkpoint
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.dataset_state import DatasetState
from diffunet.data.raw.splits import Split
from diffunet.errors import CheckpointError, DatasetError, UsageError, WorkspaceError
from diffunet.figures.masks import SaliencyCase
from diffunet.inference.compute import Compute
from diffunet.inference.output import OutputFolder
from diffunet.jsonio import read_json, write_json
from diffunet.workspace import STATE_FILE
from diffunet.wsss.prediction.case_records import read_weak_case
from diffunet.wsss.prediction.predictor import SaliencyPredictor
from diffunet.wsss.second_stage import make as second_stage
from diffunet.wsss.second_stage.fold_shares import (
    check_channels,
    require_trained_with,
    say_what_is_in_sample,
    shares_of,
)
from diffunet.wsss.second_stage.pseudo_dataset import path_from
from tests.cli.test_image_labels_alone import watched_files
from tests.data.tiny_datasets import write_csv
from tests.inference.test_predict import contents
from tests.wsss.tagged_datasets import (
    CASES,
    NAME,
    SPLITS,
    change_mask_plan,
    files_of,
    is_tagged,
    write_tagged_model,
    write_tagged_pictures,
    write_tagged_volumes,
)
from tests.wsss.test_weak_predict import volume_predictor
from tests.wsss.weak_models import TWO_LABELS

STUDENT = "Dataset503_TagsPseudo"


def label(workspace: Path, new: int | str = 503, **arguments: Any) -> Path:
    given = {"method": "classifier", "configuration": "small", "device": "cpu", **arguments}
    return api.pseudo_label(3, new, workspace=workspace, **given)


def label_map(folder: Path, case: str) -> np.ndarray:
    return read_label_map(folder / "labelsTr" / f"{case}.png")[0]


@pytest.fixture
def workspace(tmp_path):
    write_tagged_pictures(tmp_path)
    write_tagged_model(tmp_path)
    return tmp_path


@pytest.fixture
def without_pictures(monkeypatch):
    """Draw nothing, which takes a second."""
    monkeypatch.setattr(second_stage, "draw_rows", lambda *_, **__: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a workspace with a student's dataset."""
    folder = tmp_path_factory.mktemp("made")
    write_tagged_pictures(folder)
    write_tagged_model(folder)
    with watched_files() as opened:
        label(folder)
    (folder / "opened.txt").write_text("\n".join(opened))
    return folder


# Which folds label which cases


def shares(folds, splits=SPLITS, cases=CASES):
    dealt = shares_of(
        files_of(*cases),
        folds=folds,
        splits=[Split(**each) for each in splits],
        dataset="Dataset001_Tagged",
    )
    return {share.name: [files.case for files in share.cases] for share in dealt}


def test_a_case_is_dealt_to_the_fold_that_was_validated_on_it_and_else_to_all_in_sample():
    assert shares(("0", "1")) == {
        "fold_0": ["c0", "c1"],
        "fold_1": ["c2", "c3"],
        "folds_0_1_in_sample": ["c4", "c5", "c6", "c7"],
    }


def test_a_single_fold_has_held_and_in_sample_cases_apart():
    assert shares(("2",)) == {
        "fold_2": ["c4", "c5"],
        "fold_2_in_sample": ["c0", "c1", "c2", "c3", "c6", "c7"],
    }


def test_a_case_that_several_folds_were_validated_on_is_dealt_to_all_of_them():
    splits = [{"train": ["c1"], "val": ["c0"]}, {"train": ["c2"], "val": ["c0", "c1"]}]
    assert shares(("0", "1"), splits, ["c0", "c1"]) == {"fold_1": ["c1"], "folds_0_1": ["c0"]}


def test_what_learned_from_every_case_has_all_in_sample():
    assert shares(("all",)) == {"fold_all_in_sample": list(CASES)}


def test_a_fold_without_a_split_is_refused():
    with pytest.raises(UsageError, match="a split for each of the folds 0, 3, found 3"):
        shares(("0", "3"))


# The dataset


def test_the_new_dataset_is_valid(made, caplog):
    with caplog.at_level("INFO"):
        api.verify_dataset(503, workspace=made, num_processes=0)
    assert f"{STUDENT}: 9 cases checked, with their masks" in caplog.text


def test_no_mask_of_the_weak_dataset_is_opened(made):
    opened = (made / "opened.txt").read_text().splitlines()
    assert any(f"{NAME}/imagesTr" in path for path in opened)
    assert not [path for path in opened if f"{NAME}/labelsTr" in path]


def test_images_stay_where_they_are_and_test_images_are_found(made):
    student = open_dataset(made / "raw" / STUDENT)
    sources = {files.case: files.images[0].resolve() for files in student.training_cases}
    raw = (made / "raw" / NAME).resolve()
    assert sources == {case: raw / "imagesTr" / f"{case}_0000.png" for case in CASES}
    assert not (student.folder / "imagesTr").exists()
    assert [files.case for files in student.test_cases] == ["t0"]
    assert student.test_cases[0].images[0].resolve() == raw / "imagesTs" / "t0_0000.png"


def test_a_workspace_can_be_moved_with_its_student(made, tmp_path):
    shutil.copytree(made / "raw", tmp_path / "elsewhere" / "raw", symlinks=True)
    student = open_dataset(tmp_path / "elsewhere" / "raw" / STUDENT)
    assert tmp_path in student.training_cases[0].images[0].resolve().parents


def test_splits_and_patients_are_those_of_the_weak_model(made):
    student = open_dataset(made / "raw" / STUDENT)
    assert [{"train": list(s.train), "val": list(s.val)} for s in student.splits()] == SPLITS
    assert student.patients == open_dataset(made / "raw" / NAME).patients


def test_dataset_json_says_where_the_labels_come_from(made):
    content = read_json(made / "raw" / STUDENT / "dataset.json")
    assert content["labels"] == {"background": 0, "bright": 1, "ignore": 2}
    assert content["numTraining"] == len(CASES)
    assert "image_labels" not in content
    for text in (NAME, "classifier__diffunet_plans__small", "folds 0 1", "layer_cam"):
        assert text in content["description"]


def expected_map(model: Path, case: str, folds, *, unsure_share: float) -> np.ndarray:
    """Return the label map by a second road: one image in memory, and the rule in words."""
    raw = model.parents[2] / "raw" / NAME
    image, _ = read_image([raw / "imagesTr" / f"{case}_0000.png"])
    predictor = WeakPredictor.from_folder(model, folds)
    found = predictor.predict(image, (1.0, 1.0), tags=[is_tagged(case)], case=case)
    if not is_tagged(case):
        return np.zeros(found.mask.shape, np.uint8)
    values, threshold = np.maximum(found.saliency[0], 0), found.thresholds[0, 0]
    above = values > threshold
    lower = threshold - unsure_share * (threshold - values[~above].mean())
    upper = threshold + unsure_share * (values[above].mean() - threshold)
    return np.where(values > upper, 1, np.where(values > lower, 2, 0))


@pytest.mark.parametrize(
    ("case", "folds"), [("c1", [0]), ("c3", [1]), ("c7", [0, 1]), ("c0", [0]), ("c6", [0, 1])]
)
def test_each_case_is_labelled_by_its_folds_with_its_tag(made, case, folds):
    model = made / "results" / NAME / "classifier__diffunet_plans__small"
    expected = expected_map(model, case, folds, unsure_share=0.7)
    found = label_map(made / "raw" / STUDENT, case)
    # maps went through 16 bits: a pixel at a bound may fall on the other side
    assert np.count_nonzero(found != expected) <= 1
    assert (found == 1).any() == bool(is_tagged(case))


def test_the_record_says_of_each_case_who_labelled_it_and_what_is_sure(made):
    content = read_json(made / "raw" / STUDENT / "pseudo_labels.json")
    assert list(content["cases"]) == list(CASES)
    for case, about in content["cases"].items():
        found = label_map(made / "raw" / STUDENT, case)
        folds = {"c0": ["0"], "c1": ["0"], "c2": ["1"], "c3": ["1"]}.get(case)
        assert about["folds"] == (folds or ["0", "1"])
        assert about["is_in_sample"] == (folds is None)
        assert about["unsure_share"] == pytest.approx((found == 2).mean())
        bright = about["labels"]["bright"]
        assert bright["sure_share"] == pytest.approx((found == 1).mean())
        assert bright["is_present"] == [bool(is_tagged(case))]
        assert bright["decided_by"] == ["given"]
        assert 0 < bright["case_probability"] < 1
        assert (bright["threshold"][0] is not None) == bool(is_tagged(case))
    assert content["summary"]["num_in_sample"] == 4
    assert content["summary"]["labels"]["bright"]["num_present"] == 4
    assert content["settings"]["runs"]["fold_1"]["saliency"] == "layer_cam"


def test_nothing_unfinished_stays(made):
    names = {path.name for path in (made / "raw" / STUDENT).iterdir()}
    assert names == {
        "dataset.json",
        "imagesTs",
        "labelsTr",
        "patients.csv",
        "pseudo_labels.json",
        "pseudo_labels.png",
        "splits_final.json",
    }


def test_the_picture_shows_what_is_unsure(workspace, monkeypatch):
    drawn: list[SaliencyCase] = []
    monkeypatch.setattr(second_stage, "draw_rows", lambda rows, *_, **__: drawn.extend(rows))
    folder = label(workspace)
    assert [row.title for row in drawn] == ["c1", "c3", "c5", "c7"]
    for row in drawn:
        assert np.array_equal(row.unsure, label_map(folder, row.title) == 2)
        assert row.mask.any()


def test_without_matplotlib_there_is_a_warning_and_a_dataset(workspace, monkeypatch, caplog):
    really = builtins.__import__

    def refuse(name, *arguments, **named):
        if name.startswith("matplotlib"):
            raise ImportError("no matplotlib here")
        return really(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    folder = label(workspace)
    assert "pseudo_labels.png is not drawn: no matplotlib here" in caplog.text
    assert open_dataset(folder).training_cases


def test_in_sample_cases_are_said_aloud(workspace, without_pictures, caplog):
    with caplog.at_level("INFO"):
        label(workspace, folds=[0])
    assert "2 of 8 cases are labelled by folds that were validated on them, 6 in sample" in (
        caplog.text
    )
    assert "train all folds to avoid this" in caplog.text


def test_images_and_labels_that_changed_since_they_were_planned_are_said(
    workspace, without_pictures, caplog
):
    raw = workspace / "raw" / NAME
    DatasetState.of(open_dataset(raw)).save(workspace / "preprocessed" / NAME / STATE_FILE)
    label(workspace)
    assert "have changed" not in caplog.text
    shutil.copy(raw / "imagesTr" / "c1_0000.png", raw / "imagesTr" / "c0_0000.png")
    label(workspace, 504)
    assert "have changed since plans and folds were made: 1 case with other files" in caplog.text
    assert "'c0'; pseudo-masks are made from what is there now" in caplog.text


def test_of_cases_that_no_fold_learned_nothing_is_warned(caplog):
    dealt = shares_of(
        files_of("c0", "c1", "c2", "c3"),
        folds=("0", "1"),
        splits=[Split(**each) for each in SPLITS],
        dataset="D",
    )
    with caplog.at_level("INFO"):
        say_what_is_in_sample(dealt)
    assert "4 of 4 cases are labelled by folds that were validated on them, 0 in" in caplog.text
    assert len(caplog.records) == 1


def test_a_case_whose_maps_are_gone_is_named(workspace, tmp_path):
    model = workspace / "results" / NAME / "classifier__diffunet_plans__small"
    output = OutputFolder(
        tmp_path / "empty", model=WeakPredictor.from_folder(model).model, settings={}
    )
    with pytest.raises(UsageError, match="there is no finished case 'c1'"):
        read_weak_case(output, "c1")


def test_of_one_patient_there_are_no_splits(workspace, without_pictures):
    shutil.rmtree(workspace / "preprocessed")
    rows = [("case", "patient"), *((case, "p0") for case in CASES)]
    write_csv(workspace / "raw" / NAME / "patients.csv", rows)
    write_tagged_model(workspace, method="cdm", folds=("all",))
    folder = label(workspace, method="cdm", saliency="cdm")
    assert not (folder / "splits_final.json").exists()
    assert len(open_dataset(folder).training_cases) == 8


def test_a_label_that_is_never_sure_is_warned_of(workspace, without_pictures, caplog):
    model = workspace / "results" / NAME / "classifier__diffunet_plans__small"
    change_mask_plan(model, threshold="fixed", threshold_value=1e9)
    folder = label(workspace)
    assert "'bright' has no sure pixel in any case" in caplog.text
    for case in CASES:
        expected = 2 if is_tagged(case) else 0
        assert (label_map(folder, case) == expected).all()
    summary = read_json(folder / "pseudo_labels.json")["summary"]
    assert summary["labels"]["bright"]["num_without_mask"] == 4


def test_a_mean_threshold_is_that_of_the_cases_of_the_same_folds(workspace, without_pictures):
    model = workspace / "results" / NAME / "classifier__diffunet_plans__small"
    change_mask_plan(model, threshold="otsu_mean")
    records = read_json(label(workspace) / "pseudo_labels.json")["cases"]
    thresholds = {
        case: about["labels"]["bright"]["threshold"][0] for case, about in records.items()
    }
    assert thresholds["c5"] == thresholds["c7"]
    assert len({thresholds[case] for case in ("c1", "c3", "c5")}) == 3


def test_a_model_of_cdm_makes_the_saliency_that_is_asked_for(workspace, without_pictures):
    write_tagged_model(workspace, method="cdm", folds=("0",))
    folder = label(workspace, method=None, saliency="cdm")
    runs = read_json(folder / "pseudo_labels.json")["settings"]["runs"]
    assert {run["saliency"] for run in runs.values()} == {"cdm"}
    assert {run["method"] for run in runs.values()} == {"cdm"}


def test_other_keys_of_dataset_json_stay_and_an_ignore_label_is_kept(tmp_path, without_pictures):
    labels = {"background": 0, "bright": 1, "ignore": 2}
    raw = write_tagged_pictures(tmp_path, labels=labels, licence="CC0", raters=True)
    shutil.rmtree(raw / "labelsTr")
    write_tagged_model(tmp_path, labels=labels)
    content = read_json(label(tmp_path) / "dataset.json")
    assert content["labels"] == labels
    assert content["licence"] == "CC0"
    assert "raters" not in content


def test_splits_are_made_where_none_were_preprocessed(workspace, without_pictures):
    shutil.rmtree(workspace / "preprocessed")
    (workspace / "raw" / NAME / "splits_final.json").unlink(missing_ok=True)
    student = open_dataset(label(workspace))
    assert student.splits() == open_dataset(workspace / "raw" / NAME).splits()


def test_a_dataset_without_patients_and_test_images_has_neither(workspace, without_pictures):
    (workspace / "raw" / NAME / "patients.csv").unlink()
    shutil.rmtree(workspace / "raw" / NAME / "imagesTs")
    folder = label(workspace)
    assert not (folder / "patients.csv").exists()
    assert not (folder / "imagesTs").exists()


def test_where_no_link_can_be_made_test_images_stay_out_with_a_warning(
    workspace, without_pictures, monkeypatch, caplog
):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    student = open_dataset(label(workspace))
    assert "no links here" in caplog.text
    assert student.test_cases == ()
    assert student.patients["c1"] == "p0"


def test_files_outside_the_raw_folder_are_named_absolutely(tmp_path):
    images = tmp_path / "data" / "imagesTr"
    images.mkdir(parents=True)
    (tmp_path / "raw").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk").mkdir()
    folder = tmp_path / "raw" / "Dataset001_X"
    assert path_from(folder, images / "a_0000.png") == f"{images.resolve()}/a_0000.png"


def test_links_to_folders_are_followed_and_links_to_files_are_not(tmp_path):
    store = tmp_path / "raw" / "store"
    store.mkdir(parents=True)
    (store / "z").write_text("")
    (store / "a_0000.png").symlink_to(store / "z")
    (tmp_path / "raw" / "Dataset001_X").mkdir()
    (tmp_path / "raw" / "Dataset001_X" / "imagesTr").symlink_to(store)
    folder = tmp_path / "raw" / "Dataset002_Y"
    named = path_from(folder, tmp_path / "raw" / "Dataset001_X" / "imagesTr" / "a_0000.png")
    assert named == "../store/a_0000.png"


# Volumes, several labels


def test_volumes_keep_their_geometry_and_slices_their_own_truth(
    tmp_path, monkeypatch, without_pictures
):
    raw = open_dataset(write_tagged_volumes(tmp_path / "raw" / "Dataset004_Volumes"))
    predictor = volume_predictor(has_slice_labels=True)
    model = replace(predictor.model, folds=("0",), folder=tmp_path / "model")
    for name, value in (
        ("trained_folds", lambda *_, **__: ("0",)),
        ("data_of_fold", lambda *_, **__: ()),
        ("load_model", lambda *_, **__: model),
        ("joined_model", lambda models: models[0]),
    ):
        monkeypatch.setattr(f"diffunet.wsss.second_stage.fold_shares.{name}", value)
    folder = second_stage.make_pseudo_dataset(
        raw,
        tmp_path / "raw" / "Dataset504_VolumesPseudo",
        model_folder=model.folder,
        folds=None,
        splits=raw.splits(),
        saliency=None,
        seed=0,
        compute=Compute(device=torch.device("cpu")),
    )
    api.verify_dataset(folder, workspace=tmp_path, num_processes=0)
    assert read_json(folder / "dataset.json")["labels"] == {**TWO_LABELS, "ignore": 3}
    found, geometry = read_label_map(folder / "labelsTr" / "v1.nii.gz")
    assert geometry.spacing_mm == pytest.approx((3.0, 0.5, 0.7))
    for index in range(6):
        shown = {0, 3} | ({1} if (1 + index) % 2 else set()) | ({2} if index == 2 else set())
        if len(shown) == 2:
            shown = {0}  # no label, nothing unsure
        assert set(np.unique(found[index])) <= shown
    records = read_json(folder / "pseudo_labels.json")["cases"]["v1"]
    assert records["labels"]["dark lesion"]["is_present"] == [False, False, True, *[False] * 3]
    bright = found[0, 4:9, 5:11]
    assert np.isin(bright, (1, 3)).mean() > 0.5


# What changed since the training


def test_a_fold_that_learned_from_its_validation_cases_is_refused(workspace):
    model = workspace / "results" / NAME / "classifier__diffunet_plans__small"
    path = model / "fold_1" / "checkpoint_final.pth"
    cases = [*SPLITS[0]["train"], *SPLITS[0]["val"]]
    content = load_checkpoint(path, "cpu")
    save_checkpoint(path, {**content, "data": dict.fromkeys(cases, "")})
    with pytest.raises(UsageError, match="fold_1 learned from 2 of the 2 cases .* such as 'c2'"):
        label(workspace)
    assert not (workspace / "raw" / STUDENT).exists()


@pytest.mark.parametrize(
    "data",
    [
        ["c3", "c0", "c1", "c2"],
        ["gone", "c3", "c0", "c1", "c2"],
        ["c3", "c0", "gone", "c1", "c2"],
        ["c0", "c3", "c2"],
        ["c0", "c3"],
        [],
    ],
)
def test_other_orders_and_cases_that_came_or_went_do_not_change_a_split(data):
    split = Split(train=("c0", "c3"), val=("c1", "c2", "new"))
    require_trained_with(split, data, fold="0", dataset="D")


def test_a_channel_that_the_model_did_not_learn_is_refused_before_work(workspace):
    path = workspace / "raw" / NAME / "dataset.json"
    write_json(path, {**read_json(path), "channel_names": {"0": "grey", "1": "depth"}})
    for image in (workspace / "raw" / NAME).glob("images*/*_0000.png"):
        shutil.copy(image, image.with_name(image.name.replace("_0000", "_0001")))
    with pytest.raises(UsageError, match="trained on the channels .*expected .* grey, depth"):
        label(workspace)
    assert not (workspace / "raw" / STUDENT).exists()


def test_channels_in_another_order_are_refused():
    model = SimpleNamespace(folder=Path("model"), channel_names=("T1", "T2"))
    for there in (("T2", "T1"), ("T1",)):
        with pytest.raises(UsageError, match="put the channels back"):
            check_channels(model, SimpleNamespace(name="D", channel_names=there))
    check_channels(model, SimpleNamespace(name="D", channel_names=("T1", "T2w")))


# Continuation, and mistakes


class _KilledError(Exception):
    pass


def kill_after(monkeypatch, number: int, *, where: Any, name: str) -> list[str]:
    """Let the n-th call of a function be the last; return what is called with."""
    really, calls = getattr(where, name), []

    def counted(*arguments, **named):
        if len(calls) == number:
            raise _KilledError
        calls.append(str(named.get("case", arguments[0])))
        return really(*arguments, **named)

    monkeypatch.setattr(where, name, counted)
    return calls


PLACES = [
    (SaliencyPredictor, "predict", 0),
    (SaliencyPredictor, "predict", 5),
    (second_stage, "write_label_map", 3),
    (second_stage, "write_companions", 0),
    (second_stage, "write_json", 0),
    (second_stage, "write_json", 1),
    (shutil, "rmtree", 0),
]


@pytest.mark.parametrize(("where", "name", "number"), PLACES)
def test_a_killed_run_is_continued_to_the_same_dataset(
    made, workspace, without_pictures, monkeypatch, where, name, number
):
    with monkeypatch.context() as patched:
        kill_after(patched, number, where=where, name=name)
        with pytest.raises(_KilledError):
            label(workspace)
    folder = workspace / "raw" / STUDENT
    assert (folder / "dataset.json").exists() == (name == "rmtree")
    with pytest.raises(WorkspaceError, match=f"there is a dataset '{STUDENT}' already"):
        label(workspace)
    with monkeypatch.context() as patched:
        predicted = kill_after(patched, 99, where=SaliencyPredictor, name="predict")
        label(workspace, continues=True)
    assert len(predicted) == (8 - number if name == "predict" else 0)
    expected = contents(made / "raw" / STUDENT)
    del expected["pseudo_labels.png"]
    assert contents(folder) == expected


def test_a_whole_dataset_is_continued_by_doing_nothing(workspace, without_pictures, caplog):
    folder = label(workspace)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with caplog.at_level("INFO"):
        label(workspace, continues=True)
    assert "is already complete" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_whole_dataset_whose_images_have_changed_since_is_not_complete(
    workspace, without_pictures
):
    folder = label(workspace)
    image = workspace / "raw" / NAME / "imagesTr" / "c3_0000.png"
    before = image.read_bytes()
    os.utime(image, ns=(0, 0))  # a copy with another time is the same image
    label(workspace, continues=True)
    shutil.copyfile(image.with_name("c1_0000.png"), image)
    with pytest.raises(UsageError, match=r"is complete, but the images of 'c3' have changed; put"):
        label(workspace, continues=True)
    image.write_bytes(before)
    label(workspace, continues=True)
    record = read_json(folder / "pseudo_labels.json")
    del record["cases"]["c3"]["input"]  # as an older version wrote it
    write_json(folder / "pseudo_labels.json", record)
    label(workspace, continues=True)
    write_json(folder / "pseudo_labels.json", {**record, "cases": []})
    with pytest.raises(UsageError, match=r"pseudo_labels.json': cases: expected an object"):
        label(workspace, continues=True)


def test_planning_pseudo_masks_that_are_not_finished_tells_to_finish_them(
    workspace, without_pictures, monkeypatch
):
    with monkeypatch.context() as patched:
        kill_after(patched, 0, where=second_stage, name="write_companions")
        with pytest.raises(_KilledError):
            label(workspace)
    with pytest.raises(DatasetError, match=r"not finished; .*diffunet_pseudo_label --continue"):
        api.verify_dataset(503, workspace=workspace, num_processes=0)


def test_other_image_level_labels_do_not_continue_a_dataset_and_are_told_in_words(
    workspace, without_pictures
):
    label(workspace)
    path = workspace / "raw" / NAME / "image_labels.csv"
    path.write_text(path.read_text().replace("c0,0", "c0,1"))
    with pytest.raises(UsageError, match=r"\(runs.fold_0.image_labels: of other content\);"):
        label(workspace, continues=True)


def test_continuing_where_nothing_is_begins(workspace, without_pictures):
    assert open_dataset(label(workspace, continues=True)).training_cases


def test_a_whole_dataset_whose_label_maps_are_gone_is_not_complete(workspace, without_pictures):
    folder = label(workspace)
    (folder / "labelsTr" / "c3.png").unlink()
    with pytest.raises(UsageError, match=r"8 label maps, found 1 .* 'labelsTr/c3.png'; restore"):
        label(workspace, continues=True)
    path = folder / "dataset.json"
    content = read_json(path)
    for table in (None, {"c3": {}}, {"c3": "c3.png"}):
        write_json(path, {**content, "dataset": table})
        with pytest.raises(UsageError, match="expected in 'dataset' the image and the label map"):
            label(workspace, continues=True)


def test_hidden_files_of_other_programs_are_no_dataset(workspace, without_pictures):
    folder = workspace / "raw" / STUDENT
    folder.mkdir()
    (folder / ".DS_Store").write_bytes(b"x")
    assert len(open_dataset(label(workspace, continues=True)).training_cases) == 8


def test_other_settings_do_not_continue_a_dataset(workspace, without_pictures, monkeypatch):
    with monkeypatch.context() as patched:
        kill_after(patched, 2, where=SaliencyPredictor, name="predict")
        with pytest.raises(_KilledError):
            label(workspace)
    with pytest.raises(UsageError, match=r"other settings \(runs.fold_0.seed: 0, now 1; "):
        label(workspace, seed=1, continues=True)
    label(workspace, continues=True)
    with pytest.raises(
        UsageError, match=r"other settings \(runs.fold_0.saliency: 'layer_cam', now "
    ):
        label(workspace, saliency="grad_cam", continues=True)


def test_another_dataset_is_never_written_to(workspace):
    before = contents(workspace / "raw" / NAME)
    with pytest.raises(WorkspaceError, match=f"the number 003 is that of {NAME}"):
        label(workspace, 3, continues=True)
    with pytest.raises(WorkspaceError, match="there is a dataset"):
        label(workspace, NAME)
    with pytest.raises(UsageError, match="holds something other than pseudo-masks"):
        label(workspace, NAME, continues=True)
    assert contents(workspace / "raw" / NAME) == before


def test_what_was_preprocessed_under_the_name_is_no_place_for_a_new_dataset(workspace):
    (workspace / "preprocessed" / STUDENT).mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="already"):
        label(workspace)


def test_the_folder_itself_refuses_to_be_made_twice(workspace, without_pictures):
    folder = label(workspace)
    with pytest.raises(UsageError, match="is there; go on with --continue"):
        second_stage.begin_dataset(folder, {}, cases=(), continues=False)


def test_a_dataset_without_image_level_labels_is_refused(workspace):
    path = workspace / "raw" / NAME / "dataset.json"
    content = read_json(path)
    del content["image_labels"]
    write_json(path, content)
    with pytest.raises(DatasetError, match="expected image-level labels"):
        label(workspace)


def test_without_a_trained_model_the_message_says_what_to_train(workspace):
    with pytest.raises(WorkspaceError, match=f"no trained model .*diffunet_train {NAME} 0"):
        label(workspace, method="cdm")
    with pytest.raises(CheckpointError, match="fold_3"):
        label(workspace, folds=[0, 3])
    assert not (workspace / "raw" / STUDENT).exists()


def test_a_model_of_masks_is_refused(workspace):
    write_tagged_model(workspace, method="supervised")
    with pytest.raises(UsageError, match="is a model of -m supervised"):
        label(workspace, method="supervised")


def test_a_saliency_that_the_model_cannot_make_is_refused(workspace):
    with pytest.raises(UsageError, match="saliency 'cdm' needs a model trained with -m cdm"):
        label(workspace, saliency="cdm")


def test_a_model_of_other_labels_is_refused(workspace):
    write_tagged_model(workspace, labels={"background": 0, "dark": 1})
    with pytest.raises(UsageError, match="knows the labels dark, expected .* bright"):
        label(workspace)


def test_images_that_cannot_be_read_are_all_named_and_the_rest_is_continued(
    workspace, without_pictures
):
    broken = {case: workspace / "raw" / NAME / "imagesTr" / f"{case}_0000.png" for case in CASES}
    kept = {case: broken[case].read_bytes() for case in ("c0", "c7")}
    for case in kept:
        broken[case].write_bytes(b"nothing")
    with pytest.raises(DatasetError) as caught:
        label(workspace)
    assert len(caught.value.problems) == 2
    assert not (workspace / "raw" / STUDENT / "dataset.json").exists()
    for case, content in kept.items():
        broken[case].write_bytes(content)
    assert len(open_dataset(label(workspace, continues=True)).training_cases) == 8


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_dataset_of_another_place_is_named_by_its_path(workspace, tmp_path, without_pictures):
    outside = tmp_path / "elsewhere" / NAME
    shutil.move(workspace / "raw" / NAME, outside)
    folder = api.pseudo_label(
        outside, 503, workspace=workspace, method="classifier", configuration="small", device="cpu"
    )
    student = open_dataset(folder)
    assert student.training_cases[0].images[0] == outside / "imagesTr" / "c0_0000.png"
    assert len(student.test_cases) == 1
