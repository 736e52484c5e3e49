"""Several label maps in one file: what viewers need of it, and what goes wrong with such files."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from diffunet.data.image_io import (
    ImageGeometry,
    LabelMapReader,
    StackWriter,
    StoredMap,
    read_image,
    stack_size,
    write_label_map,
)
from diffunet.errors import DatasetError

VOLUME, IMAGE = (4, 5, 6), (40, 50)
TURNED = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def maps_of(shape: tuple[int, ...], number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 3, (number, *shape)).astype(np.uint8)


def geometry_of(shape: tuple[int, ...]) -> ImageGeometry:
    if len(shape) == 2:
        return ImageGeometry(shape=shape, spacing_mm=(1.0, 1.0), has_spacing=False)
    return ImageGeometry(
        shape=shape, spacing_mm=(3.0, 0.9, 0.8), origin=(5.0, -3.0, 2.0), direction=TURNED
    )


def write(
    path: Path, maps: np.ndarray, geometry: ImageGeometry | None = None, *, dtype: type = np.uint8
) -> Path:
    writer = StackWriter(path, geometry or geometry_of(maps.shape[1:]), dtype=np.dtype(dtype))
    for number in reversed(range(len(maps))):  # several folds need not draw in order
        writer.add(number, maps[number])
    writer.write()
    return path


@pytest.mark.parametrize("number", [1, 3, 4])
@pytest.mark.parametrize(
    ("shape", "name"), [(VOLUME, "c_samples.nii.gz"), (IMAGE, "c_samples.tif")]
)
def test_each_map_comes_back_as_it_was(tmp_path, shape, name, number):
    maps = maps_of(shape, number)
    path = write(tmp_path / name, maps)
    read = LabelMapReader()
    assert stack_size(path) == number
    for place in (number - 1, *range(number)):  # forwards and back
        found, geometry = read(StoredMap(path=path, number=place))
        assert np.array_equal(found, maps[place])
        assert found.dtype == np.uint8
        assert geometry.shape == shape
    with pytest.raises(DatasetError, match=f"found {number}"):
        read(StoredMap(path=path, number=number))


def test_the_sample_is_the_last_axis_of_a_volume_and_its_place_that_of_one_mask(tmp_path):
    maps, geometry = maps_of(VOLUME, 3), geometry_of(VOLUME)
    stack = nibabel.load(write(tmp_path / "c_samples.nii.gz", maps))
    write_label_map(tmp_path / "c.nii.gz", maps[0], geometry)
    mask = nibabel.load(tmp_path / "c.nii.gz")
    assert stack.shape == (6, 5, 4, 3)
    assert np.array_equal(np.asarray(stack.dataobj)[..., 2], maps[2].T)
    assert np.array_equal(stack.affine, mask.affine)
    for name in ("sform_code", "qform_code", "xyzt_units"):
        assert stack.header[name] == mask.header[name]
    assert stack.header["sform_code"] > 0
    assert stack.get_data_dtype() == np.uint8


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_the_fourth_spacing_is_one_whatever_the_header_of_the_image_holds(tmp_path, bad):
    header = nibabel.Nifti1Image(np.zeros(VOLUME[::-1], np.int16), np.diag([2, 3, 4, 1])).header
    header["pixdim"][4] = bad
    nibabel.Nifti1Image(np.zeros(VOLUME[::-1], np.int16), None, header).to_filename(
        tmp_path / "c_0000.nii"
    )
    raw = bytearray((tmp_path / "c_0000.nii").read_bytes())
    raw[76 + 4 * 4 : 76 + 5 * 4] = np.float32(bad).tobytes()  # nibabel mends some of them
    (tmp_path / "c_0000.nii").write_bytes(raw)
    _, geometry = read_image([tmp_path / "c_0000.nii"])
    stack = nibabel.load(write(tmp_path / "c_samples.nii.gz", maps_of(VOLUME, 2), geometry))
    assert stack.header["pixdim"][4] == 1
    assert np.isfinite(stack.header["pixdim"]).all()
    assert np.array_equal(stack.affine, np.diag([2, 3, 4, 1]))


def test_many_labels_have_16_bits(tmp_path):
    maps = maps_of(VOLUME, 2).astype(np.uint16) * 200
    path = write(tmp_path / "c_samples.nii.gz", maps, dtype=np.uint16)
    assert nibabel.load(path).get_data_dtype() == np.uint16
    assert np.array_equal(LabelMapReader()(StoredMap(path=path, number=1))[0], maps[1])


@pytest.mark.parametrize("number", [1, 3, 4])
def test_pages_of_a_tiff_are_no_colours(tmp_path, number):
    maps = maps_of(IMAGE, number)
    with tifffile.TiffFile(write(tmp_path / "c_samples.tif", maps)) as file:
        assert file.is_imagej
        assert len(file.pages) == number
        assert {(page.photometric, page.samplesperpixel) for page in file.pages} == {(1, 1)}
        assert file.series[0].axes == ("TYX" if number > 1 else "YX")
        assert np.array_equal(np.squeeze(maps), file.asarray())


def test_a_stack_that_colours_are_in_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "c_samples.tif", np.zeros((*IMAGE, 3), np.uint8), photometric="rgb")
    with pytest.raises(DatasetError, match="grey pages"):
        stack_size(tmp_path / "c_samples.tif")


def test_a_volume_that_has_no_fourth_axis_is_refused(tmp_path):
    write_label_map(tmp_path / "c.nii.gz", maps_of(VOLUME, 1)[0], geometry_of(VOLUME))
    with pytest.raises(DatasetError, match="four axes"):
        stack_size(tmp_path / "c.nii.gz")


@pytest.mark.parametrize(
    ("change", "name"), [(gzip.decompress, "d.nii.gz"), (bytes, "d.nii")], ids=("plain", "packed")
)
def test_the_content_of_a_stack_says_whether_it_is_packed(tmp_path, change, name):
    maps = maps_of(VOLUME, 3)
    written = write(tmp_path / "c_samples.nii.gz", maps)
    (tmp_path / name).write_bytes(change(written.read_bytes()))
    read = LabelMapReader()
    for number in (2, 0):
        assert np.array_equal(read(StoredMap(path=tmp_path / name, number=number))[0], maps[number])


@pytest.mark.parametrize(
    ("shape", "name"), [(VOLUME, "c_samples.nii.gz"), (IMAGE, "c_samples.tif")]
)
def test_a_torn_stack_is_a_fault_of_the_file(tmp_path, shape, name):
    path = write(tmp_path / name, maps_of(shape, 4))
    path.write_bytes(path.read_bytes()[:-100])
    read = LabelMapReader()
    with pytest.raises(DatasetError, match=name):
        for number in range(4):
            read(StoredMap(path=path, number=number))


def test_a_gap_among_the_maps_is_an_error(tmp_path):
    writer = StackWriter(tmp_path / "c.nii.gz", geometry_of(VOLUME), dtype=np.dtype(np.uint8))
    writer.add(1, maps_of(VOLUME, 1)[0])
    with pytest.raises(ValueError, match="gap"):
        writer.write()
    assert list(tmp_path.iterdir()) == []
