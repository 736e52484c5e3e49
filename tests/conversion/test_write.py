"""A raw dataset is whole or absent, and a conversion continues."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from diffunet.api import convert_dataset
from diffunet.cli.convert import main
from diffunet.data.image_io import read_label_map
from diffunet.errors import DatasetError, InUseError, UsageError, WorkspaceError
from diffunet.locks import in_use
from tests.conversion.brats_downloads import brats_2021
from tests.conversion.downloads import convert, decathlon, save_nifti
from tests.conversion.photographs import chase


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Cut a file short, for a while."""
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    yield
    path.write_bytes(whole)


def refused(source: Path, workspace: Path, message: str, **wishes: object) -> None:
    with pytest.raises(DatasetError, match=message):
        convert("msd", source, workspace, **wishes)


def written_at(workspace: Path, file: str) -> int:
    """Return when the file of the one dataset, be it whole or not, was written."""
    (path,) = (workspace / "raw").glob(f"*/{file}")
    return path.stat().st_mtime_ns


def test_a_dataset_that_is_there_is_not_touched(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    made = convert("msd", source, tmp_path / "workspace")
    before = sorted(path.stat().st_mtime_ns for path in made.folder.rglob("*"))
    with pytest.raises(WorkspaceError, match="is there already"):
        convert("msd", source, tmp_path / "workspace")
    assert sorted(path.stat().st_mtime_ns for path in made.folder.rglob("*")) == before


def test_a_number_can_be_chosen(tmp_path: Path) -> None:
    made = convert("msd", decathlon(tmp_path), tmp_path / "workspace", dataset=17)
    assert made.name == "Dataset017_Hippocampus"


def test_a_download_without_a_number_gets_the_first_free_one(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    source = source.rename(source.with_name("hippo"))
    (tmp_path / "workspace" / "raw" / "Dataset001_Other").mkdir(parents=True)
    assert convert("msd", source, tmp_path / "workspace").name == "Dataset002_hippo"


def test_an_interrupted_conversion_goes_on(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    with damaged(source / "imagesTr" / "hippocampus_003.nii.gz"):
        refused(source, tmp_path / "workspace", "1 of 3 cases")
    before = written_at(tmp_path / "workspace", "imagesTr/hippocampus_001_0000.nii.gz")
    made = convert("msd", source, tmp_path / "workspace")
    assert written_at(tmp_path / "workspace", "imagesTr/hippocampus_001_0000.nii.gz") == before
    assert len(made.training_cases) == 2
    assert [path.name for path in made.folder.parent.iterdir()] == [made.name]


def test_a_case_whose_file_changed_is_written_again(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    with damaged(source / "imagesTr" / "hippocampus_003.nii.gz"):
        refused(source, tmp_path / "workspace", "1 of 3 cases")
    mask = np.full((5, 6, 4), 2, np.uint8)
    save_nifti(source / "labelsTr" / "hippocampus_001.nii.gz", mask, spacing=(1, 1, 2))
    made = convert("msd", source, tmp_path / "workspace")
    stored, _ = read_label_map(made.training_cases[0].labels["r00"])
    assert (stored == 2).all()


def test_a_reader_who_is_taken_out_of_the_download_leaves_no_mask(tmp_path: Path) -> None:
    source = tmp_path / "own"
    for folder in ("images", "Anna", "Ben", "Cleo"):
        for case in ("a", "b"):
            voxels = np.full((4, 4, 4), folder == "Cleo", np.uint8)
            save_nifti(source / folder / f"{case}.nii.gz", voxels)
    (source / "Ben" / "b.nii.gz").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="1 of 2 cases"):
        convert("observers", source, tmp_path / "workspace")
    shutil.rmtree(source / "Ben")
    made = convert("observers", source, tmp_path / "workspace")
    assert made.content["description"] == "r00: Anna; r01: Cleo"
    for files in made.training_cases:
        assert sorted(files.labels) == ["r00", "r01"]
        assert read_label_map(files.labels["r01"])[0].all()


def test_a_case_that_is_taken_out_of_the_download_leaves_no_file(tmp_path: Path) -> None:
    source = brats_2021(tmp_path, numbers=(0, 2, 3))
    folder = source / "BraTS2021_Training_Data"
    with (
        damaged(folder / "BraTS2021_00002" / "BraTS2021_00002_seg.nii.gz"),
        pytest.raises(DatasetError, match="1 of 4 cases"),
    ):
        convert("brats", source, tmp_path / "workspace")
    shutil.rmtree(folder / "BraTS2021_00003")
    made = convert("brats", source, tmp_path / "workspace")
    assert [files.case[-1] for files in made.training_cases] == ["0", "2"]


def test_faulty_cases_are_left_out_and_named_where_that_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = decathlon(tmp_path)
    with damaged(source / "labelsTr" / "hippocampus_003.nii.gz"):
        refused(source, tmp_path / "workspace", "--skip_faulty")
        made = convert("msd", source, tmp_path / "workspace", skip_faulty=True)
    assert [files.case for files in made.training_cases] == ["hippocampus_001"]
    assert made.content["numTraining"] == 1
    assert list(made.content["left_out"]) == ["hippocampus_003"]
    assert "'./labelsTr/hippocampus_003.nii.gz'" in made.content["left_out"]["hippocampus_003"]
    assert "1 of 3 cases could not be converted" in caplog.text
    assert not list(made.folder.rglob("*_003*"))


def test_a_dataset_without_faults_leaves_nothing_out(tmp_path: Path) -> None:
    made = convert("msd", decathlon(tmp_path), tmp_path / "workspace", skip_faulty=True)
    assert "left_out" not in made.content


def test_a_download_whose_training_cases_all_have_faults_is_refused(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    for path in (source / "labelsTr").glob("hip*"):
        path.write_bytes(b"no image")
    refused(source, tmp_path / "workspace", "2 of 3 cases", skip_faulty=True)


def test_labels_that_no_slice_shows_are_refused_with_what_was_converted_kept(
    tmp_path: Path,
) -> None:
    source = brats_2021(tmp_path)
    wishes = {"labels": ["tumour"], "tags": True}
    with pytest.raises(DatasetError, match=r"kept.* --min_share.*slice is 0\.225 for 'tumour'"):
        convert("brats", source, tmp_path / "workspace", min_share=0.5, **wishes)
    before = written_at(tmp_path / "workspace", "imagesTr/BraTS2021_00000_0000.nii.gz")
    convert("brats", source, tmp_path / "workspace", min_share=0.2, **wishes)
    assert written_at(tmp_path / "workspace", "imagesTr/BraTS2021_00000_0000.nii.gz") == before


def test_an_unfinished_conversion_keeps_its_number(tmp_path: Path) -> None:
    source, workspace = brats_2021(tmp_path), tmp_path / "workspace"
    seg = source / "BraTS2021_Training_Data" / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz"
    with damaged(seg), pytest.raises(DatasetError, match="1 of 3 cases"):
        convert("brats", source, workspace)
    other = decathlon(tmp_path)
    other = other.rename(other.with_name("hippo"))
    assert convert("msd", other, workspace).name == "Dataset002_hippo"
    assert convert("brats", source, workspace).name == "Dataset001_BraTS2021"


def test_a_link_and_a_path_with_dots_name_the_folder_that_they_lead_to(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    link = tmp_path / "a link"
    link.symlink_to(source, target_is_directory=True)
    for number, path in enumerate((link, source / "imagesTr" / "..")):
        made = convert("msd", path, tmp_path / f"workspace{number}")
        assert made.name == "Dataset004_Hippocampus"


def test_two_datasets_of_one_number_are_not_written_at_once(tmp_path: Path) -> None:
    source, workspace = brats_2021(tmp_path), tmp_path / "workspace"
    with ThreadPoolExecutor(1) as other, in_use(workspace / "raw", part="Dataset004"):
        made = other.submit(convert, "brats", source, workspace, dataset="Dataset004_Other")
        with pytest.raises(InUseError, match="is in use by"):
            made.result()


@pytest.mark.parametrize(("name", "make"), [("brats", brats_2021), ("chase", chase)])
def test_a_link_that_leads_back_is_not_followed(
    tmp_path: Path, name: str, make: Callable[[Path], Path]
) -> None:
    source = make(tmp_path / "download")
    (source / "again").symlink_to(source, target_is_directory=True)
    assert convert(name, source, tmp_path / "workspace").training_cases


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    one = convert_dataset("msd", source, workspace=tmp_path / "one", num_processes=0)
    two = convert_dataset("msd", source, workspace=tmp_path / "two", num_processes=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_an_option_that_means_nothing_for_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--slices has no meaning for the format 'msd'"):
        convert("msd", decathlon(tmp_path), tmp_path / "workspace", slices=True)


def test_an_unknown_format_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="msd, .*got 'decathlon'"):
        convert("decathlon", tmp_path, tmp_path / "workspace")


def test_the_command_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = decathlon(tmp_path)
    words = ["msd", str(source), "--workspace", str(tmp_path / "workspace"), "-np", "0"]
    assert main(words) == 0
    assert "next: diffunet_plan_and_preprocess -d Dataset004_Hippocampus" in capsys.readouterr().out
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


def test_work_for_another_request_is_removed_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = decathlon(tmp_path)
    (source / "labelsTr" / "hippocampus_001.nii.gz").write_bytes(b"")
    with pytest.raises(DatasetError, match="1 of 3 cases"):
        convert("msd", source, tmp_path / "workspace")
    other = decathlon(tmp_path / "elsewhere")
    convert("msd", other, tmp_path / "workspace")
    assert "unfinished conversion of another request, which is removed" in caplog.text
