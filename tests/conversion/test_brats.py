"""Releases of BraTS from 2018 to 2024."""

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from diffunet.api import plan_and_preprocess
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.brats_downloads import SPACING, brats_2021, brats_case, tumour
from tests.conversion.downloads import convert, save_nifti


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_release_becomes_volumes_with_regions(tmp_path: Path) -> None:
    made = convert("brats", brats_2021(tmp_path), tmp_path / "workspace")
    assert made.name == "Dataset001_BraTS2021"
    assert [case.case for case in made.training_cases] == ["BraTS2021_00000", "BraTS2021_00002"]
    assert made.content["channel_names"] == {"0": "flair", "1": "t1", "2": "t1ce", "3": "t2"}
    assert made.content["labels"] == {
        "background": 0,
        "whole_tumour": [1, 2, 3],
        "tumour_core": [2, 3],
        "enhancing_tumour": 3,
    }
    assert made.content["regions_class_order"] == [1, 2, 3]
    assert not verify_dataset(made, num_processes=0).problems


def test_voxels_and_places_are_those_of_the_download(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    made = convert("brats", source, tmp_path / "workspace")
    folder = source / "BraTS2021_Training_Data" / "BraTS2021_00002"
    for index, channel in enumerate(("flair", "t1", "t1ce", "t2")):
        before = nibabel.Nifti1Image.from_filename(folder / f"BraTS2021_00002_{channel}.nii.gz")
        after = nibabel.Nifti1Image.from_filename(made.training_cases[1].images[index])
        np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
        assert after.get_data_dtype() == before.get_data_dtype()
        np.testing.assert_array_equal(after.affine, before.affine)


def test_regions_cover_what_the_release_says(tmp_path: Path) -> None:
    made = convert("brats", brats_2021(tmp_path), tmp_path / "workspace")
    written, _ = read_label_map(made.training_cases[0].labels["r00"])
    before = tumour((1, 2, 4)).T
    whole, core, enhancing = made.labels.masks(written)
    np.testing.assert_array_equal(whole, before > 0)
    np.testing.assert_array_equal(core, np.isin(before, (1, 4)))
    np.testing.assert_array_equal(enhancing, before == 4)


def test_cases_of_the_validation_part_go_to_the_test_images(tmp_path: Path) -> None:
    made = convert("brats", brats_2021(tmp_path), tmp_path / "workspace", channels=["flair"])
    names = [path.name for path in (made.folder / "imagesTs").iterdir()]
    assert names == ["BraTS2021_00001_0000.nii.gz"]
    assert not (made.folder / "labelsTs").exists()


@pytest.mark.parametrize(
    ("names", "values", "dataset"),
    [
        (["HGG/Brats18_TCIA08_242_1", "LGG/Brats18_2013_0_1"], (1, 2, 4), "BraTS18"),
        (["HGG/BraTS19_CBICA_AAB_1", "LGG/BraTS19_TCIA09_177_1"], (1, 2, 4), "BraTS19"),
        (["BraTS20_Training_001", "BraTS20_Training_002"], (1, 2, 4), "BraTS20"),
        (["BraTS-GLI-00000-000", "BraTS-GLI-00002-000"], (1, 2, 3), "BraTS-GLI"),
        (["BraTS-SSA-00002-000", "BraTS-SSA-00007-000"], (1, 2, 3), "BraTS-SSA"),
    ],
)
def test_every_release_has_the_same_regions(
    tmp_path: Path, names: list[str], values: tuple[int, int, int], dataset: str
) -> None:
    for name in names:
        brats_case(tmp_path / "download" / "TrainingData" / name, values=values)
    made = convert("brats", tmp_path / "download", tmp_path / "workspace")
    assert made.name == f"Dataset001_{dataset}"
    written, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(written, tumour((2, 1, 3)).T)


def test_points_in_time_are_one_patient(tmp_path: Path) -> None:
    for name in ("00008-000", "00008-001", "00009-000"):
        brats_case(tmp_path / "download" / f"BraTS-GLI-{name}", values=(1, 2, 3))
    made = convert("brats", tmp_path / "download", tmp_path / "workspace", channels=["t1"])
    assert made.patients["BraTS-GLI-00008-000"] == made.patients["BraTS-GLI-00008-001"]
    assert made.patients["BraTS-GLI-00008-000"] != made.patients["BraTS-GLI-00009-000"]


def test_after_surgery_4_is_the_resection_cavity(tmp_path: Path) -> None:
    case = brats_case(tmp_path / "download" / "BraTS-GLI-00005-100", values=(4, 2, 3))
    made = convert("brats", case.parent, tmp_path / "workspace", channels=["t1"])
    assert made.content["labels"]["resection_cavity"] == 4
    written, _ = read_label_map(made.training_cases[0].labels["r00"])
    cavity = made.labels.masks(written)[3]
    np.testing.assert_array_equal(cavity, tumour((4, 2, 3)).T == 4)
    whole = made.labels.masks(written)[0]
    np.testing.assert_array_equal(whole, np.isin(tumour((4, 2, 3)).T, (2, 3)))


def test_the_mask_with_the_wrong_name_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = brats_case(tmp_path / "download" / "BraTS20_Training_355", ending=".nii")
    wrong = case / "W39_1998.09.19_Segm.nii"
    (case / "BraTS20_Training_355_seg.nii").rename(wrong)
    with caplog.at_level("INFO"):
        made = convert("brats", case.parent, tmp_path / "workspace", channels=["flair"])
    written, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(written, tumour((2, 1, 3)).T)
    assert "W39_1998.09.19_Segm.nii' is taken for BraTS20_Training_355_seg" in caplog.text


def test_labels_can_be_merged_to_the_tumour(tmp_path: Path) -> None:
    made = convert("brats", brats_2021(tmp_path), tmp_path / "workspace", labels=["tumour"])
    assert made.content["labels"] == {"background": 0, "tumour": 1}
    written, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(written, tumour((1, 2, 4)).T > 0)


def test_two_names_of_the_same_region_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a part of their own, got tumour, whole_tumour"):
        convert(
            "brats",
            brats_2021(tmp_path),
            tmp_path / "workspace",
            labels=["tumour", "whole_tumour"],
        )


def test_channels_are_taken_in_the_order_of_the_table(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    made = convert("brats", source, tmp_path / "workspace", channels=["T1ce", "flair"])
    assert made.content["channel_names"] == {"0": "flair", "1": "t1ce"}
    folder = source / "BraTS2021_Training_Data" / "BraTS2021_00000"
    before, _ = read_image([folder / "BraTS2021_00000_t1ce.nii.gz"])
    np.testing.assert_array_equal(read_image(made.training_cases[0].images)[0][1:], before)


def test_a_channel_that_is_not_asked_for_may_be_missing(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    for path in source.rglob("*_t1ce.nii.gz"):
        path.unlink()
    assert convert("brats", source, tmp_path / "workspace", channels=["flair"])
    with pytest.raises(DatasetError, match="BraTS2021_00000_t1ce.nii.gz, found none"):
        convert("brats", source, tmp_path / "other")


def test_a_training_case_without_a_mask_is_named_before_anything_is_written(
    tmp_path: Path,
) -> None:
    source = brats_2021(tmp_path)
    next(source.rglob("BraTS2021_00002_seg.nii.gz")).unlink()
    with pytest.raises(DatasetError, match=r"BraTS2021_00002': expected BraTS2021_00002_seg"):
        convert("brats", source, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_of_many_missing_files_the_first_are_named(tmp_path: Path) -> None:
    for number in range(22):
        (tmp_path / "download" / f"BraTS2021_{number:05d}").mkdir(parents=True)
    with pytest.raises(DatasetError, match="and 24 more") as caught:
        convert("brats", tmp_path / "download", tmp_path / "workspace", channels=["flair"])
    assert "BraTS2021_00000_seg.nii.gz, found none" in str(caught.value)


def test_a_folder_in_place_of_a_file_is_opened(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    packed = next(source.rglob("BraTS2021_00000_flair.nii.gz"))
    content = packed.read_bytes()
    packed.unlink()
    packed.mkdir()
    (packed / "00000057_brain_flair.nii.gz").write_bytes(content)
    made = convert("brats", source, tmp_path / "workspace", channels=["flair"])
    assert len(made.training_cases) == 2


def test_a_level_more_of_folders_does_no_harm(tmp_path: Path) -> None:
    brats_case(tmp_path / "download" / "BraTS2021_00003" / "BraTS2021_00003")
    made = convert("brats", tmp_path / "download", tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == ["BraTS2021_00003"]


def test_a_folder_for_training_and_validation_says_nothing(tmp_path: Path) -> None:
    source = tmp_path / "brats21-training-validation"
    brats_case(source / "BraTS2021_00000")
    brats_case(source / "ValidationData" / "BraTS2021_00001", values=None)
    made = convert("brats", source, tmp_path / "workspace", channels=["t2"])
    assert [case.case for case in made.training_cases] == ["BraTS2021_00000"]


@pytest.mark.parametrize("name", ["test_brats/all", "brats/latest"])
def test_a_name_of_the_user_makes_no_test_part(tmp_path: Path, name: str) -> None:
    source = tmp_path / name.split("/")[0]
    brats_case(tmp_path / name / "BraTS2021_00000")
    made = convert("brats", source, tmp_path / "workspace", channels=["t2"])
    assert [case.case for case in made.training_cases] == ["BraTS2021_00000"]


def test_endings_may_be_in_upper_case(tmp_path: Path) -> None:
    case = brats_case(tmp_path / "download" / "BraTS2021_00000", ending=".NII.GZ")
    made = convert("brats", case.parent, tmp_path / "workspace")
    assert not verify_dataset(made, num_processes=0).problems


def test_two_releases_side_by_side_are_refused(tmp_path: Path) -> None:
    brats_case(tmp_path / "download" / "BraTS20_Training_001")
    brats_case(tmp_path / "download" / "BraTS2021_00000")
    with pytest.raises(DatasetError, match="cases of one release"):
        convert("brats", tmp_path / "download", tmp_path / "workspace")


def test_a_release_with_other_labels_is_refused(tmp_path: Path) -> None:
    brats_case(tmp_path / "download" / "BraTS-PED-00001-000", values=(1, 2, 3))
    with pytest.raises(DatasetError, match="found brats-ped"):
        convert("brats", tmp_path / "download", tmp_path / "workspace")


def test_an_unknown_value_of_a_mask_names_file_and_value(tmp_path: Path) -> None:
    brats_case(tmp_path / "download" / "BraTS2021_00000", values=(1, 2, 3))
    with pytest.raises(DatasetError, match=r"00000_seg.nii.gz'.*values 0 to 2, 4, found 3"):
        convert("brats", tmp_path / "download", tmp_path / "workspace")


def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "BraTS2021_Training_Data.tar").write_bytes(b"0")
    with pytest.raises(DatasetError, match=r"expected folders like BraTS2021_00000.*unpack it"):
        convert("brats", tmp_path, tmp_path / "workspace")


def test_tags_say_which_slices_show_more_than_a_share(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    made = convert(
        "brats", source, tmp_path / "workspace", labels=["tumour"], tags=True, min_share=0.15
    )
    rows = [row for row in _rows(made.folder / "image_labels.csv") if row["case"][-1] == "0"]
    assert [row["slice"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row["tumour"] for row in rows] == ["0", "0", "1", "0", "0", "0"]  # 18, 12 of 80


def test_tags_of_p2_are_of_more_than_a_hundredth(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    made = convert(
        "brats",
        source,
        tmp_path / "workspace",
        channels=["flair"],
        labels=["tumour"],
        tags=True,
    )
    assert made.content["image_labels"] == "image_labels.csv"
    shown = {
        row["slice"] for row in _rows(made.folder / "image_labels.csv") if row["tumour"] == "1"
    }
    assert shown == {"2", "3"}
    assert not verify_dataset(made, num_processes=0, checks_labels=True).problems


def test_slices_are_images_with_their_pixels_and_spacing(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    made = convert("brats", source, tmp_path / "workspace", channels=["flair", "t1"], slices=True)
    assert len(made.training_cases) == 12
    case = made.training_cases[3]
    assert case.case == "BraTS2021_00000_z003"
    folder = source / "BraTS2021_Training_Data" / "BraTS2021_00000"
    before = nibabel.Nifti1Image.from_filename(folder / "BraTS2021_00000_t1.nii.gz")
    after = nibabel.Nifti1Image.from_filename(case.images[1])
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj)[:, :, 3])
    assert after.get_data_dtype() == before.get_data_dtype()
    assert after.header.get_zooms() == (1.0, 1.5)
    assert not verify_dataset(made, num_processes=0, checks_labels=True).problems


def test_slices_have_labels_masks_and_their_patient(tmp_path: Path) -> None:
    made = convert("brats", brats_2021(tmp_path), tmp_path / "workspace", slices=True)
    rows = {row["case"]: row for row in _rows(made.folder / "image_labels.csv")}
    assert rows["BraTS2021_00002_z002"]["enhancing_tumour"] == "1"
    assert rows["BraTS2021_00002_z004"]["whole_tumour"] == "0"
    mask, _ = read_label_map(made.folder / "labelsTr" / "BraTS2021_00002_z002.nii.gz")
    np.testing.assert_array_equal(mask, tumour((2, 1, 3)).T[2])
    assert made.patients["BraTS2021_00002_z004"] == "BraTS2021_00002"
    assert len(list((made.folder / "imagesTs").glob("BraTS2021_00001_z*_0000.nii.gz"))) == 6


def test_a_share_of_0_counts_a_single_pixel(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    mask = np.zeros((10, 8, 6), np.uint8)
    mask[4, 4, 1] = 2
    folder = source / "BraTS2021_Training_Data" / "BraTS2021_00000"
    save_nifti(folder / f"{folder.name}_seg.nii.gz", mask, spacing=SPACING)
    made = convert(
        "brats", source, tmp_path / "workspace", labels=["tumour"], tags=True, min_share=0.0
    )
    rows = [row for row in _rows(made.folder / "image_labels.csv") if row["case"][-1] == "0"]
    assert [row["tumour"] for row in rows] == ["0", "1", "0", "0", "0", "0"]


def test_a_share_without_tags_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--min_share works only with --tags or --slices"):
        convert("brats", brats_2021(tmp_path), tmp_path / "workspace", min_share=0.0)


def test_image_level_labels_can_be_planned(tmp_path: Path) -> None:
    made = convert(
        "brats", brats_2021(tmp_path), tmp_path / "workspace", channels=["flair"], tags=True
    )
    plan_and_preprocess(made.name, workspace=tmp_path / "workspace", num_processes=0)
    assert (tmp_path / "workspace" / "preprocessed" / made.name / "splits_final.json").is_file()


def test_a_case_that_lies_there_twice_is_named_with_both_folders(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    shutil.copytree(source / "BraTS2021_Training_Data", source / "copy")
    words = r"'BraTS2021_00000' once, found '.*BraTS2021_Training_Data/.*' and '.*copy/"
    with pytest.raises(DatasetError, match=words):
        convert("brats", source, tmp_path / "workspace")


def test_loose_files_need_a_folder_for_each_case(tmp_path: Path) -> None:
    source = brats_2021(tmp_path)
    loose = tmp_path / "loose"
    loose.mkdir()
    for path in source.rglob("BraTS2021_0000*.nii.gz"):
        shutil.copy(path, loose)
    with pytest.raises(DatasetError, match="move the files of each case into a folder"):
        convert("brats", loose, tmp_path / "workspace")
