"""Tasks of the Decathlon."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.downloads import convert, decathlon


def test_a_task_becomes_the_dataset_of_its_number(tmp_path: Path) -> None:
    made = convert("msd", decathlon(tmp_path), tmp_path / "workspace")
    assert made.name == "Dataset004_Hippocampus"
    assert [case.case for case in made.training_cases] == ["hippocampus_001", "hippocampus_003"]
    assert made.labels.names == ("Anterior", "Posterior")
    assert made.content["licence"] == "CC-BY-SA 4.0"
    assert not verify_dataset(made, num_processes=0).problems


def test_voxels_and_places_are_those_of_the_download(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    made = convert("msd", source, tmp_path / "workspace")
    for kind, name in (("images", "hippocampus_001_0000"), ("labels", "hippocampus_001")):
        before = nibabel.Nifti1Image.from_filename(source / f"{kind}Tr" / "hippocampus_001.nii.gz")
        after = nibabel.Nifti1Image.from_filename(made.folder / f"{kind}Tr" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
        np.testing.assert_array_equal(after.affine, before.affine)


def test_the_fourth_axis_becomes_one_file_per_channel(tmp_path: Path) -> None:
    source = decathlon(tmp_path, num_channels=2)
    made = convert("msd", source, tmp_path / "workspace")
    before = np.asarray(
        nibabel.Nifti1Image.from_filename(source / "imagesTr" / "hippocampus_001.nii.gz").dataobj
    )
    files = made.training_cases[0].images
    assert len(files) == 2
    image, _ = read_image(files)
    np.testing.assert_array_equal(image, before.transpose(3, 2, 1, 0))


def test_test_images_are_kept_without_masks(tmp_path: Path) -> None:
    made = convert("msd", decathlon(tmp_path), tmp_path / "workspace")
    assert [path.name for path in (made.folder / "imagesTs").iterdir()] == [
        "hippocampus_002_0000.nii.gz"
    ]
    assert not (made.folder / "labelsTs").exists()


def test_files_that_were_unpacked_are_found(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    packed = source / "labelsTr" / "hippocampus_001.nii.gz"
    nibabel.save(nibabel.Nifti1Image.from_filename(packed), packed.with_suffix(""))
    packed.unlink()
    made = convert("msd", source, tmp_path / "workspace")
    mask, _ = read_label_map(made.training_cases[0].labels["r00"])
    assert set(np.unique(mask)) == {0, 1, 2}


def test_the_folder_above_is_recognised(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "download")
    with pytest.raises(DatasetError, match="did you mean.*Task04_Hippocampus"):
        convert("msd", tmp_path, tmp_path / "workspace")
    with pytest.raises(DatasetError, match="did you mean.*Task04_Hippocampus'"):
        convert("msd", source / "labelsTr", tmp_path / "workspace")


def test_damaged_files_are_all_named(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    for path in ("labelsTr/hippocampus_001.nii.gz", "imagesTr/hippocampus_003.nii.gz"):
        (source / path).write_bytes((source / path).read_bytes()[:100])
    with pytest.raises(DatasetError) as caught:
        convert("msd", source, tmp_path / "workspace")
    assert "2 of 3 cases" in str(caught.value)
    assert "labelsTr/hippocampus_001.nii.gz" in str(caught.value)
    assert "imagesTr/hippocampus_003.nii.gz" in str(caught.value)
    assert not (tmp_path / "workspace" / "raw" / "Dataset004_Hippocampus").exists()


def changed(source: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads((source / "dataset.json").read_text())
    change(content)
    (source / "dataset.json").write_text(json.dumps(content))
    return source


def test_missing_files_are_named_before_anything_is_written(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    for name in ("hippocampus_001", "hippocampus_003"):
        (source / "labelsTr" / f"{name}.nii.gz").unlink()
    words = r"(?s)labelsTr/hippocampus_001\.nii\.gz': expected this file.*hippocampus_003"
    with pytest.raises(DatasetError, match=words):
        convert("msd", source, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_a_test_part_that_was_not_kept_is_not_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = decathlon(tmp_path)
    shutil.rmtree(source / "imagesTs")
    made = convert("msd", source, tmp_path / "workspace")
    assert len(made.training_cases) == 2
    assert "of the 1 test images that dataset.json lists none is there" in caplog.text


@pytest.mark.parametrize("start", [".\\", "C:\\data\\Task04\\", "/home/me/Task04/"])
def test_paths_of_another_machine_lead_to_the_files(tmp_path: Path, start: str) -> None:
    separator = "/" if start.startswith("/") else "\\"

    def change(content: dict[str, Any]) -> None:
        for entry in content["training"]:
            for key, path in entry.items():
                entry[key] = start + path[2:].replace("/", separator)

    source = changed(decathlon(tmp_path), change)
    (source / "imagesTr").rename(source / "ImagesTr")
    assert len(convert("msd", source, tmp_path / "workspace").training_cases) == 2


def test_images_that_are_not_listed_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = changed(decathlon(tmp_path), lambda content: content["training"].pop())
    assert len(convert("msd", source, tmp_path / "workspace").training_cases) == 1
    assert "left out of 'imagesTr': 'hippocampus_003.nii.gz', not in" in caplog.text


def test_a_case_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    source = changed(
        decathlon(tmp_path), lambda content: content["training"].append(content["training"][0])
    )
    words = r"dataset\.json': expected each case once, found 'hippocampus_001' 2 times"
    with pytest.raises(DatasetError, match=words):
        convert("msd", source, tmp_path / "workspace")


def test_a_mask_that_lies_elsewhere_than_its_image_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = decathlon(tmp_path)
    path = source / "labelsTr" / "hippocampus_001.nii.gz"
    mask = nibabel.Nifti1Image.from_filename(path)
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), affine), path)
    convert("msd", source, tmp_path / "workspace")
    assert "'hippocampus_001.nii.gz' has the direction" in caplog.text
    assert "voxels are taken to match by index" in caplog.text


def test_a_mask_in_another_orientation_is_turned_to_its_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = decathlon(tmp_path)
    path = source / "labelsTr" / "hippocampus_001.nii.gz"
    drawn = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)
    mask = nibabel.Nifti1Image.from_filename(path).as_reoriented([[1, -1], [0, 1], [2, 1]])
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), mask.affine), path)
    converted = convert("msd", source, tmp_path / "workspace")
    assert "it was turned to its image" in caplog.text
    label_maps = [
        nibabel.Nifti1Image.from_filename(files.labels["r00"])
        for files in converted.training_cases
        if files.case == "hippocampus_001"
    ]
    assert np.array_equal(np.asarray(label_maps[0].dataobj), drawn)


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    path = source / "labelsTr" / "hippocampus_001.nii.gz"
    loaded = nibabel.Nifti1Image.from_filename(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(loaded.dataobj)[:-1], loaded.affine), path)
    with pytest.raises(DatasetError, match="expected the shape"):
        convert("msd", source, tmp_path / "workspace")


@pytest.mark.parametrize("key", ["modality", "labels", "training"])
def test_a_description_without_what_it_needs_says_so(tmp_path: Path, key: str) -> None:
    source = decathlon(tmp_path)
    content = json.loads((source / "dataset.json").read_text())
    del content[key]
    (source / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=f"expected '{key}'"):
        convert("msd", source, tmp_path / "workspace")
