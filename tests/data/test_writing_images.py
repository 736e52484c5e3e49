"""A mask that could not be written whole is an error, and the one that stood there stays."""

from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import (
    ImageGeometry,
    read_label_map,
    supported_file_endings,
    write_label_map,
    write_map,
)
from diffunet.errors import DatasetError, WriteError
from tests.full_disk import full_disk

GOOD = np.ones((8, 40, 40), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 4, GOOD.shape, np.uint8)


def one_slice_if_flat(array: np.ndarray, ending: str) -> np.ndarray:
    return array[0] if ending in (".png", ".bmp") else array


def geometry_of(array: np.ndarray) -> ImageGeometry:
    return ImageGeometry(shape=array.shape, spacing_mm=(1.0,) * array.ndim, has_spacing=False)


@pytest.mark.parametrize("ending", [*supported_file_endings(), ".NII.GZ", ".MHA"])
@pytest.mark.parametrize("num_bytes", [0, 200])
def test_on_a_full_disk_an_older_mask_stays_and_the_path_is_said(
    ending: str, num_bytes: int, tmp_path: Path
) -> None:
    path = tmp_path / f"mask{ending}"
    good, noise = (one_slice_if_flat(array, ending.lower()) for array in (GOOD, NOISE))
    write_label_map(path, good, geometry_of(good))
    with (
        pytest.raises(WriteError, match=f"'{path}'.*limit on the size of files"),
        full_disk(num_bytes),
    ):
        write_label_map(path, noise, geometry_of(noise))
    assert np.array_equal(read_label_map(path)[0], good)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", (".nii.gz", ".mha", ".png"))
def test_a_map_on_a_full_disk_is_an_error(ending: str, tmp_path: Path) -> None:
    values = one_slice_if_flat(NOISE / 3, ending)
    with pytest.raises(WriteError, match="limit on the size of files"), full_disk(100):
        write_map(tmp_path / f"map{ending}", values, geometry_of(values))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", (".nrrd", ".mha", ".gipl"))
def test_what_itk_wrote_wrongly_without_a_word_is_an_error(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import SimpleITK

    path = tmp_path / f"mask{ending}"
    write_label_map(path, GOOD, geometry_of(GOOD))
    monkeypatch.setattr(
        SimpleITK.ImageFileWriter, "Execute", lambda self, _: Path(self.GetFileName()).touch()
    )
    with pytest.raises((RuntimeError, DatasetError)):
        write_label_map(path, NOISE, geometry_of(NOISE))
    assert np.array_equal(read_label_map(path)[0], GOOD)


@pytest.mark.parametrize("ending", (".nrrd", ".mha", ".gipl"))
def test_what_itk_cut_short_without_a_word_is_an_error_whatever_memory_holds(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import SimpleITK

    execute = SimpleITK.ImageFileWriter.Execute

    def cut_short(self: SimpleITK.ImageFileWriter, image: SimpleITK.Image) -> None:
        execute(self, image)
        path = Path(self.GetFileName())
        path.write_bytes(path.read_bytes()[:-5])

    monkeypatch.setattr(SimpleITK.ImageFileWriter, "Execute", cut_short)
    with pytest.raises((RuntimeError, DatasetError)):
        write_label_map(tmp_path / f"mask{ending}", GOOD, geometry_of(GOOD))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", supported_file_endings())
def test_the_longest_name_that_a_disk_takes_can_be_written(ending: str, tmp_path: Path) -> None:
    mask = one_slice_if_flat(GOOD, ending)
    path = tmp_path / ("n" * (255 - len(ending)) + ending)
    write_label_map(path, mask, geometry_of(mask))
    assert np.array_equal(read_label_map(path)[0], mask)


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(tmp_path / name, NOISE, geometry_of(NOISE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
