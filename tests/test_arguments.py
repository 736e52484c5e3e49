import logging
from pathlib import Path

import pytest

from diffunet import api
from diffunet.arguments import (
    dataset_content_of,
    model_folder_of,
    new_plans_path,
    new_summary_path,
    plans_of,
)
from diffunet.errors import DatasetError, UsageError, WorkspaceError
from diffunet.jsonio import write_json
from diffunet.workspace import Workspace
from tests.data.tiny_datasets import build_2d
from tests.training.folds import of_dataset, plans, write_preprocessed

UNFIT = ["../elsewhere", "/elsewhere", "a/b", "..", "", ".hidden"]


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    place = Workspace.resolve(folder=tmp_path / "w", environment={}, current_folder=tmp_path)
    build_2d(place.raw / "Dataset001_Discs")
    return place


@pytest.mark.parametrize(
    "name", [*UNFIT, "splits_final", "dataset_fingerprint", "dataset_state", "Dataset"]
)
def test_plans_take_the_place_of_nothing_else(workspace, name):
    folder = workspace.preprocessed / "Dataset001_Discs"
    with pytest.raises(UsageError, match="-overwrite_plans_name"):
        api.plan_and_preprocess(1, workspace=workspace, plans_name=name, num_processes=0)
    assert not folder.exists(), "it was refused after work had begun"


@pytest.mark.parametrize("content", ["{}", "[1]", '{"plans_name": "x"}', "not JSON"])
def test_a_file_of_the_users_is_not_replaced_by_plans(tmp_path, content):
    (tmp_path / "notes.json").write_text(content)
    with pytest.raises(UsageError, match="holds something other than plans and would be lost"):
        new_plans_path(tmp_path, "notes")


def test_plans_are_replaced_by_plans_of_their_name(tmp_path):
    of_dataset(plans()).save(tmp_path / "mine.json")
    (tmp_path / "diffunet_plans.json").write_text("cut sho")
    for name in ("mine", "new", "diffunet_plans"):
        assert new_plans_path(tmp_path, name) == tmp_path / f"{name}.json"


@pytest.mark.parametrize("name", UNFIT)
def test_plans_are_read_from_their_folder_only(tmp_path, name):
    of_dataset(plans()).save(tmp_path / "elsewhere.json")
    (tmp_path / "here").mkdir()
    with pytest.raises(WorkspaceError, match="-p: expected a name that a file can have"):
        plans_of(tmp_path / "here", name)


@pytest.mark.parametrize("content", ["", "[]", '{"mean": {}, "metric_per_case": []}', None])
def test_a_summary_takes_the_place_of_summaries_only(tmp_path, content):
    path = tmp_path / "summary.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(UsageError, match="exists and is not a summary of diffunet_evaluate"):
        api.evaluate(tmp_path, tmp_path)
    assert new_summary_path(tmp_path / "new.json") == tmp_path / "new.json"


def test_a_summary_is_replaced_by_a_later_one(tmp_path):
    write_json(tmp_path / "summary.json", {"distribution": {}})
    assert new_summary_path(tmp_path / "summary.json").is_file()


def test_predictions_are_not_looked_for_outside_of_their_folder(tmp_path):
    write_json(tmp_path / "dataset.json", {"labels": {}, "file_ending": "/../../x.png"})
    with pytest.raises(DatasetError, match="'file_ending' should be one of"):
        dataset_content_of(None, tmp_path, tmp_path)


def test_a_dataset_given_by_its_path_is_trained_and_found_by_that_path(tmp_path):
    raw = tmp_path / "data" / "my discs"
    raw.mkdir(parents=True)
    place = Workspace.resolve(folder=tmp_path / "w", environment={}, current_folder=tmp_path)
    folder = write_preprocessed(place.preprocessed / "my discs")
    plan = plans(training={"num_iterations": 1, "num_validations": 0})
    of_dataset(plan).save(folder / "diffunet_plans.json")
    options = {"workspace": place, "device": "cpu", "num_processes": 0}
    fold = api.train(raw, "all", **options)
    assert fold.parent == model_folder_of(place, raw, None, "diffunet_plans", None)
    assert fold.parent.parent == place.results / "my discs"


def test_a_model_that_is_not_there_is_told_beside_those_that_are(workspace):
    results = workspace.results / "Dataset001_Discs"
    write_json(results / "diffusion__mine__2d" / "dataset.json", {})
    write_json(results / "best_configuration" / "best_configuration.json", {})
    there = r"found in '.*Dataset001_Discs': diffusion__mine__2d\. Train"
    with pytest.raises(WorkspaceError, match=there):
        model_folder_of(workspace, 1, "cdm", "diffunet_plans", "2d")


def planned(place: Workspace) -> Path:
    """Write plans that recommend another configuration than is trained; returns the results."""
    folder = write_preprocessed(place.preprocessed / "Dataset001_Discs")
    of_dataset(plans()).save(folder / "diffunet_plans.json")
    return place.results / "Dataset001_Discs"


def test_the_only_trained_model_is_taken_where_the_recommended_one_is_not_trained(
    workspace, caplog
):
    caplog.set_level(logging.INFO)
    results = planned(workspace)
    write_json(results / "diffusion__diffunet_plans__other" / "dataset.json", {})
    found = model_folder_of(workspace, 1, None, "diffunet_plans", None)
    assert found == results / "diffusion__diffunet_plans__other"
    assert "taking the only model" in caplog.text


def test_of_several_trained_models_none_is_taken_by_chance(workspace):
    results = planned(workspace)
    for name in ("other", "third"):
        write_json(results / f"diffusion__diffunet_plans__{name}" / "dataset.json", {})
    with pytest.raises(WorkspaceError, match="there is no trained model"):
        model_folder_of(workspace, 1, None, "diffunet_plans", None)


def test_no_other_model_is_taken_for_one_that_was_named(workspace):
    results = planned(workspace)
    write_json(results / "diffusion__diffunet_plans__other" / "dataset.json", {})
    with pytest.raises(WorkspaceError, match="there is no trained model"):
        model_folder_of(workspace, 1, None, "diffunet_plans", "2d")


@pytest.mark.parametrize("fold", ["00", "０", "-1", "../0", "x"])
def test_a_fold_that_is_none_is_refused_before_a_folder_is_made(workspace, fold):
    folder = write_preprocessed(workspace.preprocessed / "Dataset001_Discs")
    of_dataset(plans()).save(folder / "diffunet_plans.json")
    with pytest.raises(UsageError, match="there is no fold"):
        api.train(1, fold, workspace=workspace, device="cpu", num_processes=0)
    assert not workspace.results.exists()


def test_the_planners_own_copies_are_not_offered_as_plans(tmp_path):
    for name in ("diffunet_plans.json", "diffunet_plans.planned.json", "other_plans.json"):
        (tmp_path / name).touch()
    with pytest.raises(WorkspaceError, match=r"\(found: diffunet_plans, other_plans\)"):
        plans_of(tmp_path, "mine")
