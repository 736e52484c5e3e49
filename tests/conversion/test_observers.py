"""Images of anyone, with a folder of masks from each reader."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.downloads import convert, save_nifti
from tests.conversion.photographs import mask, photograph, save, white


def made_by(folder: Path, *, image_ending: str = ".jpg", mask_ending: str = ".png") -> Path:
    """Make two cases that Ben and Anna drew, but for the second, which Anna was not asked about."""
    source = folder / "my readers"
    for number, name in enumerate(("eye 1", "eye 2")):
        save(source / "images" / f"{name}{image_ending}", photograph(number))
        save(source / "Ben" / f"{name}{mask_ending}", white(10 + number))
    save(source / "Anna" / f"eye 1{mask_ending}", white(20))
    (source / "Anna" / "._eye 2.png").write_bytes(b"\0" * 30)
    (source / "__MACOSX" / "Anna").mkdir(parents=True)
    return source


def volumes(folder: Path) -> Path:
    source = folder / "volumes"
    for name in ("a", "b"):
        image = np.random.default_rng(1).normal(size=(5, 4, 3)).astype(np.float32)
        save_nifti(source / "images" / f"{name}.nii.gz", image, spacing=(1, 1, 3))
        drawn = np.zeros((5, 4, 3), np.uint8)
        drawn[1:3, 1:3, 1] = 255
        save_nifti(source / "reader" / f"{name}.nii.gz", drawn, spacing=(1, 1, 3))
    return source


def test_readers_are_numbered_by_the_names_of_their_folders(tmp_path: Path) -> None:
    made = convert("observers", made_by(tmp_path), tmp_path / "workspace")
    assert not verify_dataset(made, num_processes=0).problems
    assert made.content["description"] == "r00: Anna; r01: Ben"
    assert made.name == "Dataset001_my-readers"
    first = made.training_cases[0]
    np.testing.assert_array_equal(read_label_map(first.labels["r00"])[0], white(20) // 255)
    np.testing.assert_array_equal(read_label_map(first.labels["r01"])[0], white(10) // 255)


def test_a_reader_without_a_file_was_not_asked(tmp_path: Path) -> None:
    made = convert("observers", made_by(tmp_path), tmp_path / "workspace")
    assert [sorted(case.labels) for case in made.training_cases] == [["r00", "r01"], ["r01"]]


def test_a_photograph_is_decoded_once(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    made = convert("observers", source, tmp_path / "workspace")
    image, _ = read_image(made.training_cases[0].images)
    seen = np.asarray(Image.open(source / "images" / "eye 1.jpg"))
    np.testing.assert_array_equal(image.transpose(1, 2, 0), seen)
    assert made.channel_names == ("red", "green", "blue")


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".ppm.gz"])
def test_any_format_of_photographs_is_read(tmp_path: Path, ending: str) -> None:
    source = made_by(tmp_path, image_ending=ending, mask_ending=".gif")
    made = convert("observers", source, tmp_path / "workspace")
    image, _ = read_image(made.training_cases[1].images)
    np.testing.assert_array_equal(image.transpose(1, 2, 0), photograph(1))


def test_grey_photographs_make_one_channel(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    for path in (source / "images").iterdir():
        save(path.with_suffix(".png"), photograph(0)[..., 0].astype(np.uint16) * 9)
        path.unlink()
    made = convert("observers", source, tmp_path / "workspace", channels=["xray"])
    assert made.channel_names == ("xray",)
    image, _ = read_image(made.training_cases[0].images)
    np.testing.assert_array_equal(image[0], photograph(0)[..., 0].astype(np.uint16) * 9)


def test_volumes_keep_format_values_and_spacing(tmp_path: Path) -> None:
    source = volumes(tmp_path)
    made = convert("observers", source, tmp_path / "workspace", channels=["CT"], labels=["cyst"])
    assert not verify_dataset(made, num_processes=0).problems
    assert made.file_ending == ".nii.gz"
    before = nibabel.Nifti1Image.from_filename(source / "images" / "a.nii.gz")
    after = nibabel.Nifti1Image.from_filename(made.training_cases[0].images[0])
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
    np.testing.assert_array_equal(after.affine, before.affine)
    drawn, _ = read_label_map(made.training_cases[0].labels["r00"])
    assert np.count_nonzero(drawn == 1) == 4
    assert made.labels.names == ("cyst",)


def test_a_tiff_of_real_numbers_stays_one(tmp_path: Path) -> None:
    source = tmp_path / "tiffs"
    values = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
    (source / "images").mkdir(parents=True)
    tifffile.imwrite(source / "images" / "a.tif", values)
    save(source / "reader" / "a.tif", white(1))
    made = convert("observers", source, tmp_path / "workspace")
    assert made.file_ending == ".tif"
    np.testing.assert_array_equal(read_image(made.training_cases[0].images)[0][0], values)


def test_named_labels_are_kept_as_they_are(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    for path in source.glob("[AB]*/*.png"):
        save(path, mask(1).astype(np.uint8) * 2)
    made = convert("observers", source, tmp_path / "workspace", labels=["cup", "disc"])
    found, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(found, mask(1) * 2)
    assert made.content["labels"] == {"background": 0, "cup": 1, "disc": 2}


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    save(source / "Anna" / "eye 1.png", mask(1).astype(np.uint8) * 3)
    with pytest.raises(
        DatasetError, match=r"eye 1.png': expected the labels 0 to 2, .* found 0, 3"
    ):
        convert("observers", source, tmp_path / "workspace", labels=["cup", "disc"])


def test_a_negative_label_is_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path, mask_ending=".tif")
    tifffile.imwrite(source / "Anna" / "eye 1.tif", mask(1).astype(np.int16) * -1)
    with pytest.raises(DatasetError, match=r"eye 1.tif': expected the labels 0 to 2, .* found -1"):
        convert("observers", source, tmp_path / "workspace", labels=["cup", "disc"])


def test_names_may_be_in_two_forms_of_unicode(tmp_path: Path) -> None:
    source = tmp_path / "names"
    save(source / "images" / "h\u00e9.jpg", photograph(0))
    save(source / "reader" / "he\u0301.png", white(1))
    made = convert("observers", source, tmp_path / "workspace")
    assert [case.case for case in made.training_cases] == ["h\u00e9"]


def test_a_third_value_is_refused_without_named_labels(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    save(source / "Anna" / "eye 1.png", photograph(1)[..., 0])
    with pytest.raises(DatasetError, match=r"Anna/eye 1.png': expected a mask of 0 and 1, or of 0"):
        convert("observers", source, tmp_path / "workspace")


def test_images_that_nobody_read_are_to_be_predicted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = made_by(tmp_path)
    save(source / "images" / "eye 3.jpg", photograph(9))
    with caplog.at_level(logging.INFO):
        made = convert("observers", source, tmp_path / "workspace")
    assert [case.case for case in made.test_cases] == ["eye 3"]
    assert "images that nobody read go to imagesTs: 'eye 3'" in caplog.text


def test_masks_without_an_image_are_all_named_before_anything_is_written(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    save(source / "Anna" / "eye_2.png", white(1))
    save(source / "Ben" / "Eye 1 copy.png", white(1))
    with pytest.raises(DatasetError) as caught:
        convert("observers", source, tmp_path / "workspace")
    assert "Anna': expected masks with the names of images" in str(caught.value)
    assert "no image for 'Eye 1 copy.png'" in str(caught.value)
    assert not (tmp_path / "workspace").exists()


def test_all_masks_of_several_labels_as_jpeg_are_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path, mask_ending=".jpeg")
    with pytest.raises(DatasetError, match=r"(?s)1\.jpeg': .*found a JPEG.*2\.jpeg'"):
        convert("observers", source, tmp_path / "workspace", labels=["cup", "disc"])


def test_one_name_in_two_formats_is_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    save(source / "images" / "eye 1.png", photograph(1))
    with pytest.raises(DatasetError, match="expected 'eye 1' once"):
        convert("observers", source, tmp_path / "workspace")


def test_volumes_between_photographs_are_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    save_nifti(source / "images" / "v.nii.gz", np.zeros((3, 3, 3), np.int16))
    with pytest.raises(DatasetError, match="expected images of one kind"):
        convert("observers", source, tmp_path / "workspace")


def test_a_mask_of_another_kind_than_its_photograph_is_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    (source / "Anna" / "eye 1.png").unlink()
    save_nifti(source / "Anna" / "eye 1.nii.gz", np.zeros((10, 12), np.uint8))
    with pytest.raises(DatasetError, match=r"eye 1.nii.gz': expected one of .jpg"):
        convert("observers", source, tmp_path / "workspace")


def test_patients_of_the_users_table_are_kept(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    save(source / "images" / "eye 3.jpg", photograph(9))
    (source / "patients.csv").write_text("case,patient\neye 1,p\neye 2,p\neye 3,q\n")
    made = convert("observers", source, tmp_path / "workspace")
    assert made.patients == {"eye 1": "p", "eye 2": "p", "eye 3": "q"}


def test_a_table_that_lacks_a_case_is_refused(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    (source / "patients.csv").write_text("case,patient\neye 1,p\n")
    with pytest.raises(DatasetError, match="found none for 1: 'eye 2'"):
        convert("observers", source, tmp_path / "workspace")


def test_other_files_between_images_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = made_by(tmp_path)
    (source / "images" / "notes.txt").touch()
    with caplog.at_level(logging.INFO):
        convert("observers", source, tmp_path / "workspace")
    assert "since they are no images: 'notes.txt'" in caplog.text


def test_the_folder_above_will_do(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    (source / "images").rename(source / "Images")
    made = convert("observers", source.parent, tmp_path / "workspace")
    assert len(made.training_cases) == 2


def test_a_folder_without_images_says_what_is_expected(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    (source / "images").rename(source / "pictures")
    with pytest.raises(DatasetError, match="expected images/CASE.jpg, and READER/CASE.png"):
        convert("observers", source, tmp_path / "workspace")


@pytest.mark.parametrize("missing", ["images", "readers"])
def test_images_and_readers_are_both_needed(tmp_path: Path, missing: str) -> None:
    source = made_by(tmp_path)
    for path in source.rglob("*.*"):
        if path.is_file() and (path.parent.name == "images") == (missing == "images"):
            path.unlink()
    if missing == "readers":
        (source / "Anna").rmdir()
        (source / "Ben").rmdir()
    with pytest.raises(DatasetError, match="found no (image|folder of a reader)"):
        convert("observers", source, tmp_path / "workspace")


def test_an_empty_folder_is_no_reader(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    (source / "Carl").mkdir()
    with pytest.raises(DatasetError, match="Carl': expected the masks of a reader, found none"):
        convert("observers", source, tmp_path / "workspace")


def test_each_channel_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"each of the 3 channel\(s\) .* got 1: CT"):
        convert("observers", made_by(tmp_path), tmp_path / "workspace", channels=["CT"])


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    source = made_by(tmp_path)
    (source / "images" / "eye 1.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    with pytest.raises(DatasetError, match="1 of 2 cases .*\n- .*images/eye 1.jpg"):
        convert("observers", source, tmp_path / "workspace")


def test_a_folder_too_low_is_told_the_one_above(tmp_path: Path) -> None:
    for folder in ("images", "Anna"):
        save(tmp_path / "own" / folder / "a.png", white(1))
    for folder in ("images", "Anna"):
        with pytest.raises(DatasetError, match="did you mean '.*own'"):
            convert("observers", tmp_path / "own" / folder, tmp_path / "workspace")


def test_what_lies_in_place_of_masks_is_named(tmp_path: Path) -> None:
    save(tmp_path / "own" / "images" / "a.png", white(1))
    save(tmp_path / "own" / "masks" / "Anna" / "a.png", white(1))
    (tmp_path / "own" / "Ben").mkdir()
    (tmp_path / "own" / "Ben" / "a.json").write_text('{"shapes": []}')
    words = r"(?s)found 'a\.json'; export outlines.*found folders: 'Anna'; move them up, beside"
    with pytest.raises(DatasetError, match=words):
        convert("observers", tmp_path / "own", tmp_path / "workspace")


@pytest.mark.parametrize("ending", [".nii.gz", ".tif"])
def test_a_damaged_first_image_is_the_fault_of_its_case_alone(tmp_path: Path, ending: str) -> None:
    source = tmp_path / "own"
    for case in "ab":
        if ending == ".tif":
            save(source / "images" / f"{case}.tif", photograph(1))
            save(source / "Anna" / f"{case}.png", white(1))
        else:
            for folder in ("images", "Anna"):
                save_nifti(source / folder / f"{case}.nii.gz", np.ones((4, 4, 4), np.uint8))
    (source / "images" / f"a{ending}").write_bytes(b"")
    made = convert("observers", source, tmp_path / "workspace", skip_faulty=True)
    assert [case.case for case in made.training_cases] == ["b"]
    assert list(made.content["left_out"]) == ["a"]
