"""The model that comes with diffunet: found by its name, sound, and as good as its page says."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from diffunet import Predictor, api
from diffunet.cli import predict, share, train
from diffunet.data.image_io import read_label_map
from diffunet.data.synthetic_lung import lung_scene
from diffunet.errors import CheckpointError
from diffunet.sharing.shipped import SHIPPED_MODELS, find_model

MOST_BYTES = 16e6


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_shipped_model_is_small_and_says_its_licence_and_data(name, capsys):
    file = find_model(Path(name))
    assert file.stat().st_size <= MOST_BYTES
    assert share.main_info([name]) == 0
    shown = capsys.readouterr().out
    for word in ("license           CC-BY-3.0", "doi:10.7937/", "For research, not for patients"):
        assert word in shown


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_shipped_model_names_no_case(name):
    with zipfile.ZipFile(find_model(Path(name))) as archive:
        for inner in archive.namelist():
            assert b"lidc00" not in archive.read(inner).lower()


def test_the_model_installs_under_its_name_and_another(tmp_path, capsys):
    for words in ([], ["-d", "Dataset012_Nodules"]):
        assert share.main_install(["lidc_nodules", *words, "--workspace", f"{tmp_path}"]) == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir() if path.is_dir()) == [
        "Dataset001_LIDC",
        "Dataset012_Nodules",
    ]
    assert "-d Dataset012_Nodules" in capsys.readouterr().out


def test_a_predictor_in_memory_takes_its_name_and_its_file(tmp_path):
    image = np.random.default_rng(0).normal(size=(1, 64, 64))
    for given in ("lidc_nodules", find_model(Path("lidc_nodules"))):
        drawn = Predictor.from_folder(given).predict(image, (1.0, 1.0), num_samples=1, num_steps=1)
        assert drawn.mask.shape == (64, 64)
    with pytest.raises(CheckpointError, match="comes with diffunet.*lidc_nodules"):
        Predictor.from_folder(tmp_path / "missing.zip")


def test_a_model_of_that_name_goes_first_and_other_folders_do_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "lidc_nodules"
    folder.mkdir()
    (folder / "dataset.json").write_text("{}")  # as predictions have it
    assert share.main_info(["lidc_nodules"]) == 0
    (folder / "fold_0").mkdir()
    assert share.main_info(["lidc_nodules"]) == 2
    assert "'lidc_nodules" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["lidc", "nowhere/model.zip"])
def test_a_model_that_is_not_there_is_answered_with_what_there_is(tmp_path, capsys, given):
    images = tmp_path / "images"
    images.mkdir()
    for run, words in (
        (share.main_info, [given]),
        (predict.main, ["-i", f"{images}", "-o", f"{tmp_path / 'out'}", "--model", given]),
    ):
        assert run(words) == 2
        message = capsys.readouterr().err
        assert f"there is no model '{given}'" in message
        assert "lidc_nodules" in message
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The masks that it draws of the generated slices, (case, sample, *size), and their scenes."""
    folder = tmp_path_factory.mktemp("drawn")
    raw = api.example_dataset("lung_nodules", workspace=folder)
    api.predict(
        raw / "imagesTs",
        folder / "out",
        model="lidc_nodules",
        num_samples=8,
        num_steps=4,
        saves_samples=True,
        device="cpu",
    )
    cases = [f"synthetic{index:04d}" for index in range(24, 36)]
    masks = [
        [read_label_map(folder / f"out/samples/{case}_s{sample:02d}.png")[0] for sample in range(8)]
        for case in cases
    ]
    return np.array(masks) > 0, [lung_scene(case, seed=0) for case in cases]


@pytest.mark.slow
def test_it_finds_most_generated_nodules_and_little_else(drawn):
    masks, scenes = drawn
    rims = [binary_dilation(scene.outcomes()[-1] > 0, iterations=3) for scene in scenes]
    presence = masks.any(axis=(2, 3)).mean(axis=1)
    assert presence.mean() > 0.6
    inside = sum(int(each[:, rim].sum()) for each, rim in zip(masks, rims, strict=True))
    assert inside > 0.8 * masks.sum()


@pytest.mark.slow
def test_its_masks_differ_but_not_in_everything(drawn):
    masks, _ = drawn
    shares = masks.mean(axis=1)
    unsure = ((shares > 0.1) & (shares < 0.9)).sum(axis=(1, 2))
    sure = (shares >= 0.9).sum(axis=(1, 2))
    assert (unsure > 0).all()
    assert (sure > 0).sum() >= 4


@pytest.mark.slow
@pytest.mark.real_data
def test_it_is_as_good_on_unseen_patients_as_its_page_says(tmp_path, real_data):
    """24 patients: the mean of 98 is 0.10, an always empty mask has 0.77."""
    raw = real_data / "Dataset001_LIDC"
    seen, images, labels = set(), tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for path in sorted((raw / "imagesTs").iterdir()):
        case = path.name.removesuffix("_0000.png")
        patient = case.split("_")[0]
        if patient in seen or len(seen) == 24:
            continue
        seen.add(patient)
        shutil.copy(path, images)
        for rater in range(4):
            shutil.copy(raw / "labelsTs" / f"{case}_r{rater:02d}.png", labels)
    api.predict(
        images,
        tmp_path / "out",
        model="lidc_nodules",
        num_samples=8,
        saves_samples=True,
        device="cpu",
    )
    found = api.evaluate(labels, tmp_path / "out", num_processes=0)
    assert found["distribution"]["mean"]["scores"]["ged_fully_unbiased"]["mean"] < 0.25


@pytest.mark.slow
def test_a_training_starts_from_all_of_it(tmp_path):
    raw = api.example_dataset("lung_nodules", workspace=tmp_path)
    api.plan_and_preprocess(
        raw.name, workspace=tmp_path, target_spacing_mm=(2.0, 2.0), num_processes=0
    )
    words = ["904", "0", "--workspace", f"{tmp_path}", "-pretrained_weights", "lidc_nodules"]
    widths = ["network.channels=[16,16,32,32]", "network.image_channels=[16,32,64,64]"]
    assert (
        train.main([*words, "--iterations", "1", "-np", "0", "--no_report", "--set", *widths]) == 0
    )
    (folder,) = (tmp_path / "results").glob("*/*/fold_0")
    taken = "266 of 266 tensors taken from 'lidc_nodules' (fold_0/checkpoint_final.pth)"
    assert taken in (folder / "log.txt").read_text()
