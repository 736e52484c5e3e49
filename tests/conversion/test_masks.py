"""Values of drawn masks become labels by strict rules."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffunet.conversion.binary import binary_mask
from diffunet.conversion.photographs import read_photographed
from diffunet.errors import DatasetError
from tests.conversion.photographs import mask, photograph, save


@pytest.mark.parametrize("drawn", [1, 254, 255, 65535])
def test_white_is_1(drawn: int) -> None:
    found = binary_mask(np.array([[0, drawn], [drawn, 0]]), where="m")
    assert found.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("values", [[0, 0], [255, 255]])
def test_a_mask_may_be_empty_or_full(values: list[int]) -> None:
    assert binary_mask(np.array(values), where="m").tolist() == [value // 255 for value in values]


@pytest.mark.parametrize("values", [[0, 254, 255], [0, 1, 2], [0, 2], [0, 128], [-1, 0]])
def test_any_other_value_is_refused(values: list[int]) -> None:
    with pytest.raises(DatasetError, match="expected a mask of 0 and 1, or"):
        binary_mask(np.array(values), where="m")


def drawn_as(path: Path, folder: Path) -> np.ndarray:
    image = save(folder / "a.jpg", photograph(0))
    (case,) = read_photographed("a", image, {"r00": path}, rule=binary_mask)
    return case.masks["r00"]


@pytest.mark.parametrize("ending", [".png", ".gif", ".tif", ".bmp", ".pbm", ".pgm", ".ppm.gz"])
def test_a_mask_is_read_from_any_lossless_format(tmp_path: Path, ending: str) -> None:
    values = np.stack([mask(3)] * 3, axis=-1).astype(np.uint8) * 255
    values = values if "ppm" in ending else values[..., 0]
    np.testing.assert_array_equal(
        drawn_as(save(tmp_path / f"m{ending}", values), tmp_path), mask(3)
    )


def test_of_a_palette_with_colours_the_indices_count(tmp_path: Path) -> None:
    image = Image.fromarray(mask(3).astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(drawn_as(tmp_path / "m.png", tmp_path), mask(3))


def test_a_mask_in_colours_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", photograph(4))
    with pytest.raises(DatasetError, match="expected a grey mask, found colours"):
        drawn_as(path, tmp_path)


def test_grey_photographs_between_colours_get_three_equal_channels(tmp_path: Path) -> None:
    grey = photograph(1)[..., 0]
    image = save(tmp_path / "a.png", grey)
    (case,) = read_photographed("a", image, {}, rule=binary_mask)
    np.testing.assert_array_equal(case.image, np.stack([grey] * 3))


def test_a_photograph_of_sixteen_bits_between_colours_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", photograph(1)[..., 0].astype(np.uint16) * 100)
    with pytest.raises(DatasetError, match="expected a colour photograph of 8 bits"):
        list(read_photographed("a", image, {}, rule=binary_mask))
