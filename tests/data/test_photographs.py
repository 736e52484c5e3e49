"""Photographs are read upright, with their values, from lossy and packed files."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from diffunet.data.image_io.photograph import photograph_ending_of, read_photograph
from diffunet.errors import DatasetError

RANDOM = np.random.default_rng(5)
COLOURS = RANDOM.integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (4, 6), dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options: Any) -> Path:
    target = path.with_suffix("") if path.suffix == ".gz" else path
    Image.fromarray(array).save(target, **options)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(target.read_bytes()))
    return path


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".TIFF", ".ppm", ".ppm.gz"])
def test_colours_are_those_of_the_file(tmp_path: Path, ending: str) -> None:
    array, geometry = read_photograph(save(tmp_path / f"a{ending}", COLOURS))
    np.testing.assert_array_equal(array, COLOURS.transpose(2, 0, 1))
    assert geometry.shape == (4, 6)
    assert not geometry.has_spacing


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".gif", ".pgm", ".pgm.gz"])
def test_a_grey_file_shows_its_values(tmp_path: Path, ending: str) -> None:
    array, _ = read_photograph(save(tmp_path / f"a{ending}", GREY))
    assert all(np.array_equal(channel, GREY) for channel in array)


def test_a_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.JPG", COLOURS)
    array, _ = read_photograph(path)
    np.testing.assert_array_equal(array.transpose(1, 2, 0), np.asarray(Image.open(path)))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_as_its_exif_tag_says(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{ending}", COLOURS, exif=exif)
    seen = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    array, geometry = read_photograph(path)
    np.testing.assert_array_equal(array.transpose(1, 2, 0), seen)
    assert geometry.shape == seen.shape[:2]


def test_sixteen_bits_of_a_pgm_are_kept(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 65536, (3, 5), dtype=np.uint16)
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n5 3\n65535\n" + values.astype(">u2").tobytes())
    array, _ = read_photograph(path)
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array[0], values)


def test_colours_of_sixteen_bits_are_refused_where_half_would_be_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6\n# scanned\n2 1\n65535\n" + bytes(12))
    with pytest.raises(DatasetError, match="expected RGB of 8 bits, found values up to 65535"):
        read_photograph(path)


def test_a_palette_has_colours_or_labels(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    image.putpalette([0, 0, 0, 200, 10, 30, 0, 90, 0])
    image.save(tmp_path / "a.gif")
    colours, _ = read_photograph(tmp_path / "a.gif")
    assert colours[:, 0, 1].tolist() == [200, 10, 30]
    indices, _ = read_photograph(tmp_path / "a.gif", is_label=True)
    assert len(np.unique(indices)) == 3


def test_a_film_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match="expected one image, found 2 frames"):
        read_photograph(tmp_path / "a.gif")


def test_the_photograph_of_a_telephone_is_the_first_of_its_images(tmp_path: Path) -> None:
    first = Image.fromarray(COLOURS)
    first.save(
        tmp_path / "a.jpg",
        format="MPO",
        save_all=True,
        append_images=[Image.fromarray(COLOURS // 2)],
    )
    array, _ = read_photograph(tmp_path / "a.jpg")
    np.testing.assert_array_equal(
        array.transpose(1, 2, 0), np.asarray(Image.open(tmp_path / "a.jpg"))
    )


@pytest.mark.parametrize("ending", [".jpg", ".png", ".gif", ".ppm", ".ppm.gz", ".tif"])
def test_a_truncated_file_names_itself(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"a{ending}", np.tile(COLOURS[..., 0], (20, 20)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=f"a{ending}': expected"):
        read_photograph(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffunet.data.image_io.pillow.max_image_bytes", lambda: 1000)
    monkeypatch.setattr("diffunet.data.image_io.bounds.max_image_bytes", lambda: 1000)
    path = tmp_path / "a.ppm.gz"
    path.write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(DatasetError, match="GB of voxels"):
        read_photograph(path)


@pytest.mark.parametrize(
    "name, ending", [("a.PPM.GZ", ".ppm.gz"), ("a.b.Jpeg", ".jpeg"), ("a.nii.gz", None)]
)
def test_the_ending_is_found_in_any_case(name: str, ending: str | None) -> None:
    assert photograph_ending_of(Path(name)) == ending


def test_a_photograph_in_the_colours_of_a_printer_is_told(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 6)).save(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match="found the mode CMYK; convert its colours, as 8 or 16"):
        read_photograph(tmp_path / "a.jpg")
