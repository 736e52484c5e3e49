"""Volumes are shown as a radiologist expects them, however their file stores them."""

import nibabel
import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry, read_image
from diffunet.report.orientation import Orientation

SHAPE = (5, 4, 3)  # towards right, anterior, superior
STORED = ["RAS", "LPS", "LAS", "RSA", "PIR", "SLP", "IAL", "ARS"]


def _volume(path, *, axes, spacing_mm=(1.0, 1.0, 1.0)):
    """Write a volume whose file axes rise towards `axes`; its voxels are numbered in RAS."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    image = nibabel.Nifti1Image(array, np.diag([*spacing_mm, 1.0]))
    there = nibabel.orientations.axcodes2ornt(axes)
    image.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), there)
    ).to_filename(path)
    voxels, geometry = read_image([path])
    return array, voxels[0], Orientation.of(geometry)


def _same_in_either_order(seen, expected):
    """Whether slices are the same; which one comes first is the file's choice."""
    return np.array_equal(seen, expected) or np.array_equal(seen[::-1], expected)


@pytest.mark.parametrize("axes", STORED)
def test_axial_slices_have_anterior_above_and_the_right_side_on_the_left(tmp_path, axes):
    array, voxels, orientation = _volume(tmp_path / "a.nii.gz", axes=axes)
    expected = array[::-1, ::-1].transpose(2, 1, 0)  # (superior, posterior, left)
    assert (orientation.plane, orientation.top, orientation.left) == ("axial", "A", "R")
    assert _same_in_either_order(orientation.seen(voxels), expected)


@pytest.mark.parametrize("axes", STORED)
def test_slices_lie_across_the_coarsest_spacing(tmp_path, axes):
    spacing = (1.0, 5.0, 2.0)
    array, voxels, orientation = _volume(tmp_path / "a.nii.gz", axes=axes, spacing_mm=spacing)
    expected = array[::-1, :, ::-1].transpose(1, 2, 0)  # (anterior, inferior, left)
    assert (orientation.plane, orientation.top, orientation.left) == ("coronal", "S", "R")
    assert orientation.spacing_mm == (5.0, 2.0, 1.0)
    assert _same_in_either_order(orientation.seen(voxels), expected)


@pytest.mark.parametrize("axes", STORED)
def test_sagittal_slices_look_to_the_left(tmp_path, axes):
    spacing = (4.0, 1.0, 1.0)
    array, voxels, orientation = _volume(tmp_path / "a.nii.gz", axes=axes, spacing_mm=spacing)
    expected = array[:, ::-1, ::-1].transpose(0, 2, 1)  # (right, inferior, posterior)
    assert (orientation.plane, orientation.top, orientation.left) == ("sagittal", "S", "A")
    assert _same_in_either_order(orientation.seen(voxels), expected)


def test_a_volume_that_does_not_tell_stays_as_it_is_stored():
    orientation = Orientation.of(ImageGeometry(shape=(3, 4, 5), spacing_mm=(1.0, 1.0, 3.0)))
    voxels = np.arange(60).reshape(3, 4, 5)
    assert orientation.plane == ""
    assert np.array_equal(orientation.seen(voxels), voxels.transpose(2, 0, 1))


def test_an_image_is_one_slice_as_it_is_stored():
    orientation = Orientation.of(ImageGeometry(shape=(4, 5), spacing_mm=(1.0, 9.0)))
    pixels = np.arange(20).reshape(4, 5)
    assert np.array_equal(orientation.seen(pixels), pixels[None])


def test_spacings_that_hardly_differ_do_not_turn_a_volume(tmp_path):
    _, _, orientation = _volume(tmp_path / "a.nii.gz", axes="RAS", spacing_mm=(1.1, 1.0, 1.0))
    assert orientation.plane == "axial"


def test_a_volume_seen_as_an_image_is_refused():
    orientation = Orientation.of(ImageGeometry(shape=(4, 5), spacing_mm=(1.0, 1.0)))
    with pytest.raises(ValueError, match="expected 2 axes"):
        orientation.seen(np.zeros((2, 4, 5)))
