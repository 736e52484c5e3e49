"""Headers that say where voxels lie in two ways, or in none; and masks that lie there too."""

import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from diffunet.data.image_io import ImageGeometry, read_image, read_label_map, write_label_map
from diffunet.errors import DatasetError

SHAPE = (8, 6, 4)
MASK = (np.arange(4 * 6 * 8).reshape(4, 6, 8) % 3).astype(np.uint8)


def affine(angle: float, spacing: Any, origin: Any) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    made = np.eye(4)
    made[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) * spacing
    made[:3, 3] = origin
    return made


STRAIGHT = affine(0, (3, 3, 3), (1, 2, 3))
TURNED = affine(0.3, (1, 1, 2), (5, 6, 7))


def write_header(
    path: Path,
    *,
    sform: np.ndarray | None = None,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (0, 0),
    pixdim: Any = None,
    shape: tuple[int, ...] = SHAPE,
    units: int = 2,
    version: int = 1,
) -> Path:
    """Write zeros under a header with just these fields; `codes` of sform and qform."""
    header = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    if sform is not None:
        header.set_sform(sform)
    if qform is not None:
        header.set_qform(qform)
    header["sform_code"], header["qform_code"] = codes
    if pixdim is not None:
        header["pixdim"][1 : 1 + len(pixdim)] = pixdim
    header["xyzt_units"] = units
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    gap = bytes(int(header["vox_offset"]) - len(header.binaryblock))
    path.write_bytes(header.binaryblock + gap + bytes(int(np.prod(shape))))
    return path


HEADERS: dict[str, dict[str, Any]] = {
    "both_forms": {"sform": TURNED, "qform": TURNED, "codes": (1, 1)},
    "forms_differ": {"sform": STRAIGHT, "qform": TURNED, "codes": (2, 1)},
    "qform_only": {"qform": TURNED, "codes": (0, 1)},
    "sform_only": {"sform": TURNED, "codes": (3, 0)},
    "no_codes": {"qform": TURNED, "pixdim": (3, 2, 1)},
    "pixdim_unlike_sform": {"sform": STRAIGHT, "codes": (1, 0), "pixdim": (1, 1, 1)},
    "pixdim_negative": {"sform": TURNED, "codes": (1, 0), "pixdim": (-1, 1, 2)},
    "qform_of_negative_pixdim": {"qform": TURNED, "codes": (0, 1), "pixdim": (1, -1, 2)},
    "pixdim_zero": {"sform": TURNED, "codes": (1, 0), "pixdim": (0, 0, 0)},
    "metres": {"sform": STRAIGHT, "qform": STRAIGHT, "codes": (1, 1), "units": 1},
    "version_2": {"sform": STRAIGHT, "qform": TURNED, "codes": (4, 2), "version": 2},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_mask_has_the_forms_and_codes_of_its_image(name: str, tmp_path: Path) -> None:
    _, geometry = read_image([write_header(tmp_path / "image.nii", **HEADERS[name])])
    write_label_map(tmp_path / "mask.nii.gz", MASK, geometry)
    image, mask = (nibabel.load(tmp_path / name) for name in ("image.nii", "mask.nii.gz"))
    assert type(image) is type(mask)
    for field in ("sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_z", "xyzt_units"):
        np.testing.assert_array_equal(mask.header[field], image.header[field])
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), MASK.T)


@pytest.mark.parametrize("name", [name for name in HEADERS if name != "version_2"])
def test_itk_sees_a_mask_where_it_sees_its_image(name: str, tmp_path: Path) -> None:
    _, geometry = read_image([write_header(tmp_path / "image.nii", **HEADERS[name])])
    write_label_map(tmp_path / "mask.nii", MASK, geometry)
    seen = []
    for file in ("image.nii", "mask.nii"):
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(tmp_path / file))
        reader.ReadImageInformation()
        seen.append((reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("name", "spacing_mm", "doubt"),
    [
        ("both_forms", (2, 1, 1), None),
        ("forms_differ", (3, 3, 3), "sform and qform differ"),
        ("qform_only", (2, 1, 1), None),
        ("no_codes", (1, 2, 3), None),
        ("pixdim_unlike_sform", (3, 3, 3), r"pixdim tells voxels of \(1, 1, 1\) mm, the sform \(3"),
        ("pixdim_negative", (2, 1, 1), "the signs are left out"),
        ("qform_of_negative_pixdim", (2, 1, 1), "the signs are left out"),
        ("pixdim_zero", (2, 1, 1), r"pixdim tells voxels of \(0, 0, 0\) mm"),
        ("metres", (3000, 3000, 3000), None),
    ],
)
def test_the_spacing_is_that_of_the_form_that_counts_and_what_contradicts_is_said(
    name: str, spacing_mm: tuple[float, ...], doubt: str | None, tmp_path: Path
) -> None:
    _, geometry = read_image([write_header(tmp_path / "image.nii", **HEADERS[name])])
    assert geometry.has_spacing
    np.testing.assert_allclose(geometry.spacing_mm, spacing_mm, rtol=1e-6)
    if doubt is None:
        assert geometry.doubts == ()
    else:
        assert any(re.search(rf"'image\.nii': .*{doubt}", text) for text in geometry.doubts)


@pytest.mark.parametrize("name", ("both_forms", "qform_only", "metres"))
def test_where_the_header_is_clear_itk_agrees(name: str, tmp_path: Path) -> None:
    _, geometry = read_image([write_header(tmp_path / "image.nii", **HEADERS[name])])
    image = SimpleITK.ReadImage(str(tmp_path / "image.nii"))
    np.testing.assert_allclose(geometry.spacing_mm[::-1], image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(geometry.origin, image.GetOrigin(), rtol=1e-6)
    np.testing.assert_allclose(geometry.direction, image.GetDirection(), atol=1e-6)


def test_a_header_without_codes_tells_no_place(tmp_path: Path) -> None:
    _, geometry = read_image([write_header(tmp_path / "a.nii", **HEADERS["no_codes"])])
    assert (geometry.origin, geometry.direction, geometry.orientation) == (None, None, None)


def test_a_header_without_codes_and_sizes_tells_no_spacing(tmp_path: Path) -> None:
    _, geometry = read_image([write_header(tmp_path / "a.nii", pixdim=(0, 0, 0))])
    assert not geometry.has_spacing
    assert geometry.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "header",
    [
        {"qform": TURNED, "codes": (0, 1), "pixdim": (0, 1, 2)},
        {"sform": np.diag([1.0, 0, 1, 1]), "codes": (1, 0)},
        {"sform": np.diag([1.0, np.nan, 1, 1]), "codes": (1, 0)},
        {"pixdim": (np.inf, 1, 1)},
    ],
)
def test_a_header_that_puts_voxels_nowhere_is_an_error_that_names_the_file(
    header: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"a\.nii'.*set the header's qform, sform and pixdim"):
        read_image([write_header(tmp_path / "a.nii", **header)])


@pytest.mark.parametrize(
    ("rows", "orientation"),
    [((1, 1, 1), "RAS"), ((-1, -1, 1), "LPS"), ((-1, 1, -1), "LAI")],
)
def test_an_orientation_is_named_by_where_the_axes_rise_to(
    rows: tuple[int, ...], orientation: str, tmp_path: Path
) -> None:
    header = {"sform": np.diag([*rows, 1.0]), "codes": (1, 0)}
    _, geometry = read_image([write_header(tmp_path / "a.nii", **header)])
    assert geometry.orientation == orientation == "".join(nibabel.aff2axcodes(header["sform"]))


def test_an_image_that_lies_obliquely_keeps_its_spacing_and_its_forms(tmp_path: Path) -> None:
    tilted = affine(0, (1, 1, 1), (1, 2, 3))
    tilted[:3, 0] = (0.0, 0.6, 0.8)
    header = {"sform": tilted, "codes": (1, 0), "shape": (8, 6)}
    _, geometry = read_image([write_header(tmp_path / "image.nii", **header)])
    np.testing.assert_allclose(geometry.spacing_mm, (1.0, 1.0), rtol=1e-6)
    assert geometry.direction is None
    write_label_map(tmp_path / "mask.nii", MASK[0], geometry)
    np.testing.assert_allclose(nibabel.load(tmp_path / "mask.nii").affine, tilted, atol=1e-6)


def test_the_place_of_another_format_is_written_into_both_forms(tmp_path: Path) -> None:
    cos, sin = np.cos(0.3), np.sin(0.3)
    geometry = ImageGeometry(
        shape=MASK.shape,
        spacing_mm=(2.0, 1.0, 0.5),
        origin=(10.0, -20.0, 30.0),
        direction=(cos, -sin, 0, sin, cos, 0, 0, 0, 1),
    )
    write_label_map(tmp_path / "mask.nii.gz", MASK, geometry)
    header = nibabel.load(tmp_path / "mask.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-5)
    image = SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    np.testing.assert_allclose(image.GetOrigin(), geometry.origin, atol=1e-5)
    np.testing.assert_allclose(image.GetDirection(), geometry.direction, atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), geometry.spacing_mm[::-1], atol=1e-6)


def test_a_file_of_the_other_byte_order_is_read_and_its_mask_written(tmp_path: Path) -> None:
    stored = np.arange(np.prod(SHAPE), dtype=">i2").reshape(SHAPE)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(stored, TURNED, header), tmp_path / "image.nii")
    array, geometry = read_image([tmp_path / "image.nii"])
    np.testing.assert_array_equal(array[0], stored.T)
    write_label_map(tmp_path / "mask.nii", MASK, geometry)
    np.testing.assert_allclose(nibabel.load(tmp_path / "mask.nii").affine, TURNED, atol=1e-6)
    np.testing.assert_array_equal(read_label_map(tmp_path / "mask.nii")[0], MASK)


def written(path: Path, voxels: np.ndarray, **fields: object) -> Path:
    """Write a volume (z, y, x) and change fields of its header as no library would write them."""
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels.T), np.diag([1, 1, 2, 1])), path)
    content = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.parametrize("length", (1.0 + 3e-7, 1.2))
def test_a_quaternion_that_is_longer_than_one_is_scaled(length: float, tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii", VOXELS, quatern_c=length, qform_code=1, sform_code=0)
    array, geometry = read_image([path])
    np.testing.assert_array_equal(array[0], VOXELS)
    np.testing.assert_allclose(geometry.direction, (1, 0, 0, 0, -1, 0, 0, 0, -1), atol=1e-6)
    assert geometry.spacing_mm == (2.0, 1.0, 1.0)
    assert any("no rotation" in doubt for doubt in geometry.doubts) == (length > 1.1)
    write_label_map(tmp_path / "mask.nii", (VOXELS > 3).astype(np.uint8), geometry)
    assert read_label_map(tmp_path / "mask.nii")[1] == geometry


def test_a_wrong_quaternion_beside_an_sform_is_a_doubt(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii", VOXELS, quatern_b=0.8, quatern_c=0.8, qform_code=1)
    array, geometry = read_image([path])
    np.testing.assert_array_equal(array[0], VOXELS)
    assert any("sform and qform differ" in doubt for doubt in geometry.doubts)


@pytest.mark.parametrize("offset", (0, 300))
def test_voxels_never_begin_within_the_header(offset: int, tmp_path: Path) -> None:
    array, geometry = read_image([written(tmp_path / "a.nii", VOXELS, vox_offset=offset)])
    np.testing.assert_array_equal(array[0], VOXELS)
    assert any("vox_offset is 300" in doubt for doubt in geometry.doubts) == (offset == 300)


def test_an_intercept_that_is_no_number_is_0_and_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii", VOXELS, scl_slope=2.0, scl_inter=np.nan)
    array, geometry = read_image([path])
    np.testing.assert_array_equal(array[0], 2 * VOXELS)
    assert any("scl_inter is nan: 0 is taken" in doubt for doubt in geometry.doubts)


@pytest.mark.parametrize(
    "dim", ([4, 6, 5, 4, 0, 0, 0, 0], [7, 6, 5, 4, 1, 1, 1, 1], [5, 6, 5, 4, 1, 1, 0, 0])
)
def test_further_axes_of_length_1_or_0_are_none(dim: list[int], tmp_path: Path) -> None:
    array, _ = read_image([written(tmp_path / "a.nii", VOXELS, dim=dim)])
    np.testing.assert_array_equal(array[0], VOXELS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    (
        ({"datatype": 0}, "has the datatype 0, of no numbers"),
        ({"dim": [3, 0, 5, 4, 1, 1, 1, 1]}, r"axes of the sizes \[0, 5, 4\]"),
        ({"dim": [3, -6, 5, 4, 1, 1, 1, 1]}, r"axes of the sizes \[-6, 5, 4\]"),
    ),
)
def test_a_header_without_voxels_is_an_error(
    fields: dict[str, object], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=expected):
        read_image([written(tmp_path / "a.nii", VOXELS, **fields)])
