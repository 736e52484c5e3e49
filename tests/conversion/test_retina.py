"""Photographs of the retina: CHASE_DB1, DRIVE and STARE."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffunet.api import plan_and_preprocess
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import CaseFiles, RawDataset
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.downloads import convert
from tests.conversion.photographs import chase, drive, mask, photograph, save, stare, white

MAKERS = {"chase": chase, "drive": drive, "stare": stare}


def labels_of(case: CaseFiles, rater: str) -> np.ndarray:
    return read_label_map(case.labels[rater])[0]


def cases_to_test(made: RawDataset) -> list[str]:
    return [case.case for case in made.test_cases]


@pytest.mark.parametrize("name, maker", MAKERS.items())
def test_what_is_made_has_no_fault(
    tmp_path: Path, name: str, maker: Callable[[Path], Path]
) -> None:
    made = convert(name, maker(tmp_path), tmp_path / "workspace")
    assert not verify_dataset(made, num_processes=0).problems
    assert made.labels.names == ("vessel",)
    assert made.channel_names == ("red", "green", "blue")
    assert made.has_raters


def test_the_eyes_of_a_child_stay_together(tmp_path: Path) -> None:
    made = convert("chase", chase(tmp_path), tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == [
        *("Image_01L", "Image_01R", "Image_02L", "Image_02R")
    ]
    assert set(made.patients.values()) == {"Image_01", "Image_02"}
    assert all(
        {case[:-1] for case in split.train}.isdisjoint(case[:-1] for case in split.val)
        for split in made.splits()
    )


def test_a_photograph_is_one_file_of_colours_with_a_mask_of_each_observer(tmp_path: Path) -> None:
    source = chase(tmp_path)
    made = convert("chase", source, tmp_path / "workspace")
    case = made.training_cases[1]
    image, _ = read_image(case.images)
    seen = np.asarray(Image.open(source / "Image_01R.jpg"))
    np.testing.assert_array_equal(image.transpose(1, 2, 0), seen)
    np.testing.assert_array_equal(labels_of(case, "r00"), mask(110))
    np.testing.assert_array_equal(labels_of(case, "r01"), mask(111))


def test_the_test_part_of_drive_is_kept_apart_with_both_observers(tmp_path: Path) -> None:
    made = convert("drive", drive(tmp_path), tmp_path / "workspace")
    assert [sorted(case.labels) for case in made.training_cases] == [["r00"], ["r00"]]
    assert cases_to_test(made) == ["01_test", "02_test"]
    np.testing.assert_array_equal(labels_of(made.test_cases[1], "r00"), white(52) // 255)
    np.testing.assert_array_equal(labels_of(made.test_cases[1], "r01"), white(102) // 255)


def test_outside_the_field_of_view_drive_is_what_the_observers_drew(tmp_path: Path) -> None:
    made = convert("drive", drive(tmp_path), tmp_path / "workspace")
    assert made.content["labels"] == {"background": 0, "vessel": 1}
    np.testing.assert_array_equal(labels_of(made.training_cases[0], "r00"), white(71) // 255)


def test_a_newer_drive_has_test_images_alone(tmp_path: Path) -> None:
    source = drive(tmp_path, has_test_masks=False)
    made = convert("drive", source, tmp_path / "workspace")
    assert cases_to_test(made) == ["01_test", "02_test"]
    assert not (made.folder / "labelsTs").exists()


@pytest.mark.parametrize("packed", [True, False])
def test_stare_is_read_packed_or_not(tmp_path: Path, packed: bool) -> None:
    made = convert("stare", stare(tmp_path, packed=packed), tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == ["im0001", "im0044"]
    image, _ = read_image(made.training_cases[1].images)
    np.testing.assert_array_equal(image.transpose(1, 2, 0), photograph(44))
    np.testing.assert_array_equal(labels_of(made.training_cases[1], "r01"), white(94) // 255)


def test_images_of_stare_that_nobody_drew_are_left_out(tmp_path: Path) -> None:
    source = stare(tmp_path)
    save(source / "all-images" / "im0400.ppm", photograph(3))
    made = convert("stare", source, tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == ["im0001", "im0044"]


def test_an_observer_whose_archive_was_not_unpacked_is_missed(tmp_path: Path) -> None:
    source = stare(tmp_path)
    for path in (source / "labels-vk").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"no mask NAME\.vk of observer r01 for 'im0001'"):
        convert("stare", source, tmp_path / "workspace")


def test_what_was_not_unpacked_is_named(tmp_path: Path) -> None:
    (tmp_path / "STARE").mkdir()
    (tmp_path / "STARE" / "stare-images.tar").touch()
    with pytest.raises(DatasetError, match=r"such as 'stare-images\.tar'; unpack it first"):
        convert("stare", tmp_path / "STARE", tmp_path / "workspace")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "CHASEDB1.zip").touch()
    with pytest.raises(DatasetError, match="found a file; unpack it"):
        convert("chase", tmp_path / "CHASEDB1.zip", tmp_path / "workspace")


def test_folders_do_not_matter(tmp_path: Path) -> None:
    source = chase(tmp_path)
    for path in source.glob("*HO.png"):
        save(tmp_path / "deep" / "er" / path.name.lower(), np.asarray(Image.open(path)))
        path.unlink()
    source.rename(tmp_path / "deep" / "images")
    made = convert("chase", tmp_path / "deep", tmp_path / "workspace")
    assert len(made.training_cases) == 4


def test_missing_masks_and_images_are_all_named_before_anything_is_written(tmp_path: Path) -> None:
    source = chase(tmp_path)
    (source / "Image_01R_2ndHO.png").unlink()
    (source / "Image_02L.jpg").unlink()
    with pytest.raises(DatasetError) as caught:
        convert("chase", source, tmp_path / "workspace")
    assert "no mask NAME_2ndHO of observer r01 for 'Image_01R'" in str(caught.value)
    assert "no image for the masks 'Image_02L_1stHO.png'" in str(caught.value)
    assert not (tmp_path / "workspace").exists()


def test_a_test_mask_that_is_missing_between_others_is_named(tmp_path: Path) -> None:
    source = drive(tmp_path)
    (source / "test" / "2nd_manual" / "02_manual2.gif").unlink()
    with pytest.raises(DatasetError, match="NAME_manual2 of observer r01 for '02_test'"):
        convert("drive", source, tmp_path / "workspace")


def test_two_copies_of_a_download_side_by_side_are_refused(tmp_path: Path) -> None:
    chase(tmp_path)
    chase(tmp_path / "again")
    with pytest.raises(DatasetError, match="expected 'Image_01L' once, found"):
        convert("chase", tmp_path, tmp_path / "workspace")


def test_damaged_files_are_all_named(tmp_path: Path) -> None:
    source = chase(tmp_path)
    for name in ("Image_01L.jpg", "Image_02R_1stHO.png"):
        (source / name).write_bytes((source / name).read_bytes()[:60])
    with pytest.raises(DatasetError) as caught:
        convert("chase", source, tmp_path / "workspace")
    assert "2 of 4 cases" in str(caught.value)
    assert "Image_01L.jpg" in str(caught.value)
    assert "Image_02R_1stHO.png" in str(caught.value)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    source = chase(tmp_path)
    save(source / "Image_01L_1stHO.png", mask(0)[:-1])
    with pytest.raises(DatasetError, match=r"size of 'Image_01L.jpg', 10 x 12 pixels, found 10 x"):
        convert("chase", source, tmp_path / "workspace")


def test_a_mask_that_was_saved_as_jpeg_is_refused(tmp_path: Path) -> None:
    source = chase(tmp_path)
    (source / "Image_01L_1stHO.png").unlink()
    save(source / "Image_01L_1stHO.jpg", white(1))
    with pytest.raises(DatasetError, match="found a JPEG, which blurs"):
        convert("chase", source, tmp_path / "workspace")


def test_a_dataset_of_photographs_can_be_planned(tmp_path: Path) -> None:
    made = convert("chase", chase(tmp_path), tmp_path / "workspace")
    plan_and_preprocess(made.name, workspace=tmp_path / "workspace", num_processes=0)
    assert list((tmp_path / "workspace").rglob("diffunet_plans.json"))
