"""What 0 means in a TIFF stands in the file: black, white, or a colour of a palette."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from diffunet.data.image_io import read_image, read_label_map
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import image_2d


@pytest.mark.parametrize("dtype", (np.uint8, np.uint16))
@pytest.mark.parametrize("compression", (None, "zlib"))
def test_where_0_is_white_values_are_turned_round(
    dtype: type, compression: str | None, tmp_path: Path
) -> None:
    values = image_2d(0).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", ~values, photometric="miniswhite", compression=compression)
    for array in (read_image([tmp_path / "a.tif"])[0][0], read_label_map(tmp_path / "a.tif")[0]):
        np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("compression", ("tiff_lzw", "tiff_adobe_deflate", None))
@pytest.mark.parametrize("is_bilevel", (False, True))
def test_every_compression_has_the_same_values_where_0_is_white(
    compression: str | None, is_bilevel: bool, tmp_path: Path
) -> None:
    values = image_2d(0) > 127 if is_bilevel else image_2d(0)
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 0})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].photometric == 0
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"])[0][0], values)


@pytest.mark.parametrize("compression", ("tiff_lzw", None))
def test_a_palette_is_colours_of_an_image_and_indices_of_a_label_map(
    compression: str | None, tmp_path: Path
) -> None:
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 128, 7])
    image.save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif")[0], indices)
    colours, _ = read_image([tmp_path / "a.tif"], num_channels=3)
    np.testing.assert_array_equal(colours[:, 1, 0], [0, 128, 7])
    np.testing.assert_array_equal(colours, np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))


def test_inks_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image_2d(0, 4), photometric="separated")
    with pytest.raises(DatasetError, match=r"photometric interpretation 5; save it as grey or RGB"):
        read_image([tmp_path / "a.tif"])


def test_real_numbers_have_no_white(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image_2d(0).astype(np.float32), photometric="miniswhite")
    with pytest.raises(DatasetError, match="MinIsBlack"):
        read_image([tmp_path / "a.tif"])


GREY = np.arange(30, dtype=np.uint8).reshape(5, 6)


def write_alpha(path: Path, *, alpha: np.ndarray, num_colours: int) -> None:
    tifffile.imwrite(
        path,
        np.stack([*(GREY + n for n in range(num_colours)), alpha], axis=-1),
        photometric="rgb" if num_colours == 3 else "minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )


@pytest.mark.parametrize("num_colours", (1, 3))
def test_opaque_alpha_is_no_channel(num_colours: int, tmp_path: Path) -> None:
    write_alpha(tmp_path / "a.tif", alpha=np.full_like(GREY, 255), num_colours=num_colours)
    array, _ = read_image([tmp_path / "a.tif"], num_channels=num_colours)
    np.testing.assert_array_equal(array, np.stack([GREY + n for n in range(num_colours)]))


def test_transparency_is_told(tmp_path: Path) -> None:
    write_alpha(tmp_path / "a.tif", alpha=GREY, num_colours=3)
    with pytest.raises(DatasetError, match=r"found 4; if the last one is transparency \(alpha\)"):
        read_image([tmp_path / "a.tif"], num_channels=3)


def test_a_mask_with_opaque_alpha_is_read(tmp_path: Path) -> None:
    colours = np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif")[0], GREY)


def test_jpeg_in_a_tiff_is_no_label_map(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression="jpeg")
    with pytest.raises(DatasetError, match="found JPEG in it, whose values blur"):
        read_label_map(tmp_path / "a.tif")
    assert read_image([tmp_path / "a.tif"])[0].shape == (1, 5, 6)
