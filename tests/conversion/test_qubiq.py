"""QUBIQ: structures and tasks are chosen, and axes brought into order."""

import logging
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from diffunet.api import plan_and_preprocess
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.downloads import convert, save_nifti
from tests.conversion.qubiq_downloads import SPACING, STRUCTURES, qubiq

TRAINING = Path("QUBIQ", "training_data_v3_QC")
VALIDATION = Path("QUBIQ", "validation_data_qubiq2021_QC")


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_what_is_made_has_no_fault(tmp_path: Path, structure: str) -> None:
    made = convert(
        "qubiq", qubiq(tmp_path, structure), tmp_path / "workspace", task=f"{structure}/task01"
    )
    report = verify_dataset(made, num_processes=0)
    assert not report.problems
    assert len(made.training_cases) == 2
    assert len(made.test_cases) == 1
    assert made.num_channels == (4 if structure == "brain-tumor" else 1)


@pytest.mark.parametrize("structure", ["kidney", "prostate", "brain-growth"])
def test_a_slice_is_an_image_with_its_pixel_spacing(tmp_path: Path, structure: str) -> None:
    source = qubiq(tmp_path, structure)
    made = convert("qubiq", source, tmp_path / "workspace", task=f"{structure}/task01")
    image, geometry = read_image(made.training_cases[0].images)
    folder = tmp_path / TRAINING / structure / "Training" / "case01"
    before = voxels(folder / "image.nii.gz")
    np.testing.assert_array_equal(image[0], before.reshape(before.shape[:2]).T)
    assert image.dtype == np.float64
    assert geometry.spacing_mm == SPACING[1::-1]
    mask, _ = read_label_map(made.training_cases[0].labels["r02"])
    drawn = voxels(folder / "task01_seg03.nii.gz")
    np.testing.assert_array_equal(mask, drawn.reshape(drawn.shape[:2]).T)


def test_the_third_axis_of_a_brain_tumour_is_its_channels(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "brain-tumor")
    made = convert("qubiq", source, tmp_path / "workspace", task="task03")
    folder = tmp_path / TRAINING / "brain-tumor" / "Training" / "case02"
    image, _ = read_image(made.training_cases[1].images)
    np.testing.assert_array_equal(image, voxels(folder / "image.nii.gz").transpose(2, 1, 0))
    assert made.labels.names == ("brain tumor task03",)
    mask, _ = read_label_map(made.training_cases[1].labels["r00"])
    np.testing.assert_array_equal(mask, voxels(folder / "task03_seg01.nii.gz").T)


def test_slices_of_a_volume_lie_along_its_last_axis_and_stay_in_place(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "pancreas")
    affine = np.array([[0, -2.0, 0, 5], [0, 0, 3.0, -7], [4.0, 0, 0, 11], [0, 0, 0, 1]])
    for path in source.rglob("[it]*.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(voxels(path), affine), path)
    made = convert("qubiq", source, tmp_path / "workspace")
    before = voxels(tmp_path / TRAINING / "pancreas" / "case1-1" / "image.nii.gz")
    after = nibabel.Nifti1Image.from_filename(made.training_cases[0].images[0])
    np.testing.assert_array_equal(np.asarray(after.dataobj), before.transpose(1, 2, 0))
    place = np.asarray(after.affine) @ [3, 2, 1, 1]
    np.testing.assert_allclose(place, affine @ [1, 3, 2, 1], atol=1e-5)
    assert after.header.get_zooms() == (2, 3, 4)


def test_scans_of_a_patient_stay_together(tmp_path: Path) -> None:
    made = convert("qubiq", qubiq(tmp_path, "pancreas"), tmp_path / "workspace")
    assert made.patients == {"case1-1": "case1", "case1-2": "case1", "case13-1": "case13"}


def test_an_observer_without_a_file_was_not_asked(tmp_path: Path) -> None:
    made = convert("qubiq", qubiq(tmp_path, "kidney"), tmp_path / "workspace")
    assert [sorted(case.labels) for case in made.training_cases] == [
        ["r00", "r01", "r02"],
        ["r00", "r01"],
    ]


def test_the_validation_part_is_held_out_with_its_masks(tmp_path: Path) -> None:
    made = convert("qubiq", qubiq(tmp_path, "kidney"), tmp_path / "workspace")
    assert [case.case for case in made.test_cases] == ["case35"]
    assert sorted(made.test_cases[0].labels) == ["r00", "r01", "r02"]
    assert made.name == "Dataset001_QUBIQ-kidney"


@pytest.mark.parametrize("task", ["prostate", "task01", None, "liver"])
def test_a_task_that_is_not_one_lists_those_there_are(tmp_path: Path, task: str | None) -> None:
    source = qubiq(tmp_path, "prostate", "kidney")
    with pytest.raises(UsageError, match="one of kidney/task01, prostate/task01, prostate/task02"):
        convert("qubiq", source, tmp_path / "workspace", task=task)


@pytest.mark.parametrize("task", ["kidney", "Kidney/task01"])
def test_a_structure_of_one_task_is_named_by_itself(tmp_path: Path, task: str) -> None:
    source = qubiq(tmp_path, "prostate", "kidney")
    made = convert("qubiq", source, tmp_path / "workspace", task=task)
    assert made.labels.names == ("kidney",)


def test_one_structure_is_read_from_its_own_folder(tmp_path: Path) -> None:
    qubiq(tmp_path, "kidney")
    source = tmp_path / TRAINING / "kidney"
    source.rename(source.with_name("Kidney"))
    made = convert("qubiq", source.with_name("Kidney"), tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == ["case01", "case02"]


def test_training_cases_without_a_mask_of_the_task_are_named(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "kidney")
    for path in (tmp_path / TRAINING / "kidney" / "Training" / "case02").glob("task*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"expected a mask task01_seg01.* for 'case02'"):
        convert("qubiq", source, tmp_path / "workspace")


def test_test_images_without_masks_are_kept(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "kidney")
    for path in (tmp_path / VALIDATION).rglob("task*"):
        path.unlink()
    made = convert("qubiq", source, tmp_path / "workspace")
    assert not made.test_cases[0].labels


def test_two_years_side_by_side_are_refused(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "kidney")
    shutil.copytree(tmp_path / TRAINING, source / "training_data_v2")
    with pytest.raises(DatasetError, match="expected 'case01' once, found .*v2/.* and '"):
        convert("qubiq", source, tmp_path / "workspace")


def test_a_mask_of_another_shape_or_with_shares_is_refused(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "kidney")
    training = tmp_path / TRAINING / "kidney" / "Training"
    save_nifti(training / "case01" / "task01_seg01.nii.gz", np.zeros((9, 8)))
    save_nifti(training / "case02" / "task01_seg02.nii.gz", np.full((9, 9), 0.3))
    with pytest.raises(DatasetError) as caught:
        convert("qubiq", source, tmp_path / "workspace")
    assert "seg01.nii.gz': expected the shape (9, 9) of its image" in str(caught.value)
    assert "seg02.nii.gz': expected integers" in str(caught.value)


def test_a_mask_that_tells_another_spacing_is_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = qubiq(tmp_path, "kidney")
    path = tmp_path / TRAINING / "kidney" / "Training" / "case01" / "task01_seg01.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels(path), np.eye(4)), path)
    with caplog.at_level(logging.WARNING):
        made = convert("qubiq", source, tmp_path / "workspace")
    assert "case 'case01': 'task01_seg01.nii.gz' has the spacing (1, 1) mm" in caplog.text
    assert read_label_map(made.training_cases[0].labels["r00"])[1].spacing_mm == (0.75, 0.5)


def test_a_brain_tumour_of_other_channels_is_refused(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "brain-tumor")
    folder = tmp_path / TRAINING / "brain-tumor" / "Training" / "case01"
    save_nifti(folder / "image.nii.gz", np.zeros((8, 7, 3)))
    with pytest.raises(DatasetError, match=r"case01/image.* expected 4 image\(s\) of one slice"):
        convert("qubiq", source, tmp_path / "workspace", task="task01")


def test_a_folder_without_a_structure_says_what_is_expected(tmp_path: Path) -> None:
    source = qubiq(tmp_path, "kidney")
    for path in source.glob("*/kidney"):
        path.rename(path.with_name("liver"))
    with pytest.raises(DatasetError, match="expected kidney/Training/case01/ with image.nii.gz"):
        convert("qubiq", source, tmp_path / "workspace")


def test_slices_in_nifti_can_be_planned(tmp_path: Path) -> None:
    made = convert("qubiq", qubiq(tmp_path, "kidney"), tmp_path / "workspace")
    plan_and_preprocess(made.name, workspace=tmp_path / "workspace", num_processes=0)
    assert list((tmp_path / "workspace").rglob("diffunet_plans.json"))


def test_cases_in_a_folder_of_another_name_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = qubiq(tmp_path, "kidney")
    shutil.copytree(source / "training_data_v3_QC" / "kidney", source / "more" / "Kidney CT")
    convert("qubiq", source, tmp_path / "workspace")
    assert "2 cases, such as 'more/Kidney CT/Training/case01'" in caplog.text
