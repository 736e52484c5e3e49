"""Grids that are another one with its axes turned, as of files saved in another orientation."""

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest

from diffunet.data.image_io import read_label_map, turned_axes

STRAIGHT = np.diag([1.0, 1.0, 2.0, 1.0])
OBLIQUE = np.array([[0.5, 0.1, 0, 3], [-0.1, 0.5, 0.2, -7], [0, -0.3, 2, 11], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(0, 3, (5, 7, 4), np.uint8)


def saved(path: Path, image: nibabel.Nifti1Image):
    nibabel.save(image, path)
    return read_label_map(path)


@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_every_turn_of_a_volume_is_found_and_can_be_undone(affine, tmp_path):
    image = nibabel.Nifti1Image(VOXELS, affine)
    label_map, geometry = saved(tmp_path / "a.nii", image)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turned = image.as_reoriented(np.array(list(zip(order, signs, strict=True))))
        found, of_found = saved(tmp_path / "b.nii", turned)
        turn = turned_axes(of_found, geometry)
        if order == (0, 1, 2) and signs == (1, 1, 1):
            assert turn is None
            continue
        assert turn is not None
        backwards = tuple(axis for axis, (_, is_backwards) in enumerate(turn) if is_backwards)
        undone = np.flip(np.transpose(found, [axis for axis, _ in turn]), backwards)
        assert np.array_equal(undone, label_map)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([-1.0, -1.0, 2.0, 1.0]),  # other directions around the same first voxel
        np.diag([1.0, 1.0, 2.5, 1.0]),
        STRAIGHT + np.eye(4, k=3) * 4,
    ],
    ids=["header alone", "other spacing", "moved"],
)
def test_other_grids_are_not_turned(affine, tmp_path):
    _, geometry = saved(tmp_path / "a.nii", nibabel.Nifti1Image(VOXELS, STRAIGHT))
    _, other = saved(tmp_path / "b.nii", nibabel.Nifti1Image(VOXELS, affine))
    assert turned_axes(other, geometry) is None
