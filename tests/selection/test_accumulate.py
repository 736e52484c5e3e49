"""The validation cases of all folds in one folder."""

import shutil
from pathlib import Path

import pytest

from diffunet.api import accumulate_crossval_results
from diffunet.cli import selection
from diffunet.data.prediction_records import read_records
from diffunet.errors import CheckpointError, UsageError
from diffunet.jsonio import read_json, write_json
from diffunet.workspace import Workspace
from tests.selection.validated_folds import CASES_OF, MODEL, NAME, write_validated_model


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    write_validated_model(root)
    return root


@pytest.fixture
def root(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "workspace")
    return tmp_path / "workspace"


def place(root: Path) -> Workspace:
    return Workspace.resolve(folder=root, environment={}, current_folder=root)


def model(root: Path) -> Path:
    return root / "results" / NAME / MODEL


def run(root: Path, **options) -> Path:
    return accumulate_crossval_results(1, workspace=place(root), **options)


def change(path: Path, edit) -> None:
    content = read_json(path)
    edit(content)
    write_json(path, content)


def test_the_cases_of_all_folds_lie_in_one_folder_of_predictions(root):
    folder = run(root)
    assert folder == model(root) / "crossval_results_folds_0_1"
    records = read_records(folder)
    assert sorted(records) == sorted(CASES_OF["0"] + CASES_OF["1"])
    for fold, cases in CASES_OF.items():
        for case in cases:
            for name in (f"{case}.png", f"{case}_uncertainty.png", f"samples/{case}_s01.png"):
                source = model(root) / f"fold_{fold}" / "validation" / name
                assert (folder / name).read_bytes() == source.read_bytes()


def test_all_its_cases_are_of_one_choice_of_settings(root):
    settings = [each.settings for each in read_records(run(root)).values()]
    assert all(each == settings[0] for each in settings)
    assert settings[0]["folds"] == ["0", "1"]
    assert len(settings[0]["weights"]) == 2


def test_its_scores_are_the_means_over_the_cases_of_all_folds(root):
    folder = run(root)
    entries = [
        entry
        for fold in CASES_OF
        for entry in read_json(model(root) / f"fold_{fold}" / "validation" / "summary.json")[
            "metric_per_case"
        ]
    ]
    found = read_json(folder / "summary.json")
    dice = [entry["metrics"]["1"]["Dice"] for entry in entries]
    assert found["foreground_mean"]["Dice"] == pytest.approx(sum(dice) / len(dice))
    ged = [entry["distribution"]["disc"]["ged_fully_unbiased"] for entry in entries]
    assert found["distribution"]["mean"]["scores"]["ged_fully_unbiased"]["mean"] == pytest.approx(
        sum(ged) / len(ged)
    )
    assert {each["case"]: each["fold"] for each in found["metric_per_case"]} == {
        case: fold for fold, cases in CASES_OF.items() for case in cases
    }


def test_a_later_gathering_replaces_an_earlier_one(root):
    folder = run(root, output=root / "gathered")
    assert run(root, output=root / "gathered", folds=[1]) == folder
    assert sorted(read_records(folder)) == CASES_OF["1"]
    assert not (folder / f"{CASES_OF['0'][0]}.png").exists()


def test_nothing_that_another_command_wrote_is_replaced(root):
    validation = model(root) / "fold_0" / "validation"
    before = sorted(validation.rglob("*"))
    with pytest.raises(UsageError, match="did not write"):
        run(root, output=validation)
    assert sorted(validation.rglob("*")) == before


def test_a_missing_fold_is_refused_by_name_unless_told(root, capsys):
    shutil.rmtree(model(root) / "fold_1")
    with pytest.raises(CheckpointError, match=r"none in fold_1 \(there is one in: fold_0\)"):
        run(root)
    words = ["1", "-f", "0", "--workspace", str(root)]
    assert selection.main_accumulate(words) == 0
    assert (model(root) / "crossval_results_folds_0" / "summary.json").is_file()


def test_a_case_in_two_folds_is_refused_by_name(root):
    path = model(root) / "fold_1" / "validation" / "summary.json"
    twice = CASES_OF["0"][0]
    change(path, lambda content: content["metric_per_case"][0].update(case=twice))
    with pytest.raises(UsageError, match=f"found 1 in several: '{twice}'"):
        run(root)


def test_folds_of_different_plans_are_refused_by_field(root):
    path = model(root) / "fold_1" / "plans.resolved.json"
    change(path, lambda content: content["configuration"]["training"].update(num_iterations=9))
    with pytest.raises(UsageError, match=r"fold_0 and fold_1 differ \(training.num_iterations: 2"):
        run(root)


def test_folds_that_were_validated_otherwise_are_refused_by_setting(root):
    for case in CASES_OF["1"]:
        path = model(root) / "fold_1" / "validation" / "records" / f"{case}.json"
        change(path, lambda content: content["settings"].update(checkpoint="latest"))
    with pytest.raises(UsageError, match=r"fold_0 and fold_1 differ \(checkpoint: 'final' and"):
        run(root)


@pytest.mark.parametrize("gone", ["case_07.png", "samples/case_07_s00.png", "records/case_07.json"])
def test_a_validation_without_its_masks_says_how_to_write_them(root, gone):
    (model(root) / "fold_0" / "validation" / gone).unlink()
    with pytest.raises(UsageError, match=r"found none of 1: 'case_07'; .*diffunet_train --val"):
        run(root)
    assert not (model(root) / "crossval_results_folds_0_1").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.pop("metric_per_case"),
        lambda content: content.update(metric_per_case=[1]),
        lambda content: content["metric_per_case"][0].pop("metrics"),
        lambda content: content["metric_per_case"][0]["distribution"]["disc"].update(ged="x"),
        lambda content: content["distribution"].update(num_samples=[]),
    ],
)
def test_damaged_scores_are_refused(root, edit):
    path = model(root) / "fold_0" / "validation" / "summary.json"
    change(path, edit)
    with pytest.raises(CheckpointError, match=r"validation.summary\.json': expected the scores"):
        run(root)


def test_a_weak_model_has_no_validation_of_masks(root):
    path = model(root) / "fold_0" / "plans.resolved.json"
    change(path, lambda content: content.update(method="cdm"))
    with pytest.raises(UsageError, match="-m cdm is validated on image-level labels"):
        run(root)
