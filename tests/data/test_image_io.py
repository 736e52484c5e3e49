"""Every reader and writer: axis order, values, geometry, and what a damaged file says."""

import dataclasses
import gzip
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from diffunet.data.image_io import (
    ImageGeometry,
    file_ending_of,
    formats,
    map_file_ending,
    pillow,
    read_image,
    read_label_map,
    read_map,
    supported_file_endings,
    write_label_map,
    write_map,
)
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import (
    SPACING_MM,
    image_2d,
    image_3d,
    mask_3d,
    write_json,
    write_png,
    write_sheared_nifti,
    write_volume,
)
from tests.full_disk import no_more_files

MEDICAL = (".nii.gz", ".nii", ".nrrd", ".mha")
ANGLE = 0.3
OBLIQUE = (np.cos(ANGLE), -np.sin(ANGLE), 0, np.sin(ANGLE), np.cos(ANGLE), 0, 0, 0, 1)
ORIGIN = (10.5, -20.25, 30.0)


def test_the_endings_of_the_documentation_are_supported() -> None:
    named = {*MEDICAL, ".png", ".bmp", ".tif", ".tiff", ".gipl"}
    assert set(supported_file_endings()) == named


@pytest.mark.parametrize(
    "name, ending", [("a.nii.gz", ".nii.gz"), ("a.b.NII", ".nii"), ("a.jpg", None), ("a.gz", None)]
)
def test_the_ending_is_found_in_any_case(name: str, ending: str | None) -> None:
    assert file_ending_of(Path(name)) == ending


@pytest.mark.parametrize("ending", MEDICAL)
def test_a_volume_is_read_in_array_order_with_its_spacing(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a_0000{ending}"
    write_volume(path, image_3d(0))
    array, geometry = read_image([path])
    np.testing.assert_array_equal(array, image_3d(0)[None])
    assert array.dtype == np.float32
    assert geometry.shape == (4, 6, 8)
    assert geometry.spacing_mm == SPACING_MM
    assert geometry.has_spacing


@pytest.mark.parametrize("ending", MEDICAL)
def test_an_oblique_geometry_survives_reading_and_writing(ending: str, tmp_path: Path) -> None:
    path, written = tmp_path / f"image{ending}", tmp_path / f"mask{ending}"
    write_volume(path, image_3d(0), origin=ORIGIN, direction=OBLIQUE)
    _, geometry = read_image([path])
    write_label_map(written, mask_3d(), geometry)
    label_map, of_label = read_label_map(written)
    np.testing.assert_array_equal(label_map, mask_3d())
    assert of_label.spacing_mm == geometry.spacing_mm
    np.testing.assert_allclose(of_label.origin, geometry.origin, atol=1e-5)
    np.testing.assert_allclose(of_label.direction, geometry.direction, atol=1e-6)
    independent = [SimpleITK.ReadImage(str(each)) for each in (path, written)]
    np.testing.assert_allclose(*(image.GetDirection() for image in independent), atol=1e-6)
    np.testing.assert_allclose(*(image.GetOrigin() for image in independent), atol=1e-5)


@pytest.mark.parametrize("ending", (".nii.gz", ".nii"))
def test_nibabel_sees_the_affine_of_the_image_in_what_is_written(
    ending: str, tmp_path: Path
) -> None:
    affine = np.array([[0, -0.7, 0, 5], [0, 0, 1.3, -6], [2.1, 0, 0, 7], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(image_3d(0).T, affine), tmp_path / f"image{ending}")
    _, geometry = read_image([tmp_path / f"image{ending}"])
    write_label_map(tmp_path / f"mask{ending}", mask_3d(), geometry)
    written = nibabel.load(tmp_path / f"mask{ending}")
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)


@pytest.mark.parametrize("ending", (".nii.gz", ".nii"))
def test_a_nifti_whose_axes_are_not_perpendicular_keeps_its_affine(
    ending: str, tmp_path: Path
) -> None:
    affine = write_sheared_nifti(tmp_path / f"image{ending}", image_3d(0))
    array, geometry = read_image([tmp_path / f"image{ending}"])
    np.testing.assert_array_equal(array[0], image_3d(0))
    np.testing.assert_allclose(
        geometry.spacing_mm, np.linalg.norm(affine[:3, :3], axis=0)[::-1], rtol=1e-6
    )
    assert not geometry.is_orthonormal
    write_label_map(tmp_path / f"mask{ending}", mask_3d(), geometry)
    written = nibabel.load(tmp_path / f"mask{ending}")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), mask_3d().T)


def test_a_nifti_with_an_empty_axis_in_its_affine_is_refused(tmp_path: Path) -> None:
    affine = np.array([[0.5, 0.2, 0, 3], [0.1, 1, 0, -4], [0, 0, 0, 5], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(image_3d(0).T, np.eye(4))
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "image.nii")
    with pytest.raises(DatasetError, match=r"image\.nii"):
        read_image([tmp_path / "image.nii"])


def test_nan_in_a_nifti_is_read_as_nan(tmp_path: Path) -> None:
    image = image_3d(0)
    image[1, 2, 3] = np.nan
    write_volume(tmp_path / "a.nii.gz", image)
    array, _ = read_image([tmp_path / "a.nii.gz"])
    np.testing.assert_array_equal(array[0], image)


@pytest.mark.parametrize("ending", (*MEDICAL, ".gipl", ".png", ".bmp", ".tif"))
def test_a_truncated_file_is_an_error_that_names_it(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a_0000{ending}"
    array = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    if ending in (*MEDICAL, ".gipl"):
        write_volume(path, np.stack([array] * 20))
    elif ending == ".tif":
        tifffile.imwrite(path, array)
    else:
        write_png(path, array)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=rf"a_0000{re.escape(ending)}.*copy or export it again"):
        read_image([path])


def test_scaled_integers_are_read_as_float32(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(2, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    array, _ = read_image([tmp_path / "a.nii.gz"])
    assert array.dtype == np.float32
    values = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)
    np.testing.assert_allclose(array[0], values.T)


@pytest.mark.parametrize("ending", (".nii.gz", ".nrrd", ".mha"))
def test_a_fourth_axis_holds_channels(ending: str, tmp_path: Path) -> None:
    channels = np.stack([image_3d(0), image_3d(1), image_3d(2)])
    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(channel) for channel in channels])
    image.SetSpacing((*SPACING_MM[::-1], 1.0))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{ending}"))
    array, geometry = read_image([tmp_path / f"a{ending}"], num_channels=3)
    np.testing.assert_array_equal(array, channels)
    assert geometry.spacing_mm == SPACING_MM
    write_label_map(tmp_path / f"mask{ending}", mask_3d(), geometry)
    assert read_label_map(tmp_path / f"mask{ending}")[1] == geometry


@pytest.mark.parametrize("ending", (".nii.gz", ".nrrd", ".mha"))
def test_components_of_a_voxel_are_channels(ending: str, tmp_path: Path) -> None:
    channels = np.stack([image_3d(0), image_3d(1)], axis=-1)
    image = SimpleITK.GetImageFromArray(channels, isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / f"a{ending}"))
    array, geometry = read_image([tmp_path / f"a{ending}"])
    np.testing.assert_array_equal(array, np.moveaxis(channels, -1, 0))
    assert geometry.shape == (4, 6, 8)


def test_colours_of_a_nifti_are_channels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (4, 6, 8, 3), np.uint8)
    stored = np.zeros((8, 6, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for index, name in enumerate("RGB"):
        stored[name] = colours[..., index].T
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    array, _ = read_image([tmp_path / "a.nii"], num_channels=3)
    np.testing.assert_array_equal(array, np.moveaxis(colours, -1, 0))


@pytest.mark.parametrize("ending", MEDICAL)
def test_a_medical_file_of_two_dimensions_stays_two_dimensional(
    ending: str, tmp_path: Path
) -> None:
    image = SimpleITK.GetImageFromArray(image_2d(0))
    image.SetSpacing((0.5, 0.25))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{ending}"))
    array, geometry = read_image([tmp_path / f"a{ending}"])
    np.testing.assert_array_equal(array, image_2d(0)[None])
    assert geometry.spacing_mm == (0.25, 0.5)
    write_label_map(tmp_path / f"mask{ending}", image_2d(1), geometry)
    np.testing.assert_array_equal(read_label_map(tmp_path / f"mask{ending}")[0], image_2d(1))


@pytest.mark.parametrize("ending", (".nrrd", ".mha", ".nii"))
def test_five_axes_are_refused(ending: str, tmp_path: Path) -> None:
    if ending == ".nii":
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5, 6)), np.eye(4)), tmp_path / "a.nii")
    else:
        image = SimpleITK.GetImageFromArray(np.zeros((2, 3, 4, 5, 2), np.float32), isVector=True)
        SimpleITK.WriteImage(image, str(tmp_path / f"a{ending}"))
    with pytest.raises(DatasetError, match="split the file"):
        read_image([tmp_path / f"a{ending}"])


@pytest.mark.parametrize("ending", (".png", ".bmp", ".tif"))
def test_grey_and_colour_images_are_channel_first(ending: str, tmp_path: Path) -> None:
    write_png(tmp_path / f"grey{ending}", image_2d(0))
    write_png(tmp_path / f"rgb{ending}", image_2d(1, 3))
    grey, geometry = read_image([tmp_path / f"grey{ending}"], num_channels=1)
    colour, _ = read_image([tmp_path / f"rgb{ending}"], num_channels=3)
    np.testing.assert_array_equal(grey, image_2d(0)[None])
    np.testing.assert_array_equal(colour, np.moveaxis(image_2d(1, 3), -1, 0))
    assert geometry == ImageGeometry(shape=(8, 6), spacing_mm=(1.0, 1.0), has_spacing=False)


def test_one_file_per_channel_gives_the_channels_in_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"a_{channel:04d}.png" for channel in range(3)]
    for channel, path in enumerate(paths):
        write_png(path, image_2d(channel))
    array, _ = read_image(paths, num_channels=3)
    np.testing.assert_array_equal(array, np.stack([image_2d(c) for c in range(3)]))


def test_a_16_bit_png_keeps_its_values(tmp_path: Path) -> None:
    values = (np.arange(48).reshape(8, 6) * 1300).astype(np.uint16)
    write_png(tmp_path / "a.png", values)
    array, _ = read_image([tmp_path / "a.png"])
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array[0], values)


@pytest.mark.parametrize("bits", (1, 2, 4))
def test_a_png_of_few_bits_keeps_its_values(bits: int, tmp_path: Path) -> None:
    values = (np.arange(48).reshape(8, 6) % 2**bits).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png_of_few_bits(values, bits))
    label_map, _ = read_label_map(tmp_path / "a.png")
    np.testing.assert_array_equal(label_map, values)


def png_of_few_bits(values: np.ndarray, bits: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    unpacked = np.unpackbits(values[..., None], axis=-1)[..., -bits:].reshape(len(values), -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in unpacked)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_palette_gives_colours_of_an_image_and_indices_of_a_label_map(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png")[0], indices)
    colours, _ = read_image([tmp_path / "a.png"], num_channels=3)
    np.testing.assert_array_equal(colours[:, 1, 0], [0, 255, 0])


@pytest.mark.parametrize("name", ("a.json", "a_0000.json"))
def test_a_tiff_volume_takes_its_spacing_from_the_file_beside_it(name: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_0000.tif", image_3d(0), photometric="minisblack")
    write_json(tmp_path / name, {"spacing": [3, 0.5, 0.25]})
    array, geometry = read_image([tmp_path / "a_0000.tif"])
    np.testing.assert_array_equal(array, image_3d(0)[None])
    assert geometry.spacing_mm == (3.0, 0.5, 0.25)
    assert geometry.has_spacing


def test_a_tiff_volume_is_written_with_the_file_beside_it(tmp_path: Path) -> None:
    geometry = ImageGeometry(shape=(4, 6, 8), spacing_mm=SPACING_MM)
    write_label_map(tmp_path / "a_r00.tif", mask_3d(), geometry)
    label_map, read = read_label_map(tmp_path / "a_r00.tif")
    np.testing.assert_array_equal(label_map, mask_3d())
    assert read == geometry
    assert {path.name for path in tmp_path.iterdir()} == {"a_r00.tif", "a_r00.json"}


def test_a_tiff_picture_is_written_alone(tmp_path: Path) -> None:
    geometry = ImageGeometry(shape=(8, 6), spacing_mm=(1.0, 1.0), has_spacing=False)
    write_label_map(tmp_path / "a.tif", image_2d(0), geometry)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif")[0], image_2d(0))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("pages", (1, 4))
def test_a_tiff_of_another_compression_is_read_through_pillow(pages: int, tmp_path: Path) -> None:
    frames = [Image.fromarray(image_2d(seed)) for seed in range(pages)]
    frames[0].save(
        tmp_path / "a.tif", compression="tiff_lzw", save_all=True, append_images=frames[1:]
    )
    array, geometry = read_image([tmp_path / "a.tif"])
    expected = np.stack([image_2d(seed) for seed in range(pages)])
    np.testing.assert_array_equal(array[0], expected if pages > 1 else expected[0])
    assert geometry.shape == array.shape[1:]


def test_colours_of_a_compressed_tiff_are_channels(tmp_path: Path) -> None:
    Image.fromarray(image_2d(0, 3)).save(tmp_path / "a.tif", compression="tiff_lzw")
    array, _ = read_image([tmp_path / "a.tif"], num_channels=3)
    np.testing.assert_array_equal(array, np.moveaxis(image_2d(0, 3), -1, 0))


def test_a_bilevel_tiff_is_a_label_map_of_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(image_2d(0) > 127).save(tmp_path / "a.tif")
    label_map, _ = read_label_map(tmp_path / "a.tif")
    np.testing.assert_array_equal(label_map, (image_2d(0) > 127).astype(np.uint8))


def test_a_tiff_of_two_images_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((4, 5), np.uint8))
        writer.write(np.zeros((6, 7), np.uint8))
    with pytest.raises(DatasetError, match="found 2 of different shape"):
        read_image([tmp_path / "a.tif"])


def test_channels_of_different_dtype_keep_their_values(tmp_path: Path) -> None:
    write_volume(tmp_path / "a_0000.nii", image_3d(0))
    write_volume(tmp_path / "a_0001.nii", np.full((4, 6, 8), -1000, np.int16))
    array, _ = read_image([tmp_path / "a_0000.nii", tmp_path / "a_0001.nii"])
    np.testing.assert_array_equal(array[0], image_3d(0))
    assert (array[1] == -1000).all()


@pytest.mark.parametrize(
    "values, dtype",
    [([0, 1], np.uint8), ([0, 255], np.uint8), ([0, 256], np.uint16), ([0, 70000], np.uint32)],
)
def test_label_maps_are_written_in_the_smallest_dtype(
    values: list[int], dtype: type, tmp_path: Path
) -> None:
    geometry = ImageGeometry(shape=(1, 1, 2), spacing_mm=SPACING_MM)
    write_label_map(tmp_path / "a.nii.gz", np.array([[values]], np.int64), geometry)
    written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nii.gz")))
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, [[values]])


def test_a_boolean_mask_is_written_as_0_and_1(tmp_path: Path) -> None:
    geometry = ImageGeometry(shape=(1, 2), spacing_mm=(1.0, 1.0), has_spacing=False)
    write_label_map(tmp_path / "a.png", np.array([[True, False]]), geometry)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), [[1, 0]])


def test_a_label_map_of_whole_floats_is_read_as_integers(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", mask_3d().astype(np.float64))
    label_map, _ = read_label_map(tmp_path / "a.nii.gz")
    assert label_map.dtype == np.uint8
    np.testing.assert_array_equal(label_map, mask_3d())


def test_a_label_map_is_whole_to_a_twentieth(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", mask_3d() * 0.97 + 0.01)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.nii.gz")[0], mask_3d())
    write_volume(tmp_path / "b.nii.gz", mask_3d() * 0.9)
    with pytest.raises(DatasetError, match="such as 0.9; .*nearest neighbour"):
        read_label_map(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("num_labels", (2, 7, 25))
def test_labels_that_nibabel_scaled_to_8_bits_are_whole_again(
    num_labels: int, tmp_path: Path
) -> None:
    labels = np.arange(num_labels + 1, dtype=np.float64).reshape(1, 1, -1)
    image = nibabel.Nifti1Image(labels, np.eye(4))
    image.set_data_dtype(np.uint8)  # of the image whose header was taken over
    nibabel.save(image, tmp_path / "a.nii.gz")
    found, _ = read_label_map(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.ravel(), np.arange(num_labels + 1))


@pytest.mark.parametrize(("name", "packs"), (("a.nii.gz", False), ("a.nii", True)))
@pytest.mark.parametrize("dtype", (np.uint8, np.float32))
def test_a_nifti_is_read_whether_it_is_compressed_as_its_name_says_or_not(
    name: str, packs: bool, dtype: type, tmp_path: Path
) -> None:
    write_volume(tmp_path / "whole.nii", np.abs(3 * image_3d(0)).astype(dtype))
    content = (tmp_path / "whole.nii").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if packs else content)
    expected, geometry = read_image([tmp_path / "whole.nii"])
    found, other = read_image([tmp_path / name])
    np.testing.assert_array_equal(found, expected)
    assert other == geometry


def test_a_label_map_of_nan_was_not_resampled_wrongly(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", mask_3d() * np.nan)
    with pytest.raises(DatasetError, match="such as nan; .*write the integer") as caught:
        read_label_map(tmp_path / "a.nii.gz")
    assert "resample" not in str(caught.value)


@pytest.mark.parametrize("name", ("a.nii", "a.tif"))
def test_complex_voxels_are_an_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    if name == "a.nii":
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), np.complex64), None), tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, np.zeros((4, 5), np.complex64), photometric="minisblack")
    for read in (lambda path: read_image([path]), read_label_map):
        with pytest.raises(DatasetError, match=rf"{name}'.*found complex64; save the magnitude"):
            read(tmp_path / name)


def test_what_a_library_warns_of_is_kept_with_the_file_and_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "a.png", image_2d(0))
    found = pillow.read

    def warn(path: Path, *, is_label: bool) -> tuple[np.ndarray, ImageGeometry]:
        warnings.warn("odd\n  values", RuntimeWarning, stacklevel=1)
        logging.getLogger("nibabel.global").warning("odd values")
        logging.getLogger("tifffile").error("a tag is broken")
        return found(path, is_label=is_label)

    warned = dataclasses.replace(formats.FORMATS[".png"], read=warn)
    monkeypatch.setitem(formats.FORMATS, ".png", warned)
    _, geometry = read_image([tmp_path / "a.png"])
    assert geometry.doubts == ("'a.png': odd values", "'a.png': a tag is broken")
    assert capfd.readouterr() == ("", "")


def test_itk_prints_no_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.nii").write_bytes(nibabel.Nifti1Image(image_3d(0).T, np.eye(4)).to_bytes())
    read_image([tmp_path / "a.nii"])
    write_volume(tmp_path / "a.mha", image_3d(0))
    read_image([tmp_path / "a.mha"])
    assert not SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", (".nii.gz", ".nrrd", ".tif"))
def test_maps_are_float32(ending: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 6, 8))
    geometry = ImageGeometry(shape=(4, 6, 8), spacing_mm=SPACING_MM)
    write_map(tmp_path / f"a{ending}", values, geometry)
    read, of_map = read_map(tmp_path / f"a{ending}")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float32))
    assert of_map.spacing_mm == SPACING_MM


def test_maps_of_png_have_16_bits(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.25, 0.5], [0.75, 0.9, 1.0]], np.float32)
    geometry = ImageGeometry(shape=(2, 3), spacing_mm=(1.0, 1.0), has_spacing=False)
    write_map(tmp_path / "a.png", values, geometry)
    stored = np.asarray(Image.open(tmp_path / "a.png"))
    assert stored.astype(int).tolist() == [[0, 16384, 32768], [49151, 58981, 65535]]
    np.testing.assert_allclose(read_map(tmp_path / "a.png")[0], values, atol=1 / 65535)


def test_a_map_of_a_bmp_dataset_is_a_png() -> None:
    assert map_file_ending(".BMP") == ".png"
    assert map_file_ending(".nii.gz") == ".nii.gz"


FLAT = ImageGeometry(shape=(1, 2), spacing_mm=(1.0, 1.0), has_spacing=False)


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("a.png", [[0.5, 1.5]], r"in \[0, 1\], got 0.5 to 1.5"),
        ("a.png", [[0.5, -0.5]], r"in \[0, 1\], got -0.5"),
        ("a.nii", [[0.5, np.nan]], "got nan"),
        ("a.bmp", [[0.5, 0.5]], "8 bits"),
        ("a.jpg", [[0.5, 0.5]], "should end in"),
        ("a.png", [[0.5]], r"the array is \(1, 1\), its geometry \(1, 2\)"),
    ],
)
def test_a_map_that_cannot_be_written_is_refused(
    name: str, values: list[list[float]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_map(tmp_path / name, np.array(values), FLAT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "values, message",
    [([[0, -1]], "no negative"), ([[0.0, 1.0]], "holds integers"), ([[0, 70000]], "8 bits")],
)
def test_a_label_map_that_cannot_be_written_is_refused(
    values: list[list[float]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_label_map(tmp_path / "a.png", np.array(values), FLAT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", supported_file_endings())
def test_names_may_be_upper_case_and_of_any_language(ending: str, tmp_path: Path) -> None:
    is_flat = ending in (".png", ".bmp")
    expected = image_2d(0) if is_flat else mask_3d()
    geometry = ImageGeometry(shape=expected.shape, spacing_mm=(1.0,) * expected.ndim)
    path = tmp_path / "Müller 患者" / f"Befund é{ending.upper()}"
    write_label_map(path, expected, geometry)
    link = tmp_path / f"link{ending}"
    link.symlink_to(path)
    for each in (path, link):
        np.testing.assert_array_equal(read_label_map(each)[0], expected)


@pytest.mark.filterwarnings("ignore:.*writing zero-size array")
def test_a_file_without_voxels_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((0, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"a\.tif.*expected voxels, found the shape \(0, 5\)"):
        read_image([tmp_path / "a.tif"])


@pytest.mark.parametrize("name", ("a.png", "a.nii.gz"))
def test_a_file_without_permission_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("denied")

    (tmp_path / name).write_bytes(b"no image")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match=r"found no permission; allow reading \(chmod \+r\)"):
        read_image([tmp_path / name])


def test_16_bits_that_an_older_pillow_reads_as_32_are_16_again(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.array([[65535, 1]], np.uint16))
    header = (tmp_path / "a.png").read_bytes()[:26]
    as_older_pillow = np.array([[65535, 1]], np.int32)
    values = pillow._stored_values(tmp_path / "a.png", as_older_pillow, header=header)
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, as_older_pillow)


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.jpg.*expected one of .*\.png.*convert"):
        read_image([tmp_path / "a.jpg"])


def test_no_reading_library_is_imported_before_a_file_of_its_kind_is_read() -> None:
    code = (
        "import sys, diffunet.data.image_io, diffunet.data.raw.dataset\n"
        "import diffunet.data.raw.integrity\n"
        "print([n for n in ('SimpleITK', 'nibabel', 'PIL', 'tifffile') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_whole_numbers_beyond_any_label_are_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.array([[[0.0, 1e30]]]))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nii"))
    with pytest.raises(DatasetError, match=r"a\.nii': expected integers, found float64.*1e\+30"):
        read_label_map(tmp_path / "a.nii")


LAYERS_OF_SLICER = b"""NRRD0004
type: unsigned char
dimension: 4
space: left-posterior-superior
sizes: 2 8 6 4
space directions: none (1,0,0) (0,1,0) (0,0,2)
kinds: list domain domain domain
encoding: raw
space origin: (0,0,0)

"""


def test_layers_of_overlapping_segments_are_not_one_label_map(tmp_path):
    """3D Slicer writes segments that overlap as layers, along the first axis of a NRRD file."""
    path = tmp_path / "case.nrrd"
    path.write_bytes(LAYERS_OF_SLICER + bytes(2 * 8 * 6 * 4))
    with pytest.raises(DatasetError, match=r"found 2 channels; a file with layers.* each layer as"):
        read_label_map(path)


@pytest.mark.parametrize(("num_points", "is_read"), [(1, True), (6, False)])
def test_a_fourth_axis_of_one_point_is_none_and_of_several_no_label_map(
    tmp_path, num_points, is_read
):
    path = tmp_path / "case.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 6, 4, num_points), np.uint8), np.eye(4)), path)
    if is_read:
        assert read_label_map(path)[0].shape == (4, 6, 8)
        return
    with pytest.raises(DatasetError, match=r"found 6 channels; .*several points in time"):
        read_label_map(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".png"])
def test_a_good_image_is_not_called_damaged_where_too_many_files_are_open(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    shape = (4, 4) if ending == ".png" else (3, 4, 4)
    geometry = ImageGeometry(shape=shape, spacing_mm=(1.0,) * len(shape))
    write_label_map(path, np.ones(shape, np.uint8), geometry)
    read_image([path])  # which loads the library
    with pytest.raises(DatasetError, match="too many files are open"), no_more_files():
        read_image([path])
