"""Files that declare, or unpack to, more than they should: named before memory is taken."""

import gzip
import lzma
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from nibabel.arrayproxy import ArrayProxy
from PIL import Image

from diffunet import limits
from diffunet.data.image_io import read_image, tiff_bounds
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from diffunet.parallel import map_ordered
from tests.data.tiny_datasets import VALID_DATASETS


def nifti_header(*shape: int, dtype: type = np.uint8) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_max_image_bytes", 1000)


def write_image(path: Path) -> None:
    """Write 20 x 60 zeros: 1,200 bytes, more than the limit."""
    zeros = np.zeros((20, 60), np.uint8)
    if path.suffix in (".png", ".bmp"):
        Image.fromarray(zeros).save(path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, zeros, compression="zlib")
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(zeros), str(path), True)


@pytest.mark.parametrize(
    "ending", (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".png", ".bmp", ".tif")
)
@pytest.mark.usefixtures("small_limit")
def test_more_voxels_than_the_limit_are_refused_with_what_raises_it(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / f"a{ending}")
    with pytest.raises(DatasetError, match=rf"a{ending}'.*60.*{limits.VARIABLE}=1"):
        read_image([tmp_path / f"a{ending}"])
    monkeypatch.setattr(limits, "_max_image_bytes", 1200)
    assert read_image([tmp_path / f"a{ending}"])[0].size == 1200


@pytest.mark.parametrize("name", ("a.nii", "a.nii.gz"))
def test_a_header_of_more_than_any_machine_has_is_refused(name: str, tmp_path: Path) -> None:
    content = nifti_header(30_000, 30_000, 30_000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(DatasetError, match="declares 30000 x 30000 x 30000"):
        read_image([tmp_path / name])


@pytest.mark.parametrize("name", ("a.nii", "a.nii.gz"))
def test_a_header_of_more_than_the_file_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    content = nifti_header(500, 500, 500)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(DatasetError, match=r"file of \d+ bytes, too small for them"):
        read_image([tmp_path / name])


@pytest.mark.usefixtures("small_limit")
def test_a_slope_that_makes_numbers_of_64_bits_counts(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((20, 20), np.uint8), np.eye(4))
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(DatasetError, match=limits.VARIABLE):
        read_image([tmp_path / "a.nii"])


def test_a_bomb_leaves_the_other_findings_of_a_check(tmp_path: Path) -> None:
    VALID_DATASETS["3d"](tmp_path)
    bomb = gzip.compress(nifti_header(30_000, 30_000, 30_000))
    (tmp_path / "imagesTr/a_0000.nii.gz").write_bytes(bomb)
    (tmp_path / "labelsTr/b.nii.gz").write_bytes(b"no image")
    problems = verify_dataset(tmp_path, num_processes=0, checks_labels=True).problems
    assert len(problems) == 2
    assert "case 'a'" in problems[0]
    assert "case 'b'" in problems[1]


def test_an_image_for_which_memory_does_not_suffice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    write_image(tmp_path / "a.nii")
    monkeypatch.setattr(ArrayProxy, "__array__", refuse)
    with pytest.raises(DatasetError, match=r"a\.nii'.*not enough memory"):
        read_image([tmp_path / "a.nii"])


def nifti_bomb(path: Path) -> None:
    """Write 5.8 MB that unpack to 6 GB: it took 11.9 GB."""
    pack = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        file.write(pack.compress(nifti_header(2000, 2000, 1500)) + pack.flush())
        file.write(bytes(5_800_000))


def tiff_bomb(path: Path) -> None:
    """Write an image of 16 x 16 whose strip of 400 KB unpacks to 400 MB: it took twice that."""
    pack = zlib.compressobj(9)
    first = pack.compress(bytes(2**20)) + pack.flush(zlib.Z_FULL_FLUSH)
    again = pack.compress(bytes(2**20)) + pack.flush(zlib.Z_FULL_FLUSH)
    write_tiff(path, first + 400 * again, compression="zlib")


def write_tiff(path: Path, content: bytes, **options: Any) -> None:
    """Write 16 x 16 zeros whose one strip or tile is `content`."""
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        kind = "Tile" if "TileOffsets" in tags else "Strip"
        tags[f"{kind}Offsets"].overwrite(path.stat().st_size)
        tags[f"{kind}ByteCounts"].overwrite(len(content))
    with path.open("ab") as file:
        file.write(content)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_unpacks_to_more_than_the_image_is_refused(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_bounds, "_SLACK", 1000)
    pack = zlib.compress if compression == "zlib" else lzma.compress
    write_tiff(tmp_path / "a.tif", pack(bytes(1256)), compression=compression)
    assert read_image([tmp_path / "a.tif"])[0].shape == (1, 16, 16)
    write_tiff(tmp_path / "a.tif", pack(bytes(1257)), compression=compression)
    with pytest.raises(DatasetError, match=r"a\.tif'.*one that unpacks to more than 1256 bytes"):
        read_image([tmp_path / "a.tif"])


@pytest.mark.usefixtures("small_limit")
def test_a_tile_that_is_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", zlib.compress(bytes(256)), compression="zlib", tile=(16, 16))
    assert read_image([tmp_path / "a.tif"])[0].shape == (1, 16, 16)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["TileWidth"].overwrite(160)
    with pytest.raises(DatasetError, match=f"1 x 16 x 160.*{limits.VARIABLE}"):
        read_image([tmp_path / "a.tif"])


def test_tiles_that_are_missing_are_refused_before_they_are_gone_through(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", zlib.compress(bytes(256)), compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(1600)
    with pytest.raises(DatasetError, match="expected 100 strips or tiles, .* found 1"):
        read_image([tmp_path / "a.tif"])


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize(("name", "write"), [("a.nii.gz", nifti_bomb), ("a.tif", tiff_bomb)])
def test_a_bomb_takes_no_memory_before_it_is_refused(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    code = (
        "import sys; from pathlib import Path; from diffunet.errors import DatasetError\n"
        "from diffunet.data.image_io import read_image\n"
        "try: read_image([Path(sys.argv[1])])\n"
        "except DatasetError: print(Path('/proc/self/status').read_text())"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    most = re.search(r"VmHWM:\s*(\d+) kB", run.stdout)
    assert most is not None, run.stderr
    assert int(most[1]) < 300_000


def max_image_bytes_here(_: int) -> int:
    return limits.max_image_bytes()


@pytest.mark.usefixtures("small_limit")
def test_workers_have_the_limit_of_the_process_that_starts_them() -> None:
    assert list(map_ordered(max_image_bytes_here, [0, 1], num_processes=1)) == [1000, 1000]


@pytest.mark.parametrize("text", ("0", "-1", "nan", "inf", "1e30", "four", ""))
def test_a_limit_that_is_no_size_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"{limits.VARIABLE}: expected a positive number of GB"):
        limits.max_image_bytes_from(text)


def test_the_limit_is_four_gigabytes_unless_said() -> None:
    assert limits.max_image_bytes_from(None) == 4 * 2**30
    assert limits.max_image_bytes_from("0.5") == 2**29
