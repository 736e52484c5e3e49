import dataclasses

import numpy as np
import pytest

from diffunet import api
from diffunet.cli import example_dataset
from diffunet.data.examples import EXAMPLES
from diffunet.data.image_io import read_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import UsageError, WorkspaceError


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_is_whole_and_says_how_to_go_on(tmp_path, capsys, kind):
    assert example_dataset.main([kind, "--workspace", str(tmp_path)]) == 0
    number, name = EXAMPLES[kind].number, EXAMPLES[kind].name
    shown = capsys.readouterr().out
    folder = tmp_path / "raw" / f"Dataset{number}_{name}"
    expected = {
        "lung_nodules": f"diffunet_predict -i {folder / 'imagesTs'} -o predictions --model",
    }
    assert expected.get(kind, f"diffunet_plan_and_preprocess -d {number}") in shown
    found = verify_dataset(tmp_path / "raw" / f"Dataset{number}_{name}", num_processes=0)
    assert not found.problems


def test_what_the_tags_say_is_what_test_masks_show(tmp_path):
    dataset = open_dataset(api.example_dataset("image_level_labels", workspace=tmp_path))
    labels = dataset.image_labels
    assert labels is not None
    shares = np.mean(list(labels.table.values()))
    assert 0.4 < shares < 0.6
    masks = [
        read_label_map(path)[0] for each in dataset.test_cases for path in each.labels.values()
    ]
    assert 0.3 < np.mean([mask.any() for mask in masks]) < 0.7
    assert set(np.unique(masks)) == {0, 1}


def test_the_same_seed_writes_the_same_files(tmp_path):
    contents = []
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        folder = api.example_dataset("image_level_labels", workspace=tmp_path / name, seed=seed)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1] != contents[2]


def _datasets(workspace):
    return sorted(path.name for path in (workspace / "raw").iterdir())


def test_a_dataset_that_is_there_is_kept_whatever_its_name(tmp_path):
    (tmp_path / "raw" / "Dataset901_Mine").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="901 is that of Dataset901_Mine"):
        api.example_dataset("image_level_labels", dataset=901, workspace=tmp_path)
    assert _datasets(tmp_path) == ["Dataset901_Mine"]
    folder = api.example_dataset("image_level_labels", dataset=0, workspace=tmp_path)
    assert folder.name == "Dataset000_ImageLevelLabels"
    assert _datasets(tmp_path) == ["Dataset000_ImageLevelLabels", "Dataset901_Mine"]


def _times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_same_command_again_says_that_the_dataset_is_there_and_whole(tmp_path, capsys):
    words = ["image_level_labels", "--workspace", str(tmp_path), "--seed", "3"]
    assert example_dataset.main(words) == 0
    folder = tmp_path / "raw" / "Dataset903_ImageLevelLabels"
    (folder / "imagesTr" / ".DS_Store").touch()
    before = _times(folder)
    capsys.readouterr()
    assert example_dataset.main(words) == 0
    assert "is there already, and whole; nothing was written" in capsys.readouterr().out
    assert _times(folder) == before
    assert _datasets(tmp_path) == [folder.name]


def _remove(folder):
    (folder / "patients.csv").unlink()


def _change(folder):
    (folder / "dataset.json").write_text("{}")


def _add(folder):
    (folder / "imagesTr" / "mine_0000.png").touch()


@pytest.mark.parametrize(
    ("edit", "difference"),
    [
        (_remove, "'patients.csv' is missing"),
        (_change, "'dataset.json' differs"),
        (_add, "mine_0000.png' is none of its files"),
    ],
)
def test_a_dataset_that_is_not_what_the_command_writes_is_refused_and_kept(
    tmp_path, edit, difference
):
    folder = api.example_dataset("image_level_labels", workspace=tmp_path)
    edit(folder)
    before = _times(folder)
    with pytest.raises(WorkspaceError, match=f"is there already.*{difference}"):
        api.example_dataset("image_level_labels", workspace=tmp_path)
    assert _times(folder) == before
    assert _datasets(tmp_path) == [folder.name]


def test_the_dataset_of_another_seed_is_refused(tmp_path):
    api.example_dataset("image_level_labels", workspace=tmp_path)
    with pytest.raises(WorkspaceError, match="not what this command writes with seed 4"):
        api.example_dataset("image_level_labels", workspace=tmp_path, seed=4)


def test_what_a_killed_run_left_is_written_anew(tmp_path):
    left = tmp_path / "raw" / ".unfinished-Dataset903_ImageLevelLabels"
    (left / "imagesTr").mkdir(parents=True)
    (left / "imagesTr" / "half.png").touch()
    folder = api.example_dataset("image_level_labels", workspace=tmp_path)
    assert _datasets(tmp_path) == [folder.name]
    assert not (folder / "imagesTr" / "half.png").exists()


@pytest.mark.parametrize(
    "failure", [OSError(28, "full"), KeyboardInterrupt()], ids=["disk", "stop"]
)
def test_nothing_is_left_where_it_could_not_be_written_whole(tmp_path, monkeypatch, failure):
    def begin(folder, seed):
        (folder / "imagesTr").mkdir(parents=True)
        raise failure

    broken = dataclasses.replace(EXAMPLES["volumes"], write=begin)
    monkeypatch.setitem(EXAMPLES, "volumes", broken)
    with pytest.raises(type(failure)):
        api.example_dataset("volumes", workspace=tmp_path)
    assert not list(tmp_path.rglob("*imagesTr"))


def test_no_dataset_is_made_in_a_folder_of_nnunet(tmp_path, monkeypatch, capsys):
    for name in ("nnUNet_raw", "diffunet_raw"):
        monkeypatch.setenv(name, str(tmp_path))
    assert example_dataset.main(["volumes"]) == 2
    assert "is nnU-Net's (nnUNet_raw)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_names_those_that_exist(tmp_path):
    with pytest.raises(UsageError, match="several_raters, volumes, image_level_labels"):
        api.example_dataset("tumours", workspace=tmp_path)
