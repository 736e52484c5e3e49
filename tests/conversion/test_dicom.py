"""A series of DICOM slices is one volume, or says why not."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from diffunet import limits
from diffunet.conversion.dicom import read_series
from diffunet.errors import DatasetError
from tests.conversion.lidc_downloads import ct, save_slice

CORONAL = (1, 0, 0, 0, 0, -1)


def save(folder: Path, voxels: np.ndarray, **changed: object) -> list[Path]:
    """Save slices of 2 mm along y, the first last; returns the files."""
    files = []
    for index, plane in enumerate(voxels):
        path = folder / f"{9 - index}.dcm"
        given = {"orientation": CORONAL, "position": (-10.5, 2.0 * index, 30.0)} | changed
        save_slice(path, plane, patient="P", series="1.2", number=index, **given)  # pyright: ignore[reportArgumentType]
        files.insert(0, path)
    return files


def test_the_grid_is_that_of_simpleitk_for_any_orientation(tmp_path: Path) -> None:
    found = read_series(save(tmp_path, ct()))
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    expected = SimpleITK.ReadImage(names)
    np.testing.assert_array_equal(found.voxels, SimpleITK.GetArrayFromImage(expected))
    assert found.geometry.spacing_mm == pytest.approx(expected.GetSpacing()[::-1])
    assert found.geometry.origin == pytest.approx(expected.GetOrigin())
    assert found.geometry.direction == pytest.approx(expected.GetDirection())
    assert found.geometry.orientation == "LIP"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"orientation": (1, 0, 0, 0, 1, 0)}, "expected the orientation"),
        ({"series": "1.3"}, "expected the series 1.2 of '6.dcm', found 1.3"),
        ({"voxels": ct()[0, :-1]}, r"expected the size \(9, 8\)"),
    ],
    ids=["turned", "other series", "smaller"],
)
def test_slices_that_are_not_alike_are_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    files = save(tmp_path, ct())
    given: dict[str, object] = {"orientation": CORONAL, "series": "1.2", "voxels": ct()[0]}
    save_slice(files[0], patient="P", number=4, position=(-10.5, 8, 30), **(given | change))  # pyright: ignore[reportArgumentType]
    with pytest.raises(DatasetError, match=words):
        read_series([*files[1:], files[0]])


def test_a_single_slice_is_no_volume(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected the slices of a volume, found one"):
        read_series(save(tmp_path, ct()[:1]))


def test_a_slice_without_a_place_is_refused(tmp_path: Path) -> None:
    files = save(tmp_path, ct())
    content = files[2].read_bytes()
    files[2].write_bytes(content.replace(b"-10.5\\", b"-10x5\\"))
    with pytest.raises(DatasetError, match="7.dcm': expected position and orientation"):
        read_series(files)


def test_a_volume_larger_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = save(tmp_path, ct())
    monkeypatch.setattr(limits, "_max_image_bytes", 5 * 9 * 8 * 4 - 1)
    with pytest.raises(DatasetError, match="diffunet_max_image_gb"):
        read_series(files)


def test_numbers_that_16_bits_cannot_hold_are_kept(tmp_path: Path) -> None:
    voxels = ct()
    voxels[3, 2, 1] = 32767 - 1024
    files = save(tmp_path, voxels)
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"-1024 ", b"   +8 "))
    found = read_series(files).voxels
    np.testing.assert_array_equal(found, voxels.astype(np.int32) + 1032)


def test_a_slope_that_is_no_whole_number_gives_floats(tmp_path: Path) -> None:
    files = save(tmp_path, ct())
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"\x02\x00\x00\x001 ", b"\x02\x00\x00\x00.5"))
    found = read_series(files).voxels
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (ct() + 1024) * 0.5 - 1024)
