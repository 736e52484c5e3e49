"""What an exported model holds, and what it leaves out."""

import json
import os
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from diffunet.errors import CheckpointError, InUseError, UsageError
from diffunet.inference.model import load_model
from diffunet.jsonio import write_json
from diffunet.locks import in_use
from diffunet.sharing.export import export_model
from diffunet.sharing.info import lines_of, model_info
from diffunet.sharing.install import install_model, load_opened_model
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model

CPU = torch.device("cpu")


@pytest.fixture
def model_folder(tmp_path):
    content = {
        **dataset_content(),
        "license": "CC-BY-4.0",
        "dataset": {"mueller_anna": {"images": ["mueller_anna.png"], "label": "b.png"}},
    }
    plans = small_plans(small_configuration(dimensions=2))
    folder = write_model(tmp_path / "model", plans, content=content, folds=("0", "3"))
    write_json(
        folder / "fold_0" / "validation" / "summary.json",
        {
            "foreground_mean": {"Dice": 0.75},
            "metric_per_case": [{"reference_file": "mueller_anna.png"}],
            "distribution": {"mean": {"scores": {"ged": {"mean": 0.25, "lower": 0.2}}}},
        },
    )
    write_json(
        folder / "dataset_fingerprint.json",
        {"num_cases": 1, "warnings": ["'mueller_anna' is constant"]},
    )
    return folder


def exported(folder, path, **options):
    defaults = {"folds": None, "checkpoint": "final", "precision": "float32"}
    return export_model(folder, path, **{**defaults, "license": None, "note": "", **options})


def test_an_installed_model_has_the_very_weights_and_plans(model_folder, tmp_path):
    exported(model_folder, tmp_path / "model.zip")
    installed = install_model(tmp_path / "model.zip", tmp_path / "results", dataset_name=None)
    assert installed == tmp_path / "results/Dataset999_Small/diffusion__diffunet_plans__small"
    before, after = (
        load_model(folder, folds=None, checkpoint="final", device=CPU)
        for folder in (model_folder, installed)
    )
    assert after.folds == ("0", "3")
    assert after.weights == before.weights
    assert after.plans == before.plans


def test_a_zip_file_loads_without_being_installed(model_folder, tmp_path):
    path = tmp_path / "model.zip"
    exported(model_folder, path, folds=["3"])
    loaded = load_opened_model(path, folds=None, checkpoint="final", device=CPU)
    expected = load_model(model_folder, folds=["3"], checkpoint="final", device=CPU)
    assert loaded.weights == expected.weights
    assert loaded.folder == path


def test_an_error_in_a_zip_file_names_the_zip_file(model_folder, tmp_path):
    path = tmp_path / "model.zip"
    exported(model_folder, path, folds=["3"])
    with pytest.raises(CheckpointError, match="fold_7") as caught:
        load_opened_model(path, folds=["7"], checkpoint="final", device=CPU)
    assert str(path) in str(caught.value)


def test_bfloat16_halves_the_weights_and_rounds_each_to_eight_bits(model_folder, tmp_path):
    exported(model_folder, tmp_path / "whole.zip")
    exported(model_folder, tmp_path / "half.zip", precision="bfloat16")
    sizes = [
        sum(
            e.file_size
            for e in zipfile.ZipFile(tmp_path / name).infolist()
            if "check" in e.filename
        )
        for name in ("whole.zip", "half.zip")
    ]
    assert sizes[1] < 0.7 * sizes[0]
    whole, half = (
        load_opened_model(tmp_path / name, folds=["0"], checkpoint="final", device=CPU)
        for name in ("whole.zip", "half.zip")
    )
    for ours, theirs in zip(
        whole.networks[0].parameters(), half.networks[0].parameters(), strict=True
    ):
        assert theirs.dtype == torch.float32
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), rtol=2**-8)


def test_an_export_names_no_patient_and_no_folder(model_folder, tmp_path):
    for name in ("0", "3"):
        path = model_folder / f"fold_{name}" / "checkpoint_final.pth"
        content = torch.load(path)["content"]
        from diffunet.checkpoint import save_checkpoint

        save_checkpoint(path, {**content, "data": {"mueller_anna": "12ab"}})
    exported(model_folder, tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert b"mueller" not in content, name
            assert str(tmp_path).encode() not in content, name


def test_the_same_model_makes_the_same_bytes(model_folder, tmp_path):
    for name in ("a.zip", "b.zip"):
        exported(model_folder, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_the_best_checkpoint_is_exported_as_what_prediction_takes(model_folder, tmp_path):
    final = model_folder / "fold_0" / "checkpoint_final.pth"
    final.rename(final.with_name("checkpoint_best.pth"))
    exported(model_folder, tmp_path / "model.zip", folds=["0"], checkpoint="best")
    load_opened_model(tmp_path / "model.zip", folds=None, checkpoint="final", device=CPU)
    assert model_info(tmp_path / "model.zip")["export"]["checkpoint"] == "best"


def test_a_model_without_a_licence_is_warned_of(model_folder, tmp_path, caplog):
    write_json(model_folder / "dataset.json", dataset_content())
    exported(model_folder, tmp_path / "model.zip")
    assert "--license" in caplog.text
    caplog.clear()
    exported(model_folder, tmp_path / "model.zip", license="MIT")
    assert caplog.text == ""


def test_the_licence_of_the_dataset_is_the_models_if_none_is_given(model_folder, tmp_path):
    exported(model_folder, tmp_path / "model.zip")
    assert model_info(tmp_path / "model.zip")["export"]["license"] == "CC-BY-4.0"


def test_a_failed_export_leaves_the_former_file(model_folder, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"former")
    (model_folder / "fold_3" / "checkpoint_final.pth").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="fold_3"):
        exported(model_folder, path)
    assert path.read_bytes() == b"former"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "model.zip"]


def test_an_export_removes_what_a_killed_one_left_of_its_file(model_folder, tmp_path):
    left, other = (tmp_path / f".unfinished-{'0' * 16}-{name}.zip" for name in ("model", "a_model"))
    for path in (left, other):
        path.write_bytes(b"half")
    exported(model_folder, tmp_path / "model.zip")
    assert not left.exists()
    assert other.exists()


def test_a_file_is_exported_by_one_command_at_a_time(model_folder, tmp_path):
    with (
        ThreadPoolExecutor(1) as pool,
        in_use(tmp_path, part="model.zip"),
        pytest.raises(InUseError, match="in use by process"),
    ):
        pool.submit(exported, model_folder, tmp_path / "model.zip").result()


def test_what_killed_commands_unpacked_is_removed_and_what_is_in_use_stays(
    model_folder, tmp_path, monkeypatch
):
    exported(model_folder, tmp_path / "model.zip", folds=["3"])
    place = tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    dead, used, new = (place / f"diffunet_model_{name}" for name in ("dead", "used", "new"))
    for folder in (dead, used, new):
        folder.mkdir(parents=True)
        (folder / "dataset.json").write_text("{}")
    with ThreadPoolExecutor(1) as pool, in_use(used):
        for folder in (dead, used):
            os.utime(folder, (0, 0))
        pool.submit(
            load_opened_model, tmp_path / "model.zip", folds=None, checkpoint="final", device=CPU
        ).result()
    assert sorted(place.iterdir()) == [new, used]


def test_an_output_that_is_no_zip_file_is_refused(model_folder, tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.zip"):
        exported(model_folder, tmp_path / "model.pth")


def test_the_info_of_folder_and_file_is_the_same_but_for_the_export(model_folder, tmp_path):
    exported(model_folder, tmp_path / "model.zip", note="made of noise")
    ours, theirs = model_info(model_folder), model_info(tmp_path / "model.zip")
    export = theirs.pop("export")
    assert export["note"] == "made of noise"
    assert ours == theirs
    assert ours["folds"] == {"0": {"Dice": 0.75, "ged": 0.25}, "3": {}}
    assert ours["labels"] == {"background": 0, "nodule": 1}
    json.dumps(ours, allow_nan=False)


@pytest.mark.parametrize("most", [1, 2])
def test_the_info_leads_with_the_unbiased_ged_where_there_are_several_raters(model_folder, most):
    means = {"ged": 0.25, "ged_fully_unbiased": 0.0625, "energy_score": 0.5}
    perfect = {"ged": {"mean": 0.125 if most > 1 else None}}
    distribution = {
        "num_raters": [1, most],
        "mean": {
            "scores": {name: {"mean": mean} for name, mean in means.items()},
            "perfect_model": perfect,
        },
    }
    write_json(
        model_folder / "fold_0" / "validation" / "summary.json",
        {"foreground_mean": {"Dice": 0.75}, "distribution": distribution},
    )
    info = model_info(model_folder)
    expected = {
        1: {"Dice": 0.75, "energy_score": 0.5, "ged": 0.25},
        2: {"ged_fully_unbiased": 0.0625, "ged": 0.25, "ged_of_perfect_model": 0.125, "Dice": 0.75},
    }
    assert list(info["folds"]["0"].items()) == list(expected[most].items())
    assert ("unbiased GED" in "\n".join(lines_of(info))) == (most > 1)
