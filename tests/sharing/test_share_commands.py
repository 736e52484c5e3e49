"""The commands, from a trained model to masks that its file draws elsewhere."""

import numpy as np
import pytest
from PIL import Image

from diffunet.cli import predict, share
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model


@pytest.fixture
def workspace(tmp_path):
    plans = small_plans(small_configuration(dimensions=2))
    folder = tmp_path / "ours/results/Dataset999_Small/diffusion__diffunet_plans__small"
    write_model(folder, plans, content=dataset_content())
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(images / "a_0000.png")
    return tmp_path


def masks(workspace, name, *model):
    output = workspace / name
    words = ["-i", f"{workspace / 'images'}", "-o", f"{output}", "-device", "cpu", *model]
    assert predict.main(words) == 0
    return np.asarray(Image.open(output / "a.png"))


def test_masks_from_folder_file_and_installed_model_are_the_same(workspace, capsys):
    file = workspace / "model.zip"
    model = workspace / "ours/results/Dataset999_Small/diffusion__diffunet_plans__small"
    assert share.main_export(["--model", f"{model}", "-o", f"{file}", "--license", "MIT"]) == 0
    assert share.main_install([f"{file}", "--workspace", f"{workspace / 'theirs'}"]) == 0
    shown = capsys.readouterr().out
    assert "license           MIT" in shown
    assert "-d Dataset999_Small -m diffusion -p diffunet_plans -c small" in shown
    expected = masks(workspace, "from_folder", "--model", f"{model}")
    np.testing.assert_array_equal(masks(workspace, "from_file", "--model", f"{file}"), expected)
    installed = masks(workspace, "own", "-d", "999", "--workspace", f"{workspace / 'theirs'}")
    np.testing.assert_array_equal(installed, expected)


def test_an_installed_dataset_with_two_models_asks_which(workspace, capsys):
    results = workspace / "ours/results/Dataset999_Small"
    (results / "supervised__diffunet_plans__small").mkdir()
    words = ["-i", f"{workspace / 'images'}", "-o", f"{workspace / 'out'}", "-d", "999"]
    assert predict.main([*words, "--workspace", f"{workspace / 'ours'}"]) == 2
    message = capsys.readouterr().err
    assert "expected one model like '*__diffunet_plans__*', found 2" in message
    assert "supervised__diffunet_plans__small" in message


def test_a_refused_file_gives_one_message_and_exit_code_2(workspace, capsys):
    file = workspace / "model.zip"
    file.write_bytes(b"hello")
    for run, words in (
        (share.main_install, [f"{file}", "--workspace", f"{workspace / 'theirs'}"]),
        (share.main_info, [f"{file}"]),
        (predict.main, ["-i", f"{workspace / 'images'}", "-o", "x", "--model", f"{file}"]),
        (share.main_export, ["-o", f"{workspace / 'x.zip'}"]),
    ):
        assert run(words) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert "Traceback" not in message


def test_a_dataset_that_was_neither_planned_nor_installed_is_told_to_be_planned(workspace, capsys):
    (workspace / "new/raw/Dataset007_Raw").mkdir(parents=True)
    words = ["-i", f"{workspace / 'images'}", "-o", f"{workspace / 'out'}", "-d", "7"]
    assert predict.main([*words, "--workspace", f"{workspace / 'new'}"]) == 2
    assert "run diffunet_plan_and_preprocess -d Dataset007_Raw first" in capsys.readouterr().err
