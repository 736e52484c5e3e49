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
