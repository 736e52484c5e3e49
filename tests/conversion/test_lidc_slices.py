"""LIDC-IDRI as slices in PNG."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffunet.api import plan_and_preprocess
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.downloads import convert
from tests.conversion.lidc_downloads import lidc_dicom, lidc_pickle, lidc_slices, save_png

NODULE = Path("LIDC-IDRI-slices", "LIDC-IDRI-0003", "nodule-10")


def test_each_slice_becomes_a_case_of_its_patient(tmp_path: Path) -> None:
    made = convert("lidc", lidc_slices(tmp_path), tmp_path / "workspace")
    assert made.patients == {
        "LIDC-IDRI-0001_n00_s000": "LIDC-IDRI-0001",
        "LIDC-IDRI-0001_n00_s001": "LIDC-IDRI-0001",
        "LIDC-IDRI-0003_n00_s000": "LIDC-IDRI-0003",
        "LIDC-IDRI-0003_n10_s000": "LIDC-IDRI-0003",
        "LIDC-IDRI-0003_n10_s001": "LIDC-IDRI-0003",
    }
    assert not verify_dataset(made, num_processes=0).problems
    plan_and_preprocess(made.name, workspace=tmp_path / "workspace", num_processes=0)


def test_images_are_kept_and_masks_become_0_and_1(tmp_path: Path) -> None:
    source = lidc_slices(tmp_path)
    made = convert("lidc", source, tmp_path / "workspace")
    case = made.training_cases[-1]
    with Image.open(source / NODULE / "images" / "slice-1.png") as before:
        np.testing.assert_array_equal(read_image(case.images)[0][0], np.asarray(before))
    sums = [read_label_map(path)[0].sum() for path in case.labels.values()]
    assert sums == [20, 25, 30, 0]


@pytest.mark.parametrize("level", [".", "LIDC-IDRI-slices", "LIDC-IDRI-slices/LIDC-IDRI-0003"])
def test_folders_above_and_below_are_taken(tmp_path: Path, level: str) -> None:
    made = convert("lidc", lidc_slices(tmp_path) / level, tmp_path / "workspace")
    assert len(made.training_cases) == (3 if level.endswith("3") else 5)


def test_missing_masks_are_named_before_anything_is_written(tmp_path: Path) -> None:
    source = lidc_slices(tmp_path)
    shutil.rmtree(source / NODULE / "mask-2")
    with pytest.raises(DatasetError, match=r"nodule-10/mask-2/slice-0.png': expected a mask"):
        convert("lidc", source, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("value", [1, 254, 255])
def test_any_usual_foreground_is_1(tmp_path: Path, value: int) -> None:
    source = lidc_slices(tmp_path)
    path = source / NODULE / "mask-0" / "slice-1.png"
    mask = np.zeros((16, 16))
    mask[3:5, 2:9] = value
    save_png(path, mask)
    made = convert("lidc", source, tmp_path / "workspace")
    found, _ = read_label_map(made.training_cases[-1].labels["r00"])
    np.testing.assert_array_equal(found, mask > 0)


@pytest.mark.parametrize("values", [[0, 7], [0, 1, 255], [0, 3, 90, 200]])
def test_a_mask_of_other_values_is_refused(tmp_path: Path, values: list[int]) -> None:
    source = lidc_slices(tmp_path)
    save_png(source / NODULE / "mask-1" / "slice-0.png", np.resize(values, (16, 16)))
    words = "mask-1/slice-0.png': expected a mask of 0 and 1, or of 0 and 255, found 0, "
    with pytest.raises(DatasetError, match=words):
        convert("lidc", source, tmp_path / "workspace")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    source = lidc_slices(tmp_path)
    save_png(source / NODULE / "mask-1" / "slice-0.png", np.zeros((16, 15)))
    with pytest.raises(DatasetError, match="mask-1/slice-0.png': expected the shape"):
        convert("lidc", source, tmp_path / "workspace")


def test_another_folder_is_told_all_three_layouts(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    words = r"STUDY/SERIES/.*nodule-0/.*data_lidc.pickle; found "
    with pytest.raises(DatasetError, match=words):
        convert("lidc", tmp_path / "photos", tmp_path / "workspace")


def test_several_downloads_side_by_side_are_not_mixed(tmp_path: Path) -> None:
    lidc_pickle(tmp_path / "downloads")
    lidc_slices(tmp_path / "downloads")
    lidc_dicom(tmp_path / "downloads")
    with pytest.raises(
        DatasetError,
        match=r"found pickles \('.*'\) and PNG slices \('.*'\) and DICOM files \('.*'\); name",
    ):
        convert("lidc", tmp_path / "downloads", tmp_path / "workspace")
