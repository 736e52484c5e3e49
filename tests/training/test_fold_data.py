import dataclasses
import json
import shutil

import pytest
import torch

from diffunet.data.raw.dataset_state import DatasetState
from diffunet.errors import DatasetError, WorkspaceError
from diffunet.inference.compute import Compute
from diffunet.plans import ResolvedPlans
from diffunet.training.fold_data import FoldData, open_fold
from diffunet.training.model_folder import preprocessed_description
from tests.data.tiny_datasets import edit_json
from tests.training.folds import plans, with_settings, write_preprocessed
from tests.wsss.weak_folds import weak_plans, write_tagged


def opened(folder, resolved: ResolvedPlans, *, device: str = "cpu") -> FoldData:
    return open_fold(
        resolved,
        folder,
        fold="0",
        device=torch.device(device),
    )


@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_masks_of_image_labels_that_were_not_preprocessed_are_asked_for(tmp_path, method):
    write_tagged(tmp_path)
    with pytest.raises(WorkspaceError, match=rf"'{method}' learns from masks.*--with_labels"):
        opened(tmp_path, plans(method=method))


@pytest.mark.parametrize("method", ["cdm", "classifier"])
def test_a_dataset_without_image_labels_teaches_no_weak_method(tmp_path, method):
    write_preprocessed(tmp_path)
    with pytest.raises(WorkspaceError, match="have none; declare 'image_labels'"):
        opened(tmp_path, plans(method=method))


def test_cases_that_were_preprocessed_without_image_labels_are_to_be_preprocessed_again(tmp_path):
    write_preprocessed(tmp_path)
    with pytest.raises(WorkspaceError, match=r"none of the 10 preprocessed cases.*again"):
        opened(tmp_path, weak_plans())


def test_an_unfinished_store_of_masks_is_to_be_finished(tmp_path):
    write_preprocessed(tmp_path)
    (tmp_path / "2d" / "labels" / "store.manifest").unlink()
    with pytest.raises(WorkspaceError, match="holds no finished preprocessed data"):
        opened(tmp_path, plans())


def test_cases_of_a_fold_that_are_not_preprocessed_are_named_with_both_folders(tmp_path):
    write_preprocessed(tmp_path)
    path = tmp_path / "splits_final.json"
    path.write_text('[{"train": ["case_00", "new"], "val": ["case_02"]}]')
    with pytest.raises(DatasetError, match=r"'new'; run diffunet_plan_and_preprocess") as caught:
        opened(tmp_path, plans())
    assert f"'{path}': expected cases" in str(caught.value)
    assert "fold 0, 'train': 'new'" in str(caught.value)
    assert f"'{tmp_path / '2d' / 'images'}'" in str(caught.value)


def test_the_only_patient_is_trained_on_with_all(tmp_path):
    write_preprocessed(tmp_path)
    (tmp_path / "splits_final.json").write_text("[]")
    with pytest.raises(DatasetError, match="dataset of one patient; train with the fold 'all'"):
        opened(tmp_path, plans())


def with_recipe(folder, store: str, recipe: dict) -> None:
    path = folder / "2d" / store / "store.manifest"
    edit_json(path, recipe=json.loads(json.dumps(recipe)))


def recipe(**changes) -> dict:
    resolved = plans()
    normal = {
        "preprocessing": dataclasses.asdict(resolved.configuration.preprocessing),
        "transpose_forward": resolved.transpose_forward,
    }
    return normal | changes


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("preprocessing.spacing_mm=[0.5, 0.5]", r"spacing_mm: \[1.0, 1.0\] -> \[0.5, 0.5\]"),
        ("preprocessing.image_order=1", "image_order: 3 -> 1"),
    ],
)
def test_what_preprocessing_decided_is_not_set_for_a_training(tmp_path, setting, field):
    write_preprocessed(tmp_path)
    with_recipe(tmp_path, "images", recipe())
    opened(tmp_path, plans())
    opened(tmp_path, with_settings(plans(), "preprocessing.image_order=3"))
    with pytest.raises(WorkspaceError, match=rf"{field}.*cannot be set for one run.*--set"):
        opened(tmp_path, with_settings(plans(), setting))


def test_plans_that_were_edited_after_preprocessing_are_noticed(tmp_path):
    write_preprocessed(tmp_path)
    with_recipe(tmp_path, "images", recipe(transpose_forward=[1, 0]))
    with pytest.raises(WorkspaceError, match=r"transpose_forward.*diffunet_preprocess -d"):
        opened(tmp_path, plans())


def test_labels_that_were_edited_after_preprocessing_are_noticed(tmp_path):
    write_preprocessed(tmp_path)
    with_recipe(tmp_path, "labels", recipe(labels={"disc": [2]}))
    with pytest.raises(WorkspaceError, match=r"labels.disc: \[2\] -> \[1\]"):
        opened(tmp_path, plans())


def test_data_that_changed_between_planning_and_preprocessing_are_warned_of(tmp_path, caplog):
    write_preprocessed(tmp_path)
    planned = DatasetState(declared={}, cases={"case_00": "digest"})
    planned.save(tmp_path / "dataset_state.json")
    with_recipe(tmp_path, "images", recipe(data=planned.digest))
    opened(tmp_path, plans())
    assert not caplog.text
    with_recipe(tmp_path, "images", recipe(data="another"))
    opened(tmp_path, plans())
    assert "from other raw data than" in caplog.text


@pytest.mark.parametrize("method", ["cdm", "classifier"])
def test_a_weak_method_has_no_store_of_masks_even_where_there_is_one(tmp_path, method):
    write_tagged(tmp_path / "tagged")
    write_preprocessed(tmp_path / "marked")
    (tmp_path / "marked" / "2d" / "labels").rename(tmp_path / "tagged" / "2d" / "labels")
    shutil.copy(tmp_path / "marked" / "splits_final.json", tmp_path / "tagged")
    assert opened(tmp_path / "tagged", weak_plans(method=method)).label_maps is None
    assert opened(tmp_path / "tagged", plans()).label_maps is not None


def test_what_is_chosen_on_a_gpu_is_compared_in_the_precision_of_prediction(tmp_path):
    write_tagged(tmp_path)
    data = opened(tmp_path, weak_plans(), device="cuda")
    assert data.compute == Compute(device=torch.device("cuda"), precision="float32")


def test_a_preprocessed_dataset_that_is_gone_is_told_with_its_command(tmp_path):
    with pytest.raises(WorkspaceError, match="does not exist; put .* -d Dataset001_Tiny"):
        preprocessed_description(tmp_path / "Dataset001_Tiny")
