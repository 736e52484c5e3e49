"""Raw datasets of nnU-Net v1."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import read_image
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.downloads import convert, nnunet_v1


def test_a_task_becomes_the_dataset_of_its_number(tmp_path: Path) -> None:
    source = nnunet_v1(tmp_path)
    made = convert("nnunet_v1", source, tmp_path / "workspace")
    assert made.name == "Dataset500_Own"
    assert made.content["channel_names"] == {"0": "T1", "1": "CT"}
    assert not verify_dataset(made, num_processes=0).problems
    for case in made.training_cases:
        before, _ = read_image(
            [source / "imagesTr" / f"{case.case}_{channel:04d}.nii.gz" for channel in range(2)]
        )
        np.testing.assert_array_equal(read_image(case.images)[0], before)


def test_masks_of_test_cases_are_kept(tmp_path: Path) -> None:
    made = convert("nnunet_v1", nnunet_v1(tmp_path), tmp_path / "workspace")
    assert (made.folder / "labelsTs" / "c_03.nii.gz").is_file()


def test_an_image_without_a_mask_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = nnunet_v1(tmp_path)
    (source / "labelsTr" / "a_01.nii.gz").unlink()
    with pytest.raises(DatasetError, match="none for 1, such as 'a_01'"):
        convert("nnunet_v1", source, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_files_that_were_unpacked_and_folders_in_other_case_are_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = nnunet_v1(tmp_path)
    shutil.copy(source / "labelsTr" / "a_01.nii.gz", source / "labelsTr" / "z_99.nii.gz")
    for path in list(source.rglob("*.nii.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    (source / "labelsTr").rename(source / "LabelsTr")
    made = convert("nnunet_v1", source, tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == ["a_01", "b_02"]
    assert "left out, since they have no image: 'z_99.nii'" in caplog.text


@pytest.mark.parametrize("format_name", ["nnunet_v1", "msd"])
def test_a_dataset_of_v2_needs_no_conversion(tmp_path: Path, format_name: str) -> None:
    source = nnunet_v1(tmp_path)
    content = json.loads((source / "dataset.json").read_text())
    content["channel_names"] = content.pop("modality")
    (source / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="is a raw dataset already"):
        convert(format_name, source, tmp_path / "workspace")
