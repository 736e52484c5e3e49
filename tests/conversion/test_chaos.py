"""CHAOS in MR and CT."""

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from diffunet.api import plan_and_preprocess
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.chaos_downloads import (
    as_stored,
    chaos,
    intensities,
    organs,
    save_dicom,
    save_masks,
    save_series,
)
from tests.conversion.downloads import convert

_T2 = "CHAOS_Train_Sets/Train_Sets/MR/1/T2SPIR"
_CT = "CHAOS_Train_Sets/Train_Sets/CT/1"


def test_t1_becomes_two_channels_with_four_organs(tmp_path: Path) -> None:
    made = convert("chaos", chaos(tmp_path), tmp_path / "workspace", task="mr_t1")
    assert made.name == "Dataset001_CHAOS_MR_T1"
    assert [case.case for case in made.training_cases] == ["MR_01", "MR_02"]
    assert made.content["channel_names"] == {"0": "in_phase", "1": "out_phase"}
    assert made.labels.names == ("liver", "right_kidney", "left_kidney", "spleen")
    image, geometry = read_image(made.training_cases[0].images)
    np.testing.assert_array_equal(image, np.stack([intensities(1), intensities(11)]))
    assert image.dtype == np.int16
    assert geometry.spacing_mm == (7.5, 1.5, 1.25)
    assert geometry.orientation == "LPS"
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(mask, organs())
    assert not verify_dataset(made, num_processes=0).problems


def test_test_patients_go_to_the_test_images(tmp_path: Path) -> None:
    made = convert("chaos", chaos(tmp_path), tmp_path / "workspace", task="mr_t2")
    assert [path.name for path in (made.folder / "imagesTs").iterdir()] == ["MR_04_0000.nii.gz"]
    assert not (made.folder / "labelsTs").exists()


def test_ct_is_in_hounsfield_units(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    made = convert("chaos", source, tmp_path / "workspace", task="ct")
    assert made.content["channel_names"] == {"0": "CT"}
    image, _ = read_image(made.training_cases[0].images)
    files = sorted((source / _CT / "DICOM_anon").iterdir(), reverse=True)
    stored = [np.frombuffer(path.read_bytes()[-96:], "<i2").reshape(6, 8) for path in files]
    np.testing.assert_array_equal(image[0], np.stack(stored) - 1024)
    np.testing.assert_array_equal(stored, intensities(7))
    assert image.dtype == np.int16


def test_masks_of_ct_follow_the_numbers_of_files_not_the_height(tmp_path: Path) -> None:
    made = convert("chaos", chaos(tmp_path), tmp_path / "workspace", task="ct")
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(mask, organs() == 1)


def test_names_of_ct_that_begin_with_one_follow_their_order(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    for path in (source / _CT / "DICOM_anon").glob("*.dcm"):
        path.rename(path.with_name(f"IMG-0006-{int(path.name[1:5]) + 1:05d}.dcm"))
    made = convert("chaos", source, tmp_path / "workspace", task="ct")
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(mask, organs() == 1)


def test_numbers_are_counted_not_spelled(tmp_path: Path) -> None:
    source, folder = tmp_path / "CHAOS", tmp_path / "CHAOS" / "Train_Sets" / "CT" / "3"
    labels = np.zeros((12, 6, 8), bool)
    labels[np.arange(12), np.arange(12) % 6, np.arange(12) // 2] = True  # no two slices alike
    save_series(folder / "DICOM_anon", intensities(3, 12), [f"i{n},b.dcm" for n in range(12)])
    save_masks(folder / "Ground", labels.astype(np.uint8), [f"liver_GT_{n}.png" for n in range(12)])
    made = convert("chaos", source, tmp_path / "workspace", task="ct")
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(mask, labels)


def test_masks_of_mr_follow_the_names_of_their_slices(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    folder = source / "CHAOS_Train_Sets" / "Train_Sets" / "MR" / "9" / "T2SPIR"
    names = [f"IMG-0009-0000{index}" for index in (3, 1, 5, 2, 4)]
    save_series(folder / "DICOM_anon", intensities(9), [f"{name}.DCM" for name in names])
    save_masks(folder / "Ground", as_stored(organs()), [f"{name}.PNG" for name in names])
    made = convert("chaos", source, tmp_path / "workspace", task="mr_t2")
    mask, _ = read_label_map(made.training_cases[2].labels["r00"])
    np.testing.assert_array_equal(mask, organs())
    np.testing.assert_array_equal(read_image(made.training_cases[2].images)[0][0], intensities(9))


def test_voxels_lie_where_itk_puts_them(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    made = convert("chaos", source, tmp_path / "workspace", task="mr_t2")
    reader = SimpleITK.ImageSeriesReader()
    folder = source / _T2 / "DICOM_anon"
    reader.SetFileNames(sorted(str(path) for path in folder.glob("IMG*.dcm")))
    expected = reader.Execute()
    after = nibabel.Nifti1Image.from_filename(made.training_cases[0].images[0])
    np.testing.assert_array_equal(
        np.asarray(after.dataobj).T, SimpleITK.GetArrayFromImage(expected)
    )
    affine = np.asarray(after.affine)
    for index in ((0, 0, 0), (7, 5, 4), (2, 3, 1)):
        place = expected.TransformIndexToPhysicalPoint(index)
        lps = (affine @ [*index, 1])[:3] * (-1, -1, 1)
        np.testing.assert_allclose(lps, place, atol=1e-4)


def test_kidneys_can_be_merged(tmp_path: Path) -> None:
    made = convert(
        "chaos", chaos(tmp_path), tmp_path / "workspace", task="mr_t2", labels=["kidney"]
    )
    assert made.content["labels"] == {"background": 0, "kidney": 1}
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(mask, np.isin(organs(), (2, 3)))


def test_slices_show_kidneys_where_more_than_a_share_does(tmp_path: Path) -> None:
    made = convert(
        "chaos",
        chaos(tmp_path),
        tmp_path / "workspace",
        task="mr_t2",
        labels=["kidney"],
        slices=True,
        min_share=0.1,
    )
    with (made.folder / "image_labels.csv").open() as file:
        rows = [row["kidney"] for row in csv.DictReader(file) if row["case"].startswith("MR_01")]
    assert rows == ["0", "1", "0", "0", "0"]  # 4, 8, 4, 0 and 0 of 48 pixels
    assert made.patients["MR_01_z003"] == "MR_01"
    assert not verify_dataset(made, num_processes=0, checks_labels=True).problems


def test_tags_can_be_planned(tmp_path: Path) -> None:
    made = convert("chaos", chaos(tmp_path), tmp_path / "workspace", task="mr_t1", tags=True)
    plan_and_preprocess(made.name, workspace=tmp_path / "workspace", num_processes=0)
    assert (tmp_path / "workspace" / "preprocessed" / made.name / "splits_final.json").is_file()


@pytest.mark.parametrize("value", [56, 70, 111, 135, 176, 200, 241, 255])
def test_values_in_the_ranges_of_the_challenge_are_known(tmp_path: Path, value: int) -> None:
    source = chaos(tmp_path)
    path = source / _T2 / "Ground" / "IMG-0001-00005.png"
    Image.fromarray(np.full((6, 8), value, np.uint8)).save(path)
    made = convert("chaos", source, tmp_path / "workspace", task="mr_t2")
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    assert set(np.unique(mask[4])) == {round(value / 63)}


@pytest.mark.parametrize("value", [1, 55, 71, 100, 201, 240])
def test_values_between_them_name_the_file(tmp_path: Path, value: int) -> None:
    source = chaos(tmp_path)
    path = source / _T2 / "Ground" / "IMG-0001-00005.png"
    Image.fromarray(np.full((6, 8), value, np.uint8)).save(path)
    with pytest.raises(DatasetError, match=f"IMG-0001-00005.png'.* found {value}; copy"):
        convert("chaos", source, tmp_path / "workspace", task="mr_t2")


def test_masks_of_one_bit_are_known(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    for path in (source / _CT / "Ground").iterdir():
        Image.open(path).convert("1").save(path)
    made = convert("chaos", source, tmp_path / "workspace", task="ct")
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(mask, organs() == 1)


def test_missing_masks_and_slices_are_all_named(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    (source / _T2 / "Ground" / "IMG-0001-00005.png").unlink()
    next((source / "CHAOS_Train_Sets/Train_Sets/MR/2/T2SPIR/DICOM_anon").glob("IMG*")).unlink()
    with pytest.raises(DatasetError) as caught:
        convert("chaos", source, tmp_path / "workspace", task="mr_t2")
    assert "MR/1/T2SPIR': expected 5 masks in Ground, one for each slice, found 4" in str(
        caught.value
    )
    assert "MR/2/T2SPIR': expected 4 masks" in str(caught.value)
    assert not (tmp_path / "workspace").exists()


def test_a_gap_between_slices_is_refused(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    for ending, place in ((".dcm", "DICOM_anon"), (".png", "Ground")):
        (source / _T2 / place / f"IMG-0001-00003{ending}").unlink()
    with pytest.raises(DatasetError, match=r"1 of 3 cases[\s\S]*slices are missing"):
        convert("chaos", source, tmp_path / "workspace", task="mr_t2")


def test_phases_at_different_places_are_refused(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    folder = source / "CHAOS_Train_Sets/Train_Sets/MR/1/T1DUAL/DICOM_anon/OutPhase"
    for number, path in enumerate(sorted(folder.iterdir())):
        save_dicom(path, intensities(11)[number], z_mm=37.5 + 7.5 * number, number=number)
    with pytest.raises(DatasetError, match=r"OutPhase': expected the origin .* of 'InPhase'"):
        convert("chaos", source, tmp_path / "workspace", task="mr_t1")


def test_a_damaged_slice_is_named(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    path = source / _T2 / "DICOM_anon" / "IMG-0001-00002.dcm"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="IMG-0001-00002.dcm'.*truncated"):
        convert("chaos", source, tmp_path / "workspace", task="mr_t2")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    path = source / _T2 / "Ground" / "IMG-0001-00005.png"
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r"expected the shape \(6, 8\).*found \(8, 6\)"):
        convert("chaos", source, tmp_path / "workspace", task="mr_t2")


@pytest.mark.parametrize(("task", "got"), [(None, "none"), ("t1", "t1")])
def test_a_task_has_to_be_named(tmp_path: Path, task: str | None, got: str) -> None:
    with pytest.raises(UsageError, match=f"--task: expected mr_t1, mr_t2, ct.*got {got}"):
        convert("chaos", chaos(tmp_path), tmp_path / "workspace", task=task)


def test_a_folder_without_the_task_says_what_was_expected(tmp_path: Path) -> None:
    source = chaos(tmp_path) / "CHAOS_Train_Sets" / "Train_Sets" / "CT"
    with pytest.raises(DatasetError, match="expected Train_Sets/MR/1/T1DUAL/DICOM_anon"):
        convert("chaos", source, tmp_path / "workspace", task="mr_t1")


def test_slices_without_an_ending_are_found(tmp_path: Path) -> None:
    source = chaos(tmp_path)
    for path in list(source.rglob("[!.]*.dcm")):
        path.rename(path.with_suffix(""))
    assert len(convert("chaos", source, tmp_path / "workspace", task="mr_t2").training_cases) == 2
