"""What the check reads, and how it reports; its messages are tested in tests/test_bad_input.py."""

import os
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from diffunet.data.raw import case_checks
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.integrity import verify_dataset
from diffunet.data.raw.label_checks import digest_of
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import (
    SHAPE_3D,
    build_2d,
    build_3d,
    build_raters,
    build_tagged,
    image_2d,
    mask_2d,
    mask_3d,
    write_png,
    write_sheared_nifti,
)

Item = TypeVar("Item")


def test_progress_goes_over_every_case(tmp_path: Path) -> None:
    build_2d(tmp_path)
    seen = []

    def progress(items, total, description):
        for item in items:
            seen.append((item.case, total, description))
            yield item

    verify_dataset(tmp_path, num_processes=0, progress=progress)
    assert [total for _, total, _ in seen] == [4] * 4
    assert {description for *_, description in seen} == {"checking"}


def test_an_opened_dataset_is_verified_too(tmp_path: Path) -> None:
    build_2d(tmp_path)
    dataset = open_dataset(tmp_path)
    (tmp_path / "labelsTr/b.png").write_bytes(b"")
    report = verify_dataset(dataset, num_processes=0)
    assert len(report.problems) == 1
    with pytest.raises(DatasetError, match="case 'b'"):
        report.raise_problems()


def test_no_label_is_called_absent_where_masks_could_not_be_read(tmp_path: Path) -> None:
    build_2d(tmp_path)
    for path in (tmp_path / "imagesTr").iterdir():
        path.write_bytes(b"")
    report = verify_dataset(tmp_path, num_processes=0)
    assert report.problems
    assert not [text for text in report.warnings if "in no training label map" in text]


def test_no_label_is_called_absent_where_masks_have_other_names(tmp_path: Path) -> None:
    build_2d(tmp_path)
    for path in (tmp_path / "labelsTr").iterdir():
        path.rename(path.with_stem(f"{path.stem}_seg"))
    report = verify_dataset(tmp_path, num_processes=0)
    assert len(report.problems) == 1
    assert not [text for text in report.warnings if "in no training label map" in text]


def test_a_sound_report_raises_nothing(tmp_path: Path) -> None:
    build_2d(tmp_path)
    report = verify_dataset(tmp_path, num_processes=0)
    report.raise_problems()
    assert report.num_cases == 4
    assert report.checked_labels


def test_worker_processes_report_the_same(tmp_path: Path) -> None:
    build_2d(tmp_path)
    write_png(tmp_path / "labelsTr/a.png", 255 * mask_2d())
    (tmp_path / "imagesTr/c_0000.png").write_bytes(b"")
    in_process = verify_dataset(tmp_path, num_processes=0)
    assert len(in_process.problems) == 2
    assert verify_dataset(tmp_path, num_processes=2) == in_process


def test_label_files_beside_image_level_labels_are_opened_only_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tagged(tmp_path)
    write_png(tmp_path / "labelsTr/a.png", mask_2d())
    opened: list[Path] = []
    read = case_checks.read_label_map
    monkeypatch.setattr(
        case_checks, "read_label_map", lambda path: opened.append(path) or read(path)
    )
    report = verify_dataset(tmp_path, num_processes=0)
    assert (opened, report.checked_labels) == ([], False)
    assert verify_dataset(tmp_path, num_processes=0, checks_labels=True).checked_labels
    assert opened == [tmp_path / "labelsTr/a.png"]


def test_unreadable_label_maps_are_no_fault_where_they_are_not_asked_for(tmp_path: Path) -> None:
    build_tagged(tmp_path)
    write_png(tmp_path / "labelsTr/a.png", mask_2d())
    (tmp_path / "labelsTr/a.png").write_bytes(b"no image")
    assert verify_dataset(tmp_path, num_processes=0).problems == ()


def test_axes_that_are_not_perpendicular_are_no_fault(tmp_path: Path) -> None:
    build_3d(tmp_path)
    rng = np.random.default_rng(0)
    for channel in range(2):
        image = rng.normal(size=SHAPE_3D).astype(np.float32)
        write_sheared_nifti(tmp_path / f"imagesTr/a_{channel:04d}.nii.gz", image)
    write_sheared_nifti(tmp_path / "labelsTr/a.nii.gz", mask_3d())
    report = verify_dataset(tmp_path, num_processes=0)
    assert (report.problems, report.warnings) == ((), ())


def test_values_of_a_large_label_map_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_checks, "_VOXELS_AT_ONCE", 10)
    for dtype in (np.uint8, np.int16):
        label_map = np.zeros((7, 9), dtype)
        label_map[0, 0], label_map[-1, -1] = 3, 5
        assert case_checks._values_of(label_map) == {0, 3, 5}


def test_long_lists_are_cut(tmp_path: Path) -> None:
    build_2d(tmp_path)
    write_png(tmp_path / "labelsTr/a.png", np.arange(48, dtype=np.uint8).reshape(8, 6))
    for index in range(30):
        write_png(tmp_path / f"imagesTr/x{index:02d}.png", mask_2d())
    report = verify_dataset(tmp_path, num_processes=0)
    assert "found also 2, 3, 4" in report.problems[1]
    assert "21 and 26 more" in report.problems[1]
    assert "'x19' and 10 more" in report.problems[0].replace(".png", "")


def test_raters_who_drew_alike_once_or_nothing_are_no_copies(tmp_path: Path) -> None:
    build_raters(tmp_path)
    write_png(tmp_path / "labelsTr/a_r01.png", mask_2d())  # as r00, in this case alone
    for rater in ("r01", "r02"):
        write_png(tmp_path / f"labelsTr/b_{rater}.png", mask_2d(is_empty=True))
    write_png(tmp_path / "labelsTr/a_r02.png", mask_2d(is_empty=True))
    assert verify_dataset(tmp_path, num_processes=0).warnings == ()


def test_copies_among_training_masks_are_told_although_test_masks_differ(tmp_path: Path) -> None:
    build_raters(tmp_path)
    for case in ("a", "b"):
        write_png(tmp_path / f"labelsTr/{case}_r01.png", mask_2d())
    write_png(tmp_path / "imagesTs/c_0000.png", image_2d(seed=9))
    write_png(tmp_path / "labelsTs/c_r00.png", mask_2d())
    write_png(tmp_path / "labelsTs/c_r01.png", np.roll(mask_2d(), 1))
    (warning,) = verify_dataset(tmp_path, num_processes=0).warnings
    assert warning.startswith("labelsTr: raters r00 and r01 drew equal masks in all 2 cases")


def test_equal_masks_are_known_whatever_type_holds_them() -> None:
    assert digest_of(mask_3d()) == digest_of(mask_3d().astype(np.int64))
    assert digest_of(mask_3d()) != digest_of(np.roll(mask_3d(), 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_of_a_files_name_is_told_and_not_waited_for(tmp_path: Path) -> None:
    build_2d(tmp_path)
    (tmp_path / "imagesTr/a_0000.png").unlink()
    os.mkfifo(tmp_path / "imagesTr/a_0000.png")
    (problem,) = verify_dataset(tmp_path, num_processes=0).problems
    assert "found a pipe of this name" in problem


@pytest.mark.parametrize("name", ("Dataset002_CHASE", "Dataset004_Hippocampus"))
def test_real_datasets_are_sound(name: str, real_data: Path) -> None:
    report = verify_dataset(real_data / name, num_processes=0)
    assert (report.problems, report.warnings) == ((), ())
