"""Files that are damaged, incomplete or of another kind than their names say are never read."""

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from diffunet.data.image_io import LabelMapReader, StoredMap, read_image, read_label_map
from diffunet.data.image_io.images import reading_problem
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import write_volume

VOXELS = np.random.default_rng(0).integers(0, 200, (6, 20, 30)).astype(np.int16)
META = "NDims = 3\nDimSize = 30 20 6\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 30 20 6\nendian: little\nspacings: 1 1 2\n"


def write_packed(path: Path) -> bytes:
    image = SimpleITK.GetImageFromArray(VOXELS)
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return path.read_bytes()


@pytest.mark.parametrize("ending", (".nii.gz", ".mha", ".nrrd"))
@pytest.mark.parametrize("place", (0.3, 0.5, 0.7, 0.9))
@pytest.mark.parametrize("length", (1, 1000))
def test_damaged_voxels_are_an_error(ending: str, place: float, length: int, tmp_path: Path):
    path = tmp_path / f"a{ending}"
    content = bytearray(write_packed(path))
    start = int(place * len(content))
    end = min(start + length, len(content) - 20)
    content[start:end] = bytes(255 - each for each in content[start:end])
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=rf"a{ending}'"):
        read_image([path])


@pytest.mark.parametrize("ending", (".nii.gz", ".mha", ".nrrd"))
def test_zeros_in_place_of_the_second_half_are_an_error(ending: str, tmp_path: Path):
    """As where a download broke off into a file that had its full size from the start."""
    path = tmp_path / f"a{ending}"
    content = write_packed(path)
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    with pytest.raises(DatasetError, match=rf"a{ending}'"):
        read_image([path])


@pytest.mark.parametrize("behind", (b"", b"\0" * 512, b"a note"))
def test_what_follows_compressed_bytes_does_not_matter(behind: bytes, tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(write_packed(path) + behind)
    np.testing.assert_array_equal(read_image([path])[0][0], VOXELS)


def test_bytes_that_were_compressed_in_parts_are_read(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    content = gzip.decompress(write_packed(path))
    path.write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))
    np.testing.assert_array_equal(read_image([path])[0][0], VOXELS)


def test_a_damaged_file_of_several_maps_is_an_error(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    maps = np.stack([VOXELS, VOXELS[::-1]])
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(maps, isVector=False), str(path))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum
    path.write_bytes(bytes(content))
    reader = LabelMapReader()
    with pytest.raises(DatasetError, match=r"a.nii.gz'"):
        for number in range(2):
            reader(StoredMap(path=path, number=number))


def test_a_meta_image_without_the_size_of_its_compressed_voxels_is_an_error(tmp_path: Path):
    """ITK reads other voxels from it, without an error."""
    path = tmp_path / "a.mha"
    header = f"{META}CompressedData = True\nElementDataFile = LOCAL\n"
    path.write_bytes(header.encode() + zlib.compress(VOXELS.tobytes()))
    with pytest.raises(DatasetError, match="expected CompressedDataSize in the header"):
        read_image([path])


@pytest.mark.parametrize(
    ("name", "header"),
    (
        ("a.mha", f"{META}ElementDataFile = voxels.raw\n"),
        ("a.nrrd", f"{NRRD}encoding: raw\ndata file: voxels.raw\n\n"),
    ),
)
def test_a_header_alone_names_the_file_of_its_voxels(name: str, header: str, tmp_path: Path):
    (tmp_path / name).write_text(header, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"expected the file 'voxels.raw', .* copy it there too"):
        read_image([tmp_path / name])
    (tmp_path / "voxels.raw").write_bytes(VOXELS.tobytes())
    np.testing.assert_array_equal(read_image([tmp_path / name])[0][0], VOXELS)


@pytest.mark.parametrize("damages", (False, True))
def test_compressed_voxels_in_a_file_of_their_own_are_checked_too(damages: bool, tmp_path: Path):
    header = f"{NRRD}encoding: gzip\ndata file: voxels.gz\n\n"
    (tmp_path / "a.nrrd").write_text(header, encoding="utf-8")
    packed = bytearray(gzip.compress(VOXELS.tobytes()))
    packed[-6] ^= damages
    (tmp_path / "voxels.gz").write_bytes(bytes(packed))
    if damages:
        with pytest.raises(DatasetError, match="is damaged"):
            read_image([tmp_path / "a.nrrd"])
    else:
        np.testing.assert_array_equal(read_image([tmp_path / "a.nrrd"])[0][0], VOXELS)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("ending", (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".bmp"))
@pytest.mark.parametrize(
    ("content", "expected"),
    (
        (POINTER, r"found a pointer of Git LFS .*git lfs pull"),
        (b"<!DOCTYPE html><html>" + b" " * 600, "found a web page .*download the file"),
        (b'{"error": {"code": 403}}' + b" " * 600, "found a web page or another text"),
        (b"PK\x03\x04" + b"0" * 600, "found a zip archive .*unpack it"),
        (bz2.compress(bytes(600)), "found bzip2 .*unpack it"),
        (b"\x93NUMPY" + b"0" * 600, "found an array of numpy .*convert it to [.]"),
    ),
    ids=("lfs", "page", "json", "zip", "bzip2", "numpy"),
)
def test_content_of_another_kind_is_named_with_its_remedy(
    ending: str, content: bytes, expected: str, tmp_path: Path
):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    for read in (lambda path: read_image([path]), read_label_map):
        with pytest.raises(DatasetError, match=f"expected a {ending} file, {expected}"):
            read(path)


def test_a_file_that_was_compressed_twice_is_named(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(write_packed(path)))
    with pytest.raises(DatasetError, match="found gzip within gzip .*unpack it once"):
        read_image([path])


@pytest.mark.parametrize(
    ("given", "name"), ((".nii", "NIfTI"), (".nrrd", "NRRD"), (".mha", "Meta"))
)
def test_a_renamed_volume_is_named(given: str, name: str, tmp_path: Path):
    write_volume(tmp_path / f"a{given}", VOXELS)
    renamed = tmp_path / "a.tif"
    renamed.write_bytes((tmp_path / f"a{given}").read_bytes())
    with pytest.raises(DatasetError, match=f"found {name}.* under this name; convert it to .tif"):
        read_image([renamed])


def test_a_damaged_file_of_the_right_kind_is_no_other_kind(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "it may be truncated" in reading_problem(path, ".png", ValueError("no"))


@pytest.mark.parametrize(
    ("name", "header", "is_told"),
    (
        ("a.mha", f"{META}ElementDataFile = LOCAL\n", True),
        ("a.mha", META.rpartition("ElementSpacing")[0] + "ElementDataFile = LOCAL\n", False),
        ("a.nrrd", f"{NRRD}encoding: raw\n\n", True),
        ("a.nrrd", NRRD.rpartition("spacings")[0] + "encoding: raw\n\n", False),
        ("a.nrrd", f"{NRRD}encoding: raw\n\n".replace("1 1 2", "nan nan nan"), False),
    ),
)
def test_a_header_without_a_spacing_says_so(name: str, header: str, is_told: bool, tmp_path: Path):
    (tmp_path / name).write_bytes(header.encode() + VOXELS.tobytes())
    array, geometry = read_image([tmp_path / name])
    np.testing.assert_array_equal(array[0], VOXELS)
    assert geometry.has_spacing == is_told
    assert geometry.spacing_mm == ((2.0, 1.0, 1.0) if is_told else (1.0, 1.0, 1.0))
