"""Masks as public downloads name and write them, read from a folder of each reader."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from diffunet.conversion.reader_files import common_suffix
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.downloads import convert
from tests.conversion.photographs import photograph, save, white


def large_mask() -> np.ndarray:
    """Return (y, x) of 0 and 255: a disc, as JPEG would see a lesion."""
    y, x = np.ogrid[:60, :70]
    return ((y - 28) ** 2 + (x - 33) ** 2 < 300).astype(np.uint8) * 255


def source_of(folder: Path, mask_name: str, values: np.ndarray, **options: object) -> Path:
    """Make one image and the mask of one reader."""
    source = folder / "download"
    save(source / "images" / "a1.png", np.stack([values] * 3, axis=-1) // 2 + 20)
    save(source / "reader" / mask_name, values, **options)
    return source


def labels_of(source: Path, workspace: Path, **wishes: object) -> np.ndarray:
    made = convert("observers", source, workspace, **wishes)
    assert not verify_dataset(made, num_processes=0).problems
    return read_label_map(made.training_cases[0].labels["r00"])[0]


@pytest.mark.parametrize("name", ["a1_mask.png", "a1_segmentation.png", "a1-seg.png"])
def test_masks_may_add_one_ending_to_the_names_of_their_images(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path, name, large_mask())
    found = labels_of(source, tmp_path / "workspace")
    np.testing.assert_array_equal(found, large_mask() // 255)


def test_the_ending_is_what_most_masks_add() -> None:
    images = {"p1", "p12", "p3"}
    assert common_suffix({"p1_gt", "p12_gt", "p3_gt_1"}, images) == "_gt"
    assert common_suffix({"p1", "p12", "p3_gt"}, images) == ""
    assert common_suffix({"p12", "p1"}, images) == ""
    assert common_suffix({"p123"}, {"p12"}) == ""


def test_a_second_mask_of_one_image_is_named(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a1_mask.png", large_mask())
    for number in (2, 3):
        save(source / "images" / f"a{number}.png", photograph(number))
        save(source / "reader" / f"a{number}_mask.png", white(number))
    save(source / "reader" / "a1_mask_1.png", large_mask())
    with pytest.raises(DatasetError, match=r"no image for 'a1_mask_1.png'; .*join several masks"):
        convert("observers", source, tmp_path / "workspace")


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("is_colour", [False, True])
def test_black_and_white_saved_as_jpeg_is_restored(
    tmp_path: Path, quality: int, is_colour: bool
) -> None:
    source = source_of(tmp_path, "a1.png", large_mask())
    (source / "reader" / "a1.png").unlink()
    values = np.stack([large_mask()] * 3, axis=-1) if is_colour else large_mask()
    save(source / "reader" / "a1.jpg", values, quality=quality)
    assert len(np.unique(np.asarray(Image.open(source / "reader" / "a1.jpg")))) > 2
    found = labels_of(source, tmp_path / "workspace")
    np.testing.assert_array_equal(found, large_mask() // 255)


@pytest.mark.parametrize("white_value", [1, 128])
def test_other_values_in_a_jpeg_are_refused(tmp_path: Path, white_value: int) -> None:
    source = source_of(tmp_path, "a1.jpg", large_mask() // 255 * white_value, quality=95)
    with pytest.raises(DatasetError, match="black and white saved as JPEG, found a JPEG with"):
        convert("observers", source, tmp_path / "workspace")


def test_a_jpeg_of_several_labels_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a1.jpg", large_mask(), quality=95)
    with pytest.raises(DatasetError, match="found a JPEG, which blurs"):
        convert("observers", source, tmp_path / "workspace", labels=["disc", "cup"])


def test_values_say_which_label_is_which(tmp_path: Path) -> None:
    values = np.full((60, 70), 255, np.uint8)  # as REFUGE: white around a grey disc, the cup black
    values[10:40, 10:40], values[20:30, 20:30] = 128, 0
    source = source_of(tmp_path, "a1.bmp", values)
    wishes = {"labels": ["disc", "cup"], "values": [255, 128, 0]}
    found = labels_of(source, tmp_path / "workspace", **wishes)
    np.testing.assert_array_equal(found, np.select([values == 128, values == 0], [1, 2]))


def test_several_values_may_be_one_label(tmp_path: Path) -> None:
    values = np.array([[0, 1, 3], [6, 4, 5]], np.uint8).repeat(20, axis=0)  # as Gleason 2019
    source = source_of(tmp_path, "a1.png", values)
    wishes = {"labels": ["g3", "g4", "g5"], "values": ["0,1,6", "3", "4", "5"]}
    found = labels_of(source, tmp_path / "workspace", **wishes)
    np.testing.assert_array_equal(
        found, np.select([values == 3, values == 4, values == 5], [1, 2, 3])
    )


def test_a_value_that_was_not_given_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a1.png", large_mask())
    with pytest.raises(DatasetError, match=r"values 0, 1 of --values, .* found 255; name"):
        convert("observers", source, tmp_path / "workspace", labels=["x"], values=[0, 1])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([255, 0], r"expected 3: of the background and of disc, cup; got 2: 255 0"),
        ([255, 128, "x"], r"expected integers, .*, got 'x'"),
        ([255, 128, "0,255"], r"each value once, got 255 again in '0,255'"),
    ],
)
def test_values_have_to_fit_the_labels(tmp_path: Path, values: list[object], expected: str) -> None:
    source = source_of(tmp_path, "a1.png", large_mask())
    with pytest.raises(UsageError, match=expected):
        convert("observers", source, tmp_path / "workspace", labels=["disc", "cup"], values=values)


def test_values_need_labels(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a1.png", large_mask())
    with pytest.raises(UsageError, match="name the labels too"):
        convert("observers", source, tmp_path / "workspace", values=[0, 255])


def test_grey_pictures_saved_as_colours_become_one_channel(tmp_path: Path) -> None:
    source = source_of(tmp_path, "a1.png", large_mask())
    made = convert("observers", source, tmp_path / "workspace")
    assert made.channel_names == ("image",)
    image, _ = read_image(made.training_cases[0].images, num_channels=1)
    np.testing.assert_array_equal(image[0], large_mask() // 2 + 20)


def test_images_in_two_files_are_read(tmp_path: Path) -> None:
    source = tmp_path / "mhd"  # as PROMISE12
    values = np.random.default_rng(0).integers(0, 900, (4, 6, 5)).astype(np.int16)
    for place, name, array in (
        ("images", "Case00.mhd", values),
        ("reader", "Case00_segmentation.mhd", (values > 400).astype(np.int8)),
    ):
        (source / place).mkdir(parents=True)
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing((0.5, 0.6, 3.0))
        SimpleITK.WriteImage(image, str(source / place / name))
    made = convert("observers", source, tmp_path / "workspace")
    assert made.file_ending == ".mha"
    image, geometry = read_image(made.training_cases[0].images)
    np.testing.assert_array_equal(image[0], values)
    np.testing.assert_allclose(geometry.spacing_mm, (3.0, 0.6, 0.5))
    found, _ = read_label_map(made.training_cases[0].labels["r00"])
    np.testing.assert_array_equal(found, values > 400)
