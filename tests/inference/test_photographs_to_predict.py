"""Photographs are predicted as the camera wrote them, by models that learned from pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from diffunet.data.image_io import read_input
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.errors import DatasetError
from diffunet.inference.model import TrainedModel, load_model
from tests.inference.driving import predict_into
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
TURNED = 6  # of EXIF: by a quarter


def loaded(folder: Path, *, file_ending: str) -> TrainedModel:
    plans = small_plans(small_configuration(2, num_channels=3))
    content = dataset_content(num_channels=3, file_ending=file_ending)
    return load_model(
        write_model(folder, plans, content=content),
        folds=None,
        checkpoint="final",
        device=torch.device("cpu"),
    )


def photograph(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    path.parent.mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.fromarray(pixels).save(path, format="JPEG", exif=exif)
    return path


def test_a_photograph_gets_the_mask_of_what_it_was_converted_to(tmp_path):
    model = loaded(tmp_path / "model", file_ending=".png")
    path = photograph(tmp_path / "in" / "eye.JPG")
    (tmp_path / "converted").mkdir()
    with Image.open(path) as file:
        ImageOps.exif_transpose(file).save(tmp_path / "converted" / "eye_0000.png")
    masks = []
    for name in ("in", "converted"):
        predict_into(model, tmp_path / name, tmp_path / f"of_{name}", num_samples=1, num_steps=1)
        masks.append(np.asarray(Image.open(tmp_path / f"of_{name}" / "eye.png")))
    assert masks[0].shape == (28, 20)
    np.testing.assert_array_equal(*masks)


def test_a_photograph_needs_no_channel_in_its_name_and_may_be_given_alone(tmp_path):
    for name in ("a.jpg", "b_0000.jpeg", "c_0001.jpg"):
        photograph(tmp_path / "in" / name)
    Image.fromarray(PIXELS).save(tmp_path / "in" / "d_0000.png")
    cases = find_input_cases(tmp_path / "in", ".png", 3)
    assert [files.case for files in cases] == ["a", "b", "c_0001", "d"]
    (alone,) = find_input_cases(tmp_path / "in" / "b_0000.jpeg", ".png", 3)
    assert alone.case == "b"


def test_two_files_of_one_name_and_names_that_no_file_can_have_are_refused(tmp_path):
    photograph(tmp_path / "in" / "a.jpg")
    photograph(tmp_path / "in" / "a .jpg")
    Image.fromarray(PIXELS).save(tmp_path / "in" / "a_0000.png")
    with pytest.raises(DatasetError) as caught:
        find_input_cases(tmp_path / "in", ".png", 3)
    assert any(
        "case 'a'" in problem and "remove one" in problem for problem in caught.value.problems
    )


def test_an_empty_folder_is_told_both_names_for_pictures_alone(tmp_path):
    for ending, told in ((".png", " or photographs CASE.jpg"), (".nii.gz", "")):
        with pytest.raises(DatasetError) as caught:
            find_input_cases(tmp_path, ending, 1)
        assert f"expected images CASE_0000{ending}{told}, found none" in str(caught.value)


def test_models_of_other_files_take_no_photographs(tmp_path):
    path = photograph(tmp_path / "in" / "a.jpg")
    for given in (path, path.parent):
        with pytest.raises(DatasetError, match="convert"):
            find_input_cases(given, ".nii.gz", 1)


def test_channels_of_a_photograph_are_those_that_the_model_expects(tmp_path):
    grey = photograph(tmp_path / "in" / "grey.jpg", PIXELS[..., 0])
    as_colours, _ = read_input([grey], num_channels=3)
    as_grey, _ = read_input([grey], num_channels=1)
    np.testing.assert_array_equal(as_colours, np.repeat(as_grey, 3, axis=0))
    with pytest.raises(DatasetError, match=r"expected 1 channel.*found 3"):
        read_input([photograph(tmp_path / "in" / "colours.jpg")], num_channels=1)
