"""One odd image keeps no other from being predicted, and is said by name; so is a full disk."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from diffunet.data.raw.input_cases import find_input_cases
from diffunet.errors import DatasetError, UsageError, WriteError
from diffunet.inference import run as driver
from diffunet.inference.model import TrainedModel, load_model
from diffunet.plans import NormalizationPlan
from tests.full_disk import full_disk
from tests.inference import driving
from tests.inference.driving import predict_into
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model

VOXELS = np.random.default_rng(0).normal(size=(11, 12, 7)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    configuration = small_configuration(3, spacing_mm=(2.0, 1.0, 1.0), patch=8)
    plans = replace(
        small_plans(configuration, transpose_forward=(0, 1, 2)), orientations=("LPS", "RAS")
    )
    content = dataset_content(file_ending=".nii.gz")
    return write_model(tmp_path / "model", plans, content=content)


def write(folder: Path, case: str, *, voxels: np.ndarray = VOXELS, diagonal=(1, 1, 2)) -> None:
    folder.mkdir(exist_ok=True)
    affine = np.diag([*diagonal, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"{case}_0000.nii.gz")


def run(model: Path, images: Path, output: Path) -> Path:
    return predict_into(loaded(model), images, output, num_samples=1, num_steps=1)


def loaded(model: Path) -> TrainedModel:
    return load_model(model, folds=None, checkpoint="final", device=torch.device("cpu"))


def test_odd_images_are_named_at_the_end_and_the_others_are_predicted(model, tmp_path):
    write(tmp_path / "in", "a_complex", voxels=VOXELS.astype(np.complex64))
    write(tmp_path / "in", "b_thick", diagonal=(1, 1, 50_000_000))
    write(tmp_path / "in", "c_padded", voxels=np.where(VOXELS > 2, np.float32(-3.4e38), VOXELS))
    write(tmp_path / "in", "d_good")
    with pytest.raises(DatasetError) as caught:
        run(model, tmp_path / "in", tmp_path / "out")
    said = ("a_complex_0000.nii.gz", "case 'b_thick'", "case 'c_padded'")
    assert len(caught.value.problems) == len(said)
    for text, problem in zip(said, caught.value.problems, strict=True):
        assert text in problem
    assert (tmp_path / "out" / "d_good.nii.gz").is_file()


def test_a_case_for_which_memory_does_not_suffice_is_named_at_the_end(model, tmp_path, monkeypatch):
    write(tmp_path / "in", "a")
    write(tmp_path / "in", "b")
    found = driver._predict_case

    def fail(predictor, model, files, **others):
        if files.case == "a":
            raise MemoryError
        return found(predictor, model, files, **others)

    monkeypatch.setattr(driver, "_predict_case", fail)
    with pytest.raises(DatasetError, match="^case 'a': there is not enough memory"):
        run(model, tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "b.nii.gz").is_file()


def test_an_orientation_that_training_never_saw_is_warned_of(model, tmp_path, caplog):
    for case, diagonal in (("seen", (-1, -1, 2)), ("unseen", (-1, 1, -2))):
        write(tmp_path / "in", case, diagonal=diagonal)
    run(model, tmp_path / "in", tmp_path / "out")
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "case 'unseen' lies in the orientation LAI" in warnings[0]
    assert "LPS, RAS" in warnings[0]


@pytest.mark.parametrize(
    ("diagonal", "is_odd"), [((0.1, 0.1, 0.2), True), ((-3, -3, 3), False)], ids=["cm", "thick"]
)
def test_voxels_of_another_unit_are_warned_of(model, tmp_path, caplog, diagonal, is_odd):
    write(tmp_path / "in", "a", diagonal=diagonal)
    run(model, tmp_path / "in", tmp_path / "out")
    assert ("the model was trained at (2, 1, 1) mm" in caplog.text) == is_odd


def test_an_image_of_one_value_is_warned_of(model, tmp_path, caplog):
    write(tmp_path / "in", "a", voxels=np.full_like(VOXELS, 5))
    run(model, tmp_path / "in", tmp_path / "out")
    assert "every voxel is 5, so nothing can be seen in it" in caplog.text


@pytest.mark.parametrize(("factor", "is_flat"), [(1 / 1000, True), (300, False)])
def test_intensities_of_another_unit_are_warned_of(tmp_path, caplog, factor, is_flat):
    ct = NormalizationPlan(scheme="ct", mean=0.0, std=300.0, lower=-1000.0, upper=400.0)
    configuration = small_configuration(3, spacing_mm=(2.0, 1.0, 1.0), patch=8)
    preprocessing = replace(configuration.preprocessing, normalization=(ct,))
    configuration = replace(configuration, preprocessing=preprocessing)
    plans = small_plans(configuration, transpose_forward=(0, 1, 2))
    model = write_model(tmp_path / "ct", plans, content=dataset_content(file_ending=".nii.gz"))
    write(tmp_path / "in", "a", voxels=VOXELS * np.float32(factor))
    run(model, tmp_path / "in", tmp_path / "out")
    assert ("where the model learned from -1000 to 400" in caplog.text) == is_flat


def test_a_link_to_itself_is_named_and_the_others_are_predicted(model, tmp_path):
    write(tmp_path / "in", "a")
    (tmp_path / "in" / "b_0000.nii.gz").symlink_to("b_0000.nii.gz")
    with pytest.raises(DatasetError, match=r"b_0000\.nii\.gz': .*a link to nothing"):
        run(model, tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "a.nii.gz").is_file()


def test_images_one_folder_deeper_are_told(tmp_path):
    write(tmp_path / "in", "a")
    with pytest.raises(DatasetError, match="move those of the folders 'in' up"):
        find_input_cases(tmp_path, ".nii.gz", 1)


def test_a_header_that_contradicts_itself_is_warned_of_by_the_cases_name(model, tmp_path, caplog):
    write(tmp_path / "in", "a")
    image = nibabel.load(tmp_path / "in" / "a_0000.nii.gz")
    image.header.set_qform(np.diag([1, 1, 3.0, 1]), code=1)
    nibabel.save(image, tmp_path / "in" / "a_0000.nii.gz")
    run(model, tmp_path / "in", tmp_path / "out")
    assert "case 'a': 'a_0000.nii.gz': the header's sform and qform differ" in caplog.text


def test_a_disk_that_is_full_ends_a_prediction_with_the_path(model, tmp_path):
    write(tmp_path / "in", "a")
    with pytest.raises(WriteError, match=r"a\.nii\.gz': the limit on the size"), full_disk(90):
        predict_one(model, tmp_path)


def predict_one(model: Path, tmp_path: Path) -> None:
    """Predict a single file to a single file."""
    image, output = tmp_path / "in" / "a_0000.nii.gz", tmp_path / "a.nii.gz"
    driving.predict_one(loaded(model), image, output, num_samples=1, num_steps=1)


def test_an_output_that_cannot_be_written_is_found_before_anything_is_read(
    model, tmp_path, monkeypatch
):
    def read(*_, **__):
        raise AssertionError("the image was read")

    monkeypatch.setattr(driver, "read_case", read)
    write(tmp_path / "in", "a")
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        predict_one(model, tmp_path)


def test_a_case_whose_maps_would_have_too_long_a_name_is_found_before_anything_is_read(
    model, tmp_path, monkeypatch
):
    monkeypatch.setattr(driver, "read_case", lambda *_, **__: pytest.fail("the image was read"))
    write(tmp_path / "in", "n" * 242)
    with pytest.raises(DatasetError, match="more than 200 bytes"):
        run(model, tmp_path / "in", tmp_path / "out")


def test_a_volume_for_a_model_of_images_is_named_with_a_remedy(tmp_path):
    content = dataset_content(file_ending=".nii.gz")
    model = write_model(tmp_path / "flat", small_plans(small_configuration()), content=content)
    write(tmp_path / "in", "a")
    with pytest.raises(DatasetError) as caught:
        run(model, tmp_path / "in", tmp_path / "out")
    message = str(caught.value)
    assert "a_0000.nii.gz': expected an image (y, x)" in message
    assert "found a volume (z, y, x) of 7 x 12 x 11 voxels; save each slice" in message


def test_an_image_for_a_model_of_volumes_is_named_with_a_remedy(model, tmp_path):
    write(tmp_path / "in", "a", voxels=VOXELS[..., 0], diagonal=(1, 1, 1))
    with pytest.raises(DatasetError) as caught:
        run(model, tmp_path / "in", tmp_path / "out")
    message = str(caught.value)
    assert "a_0000.nii.gz': expected a volume (z, y, x)" in message
    assert "join the slices" in message
