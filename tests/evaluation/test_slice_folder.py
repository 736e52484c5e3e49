from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.errors import DatasetError
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.evaluation.slice_folder import score_slice_folder
from diffunet.evaluation.slice_scores import score_slices
from diffunet.labels import LabelScheme

LABELS = LabelScheme(names=("core", "rim"), values=((1,), (2,)), ignore_value=3)
PLANE = ImageGeometry(shape=(8, 8), spacing_mm=(1.0, 1.0), has_spacing=False)
VOLUME = ImageGeometry(
    shape=(4, 8, 8),
    spacing_mm=(3.0, 1.0, 2.0),
    origin=(0.0, 0.0, 0.0),
    direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
)


def write(folder: Path, name: str, seed: int, *, geometry: ImageGeometry = PLANE) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    label_map = np.random.default_rng(seed).integers(4, size=geometry.shape, dtype=np.uint8)
    ending = ".png" if geometry is PLANE else ".nii.gz"
    write_label_map(folder / f"{name}{ending}", label_map, geometry)
    return label_map


def score(folder: Path, **changed):
    content = {"labels": LABELS, "file_ending": ".png", "has_raters": False, **changed}
    folders = ScoredFolders(reference=folder / "reference", prediction=folder / "found", **content)
    return score_slice_folder(folders, num_processes=0)


def test_slices_of_a_folder_have_the_scores_of_their_masks_and_ignored_pixels(tmp_path):
    reference = write(tmp_path / "reference", "a", 0, geometry=VOLUME)
    found = write(tmp_path / "found", "a", 1, geometry=VOLUME)
    write(tmp_path / "found", "a_saliency_core", 1, geometry=VOLUME)
    scored = score(tmp_path, file_ending=".nii.gz", patients={"a": "p"})
    assert list(scored) == ["core", "rim"]
    assert scored["rim"] == score_slices(
        found == 2,
        reference == 2,
        spacing_mm=VOLUME.spacing_mm,
        case="a",
        patient="p",
        ignored=reference == 3,
    )


def test_cases_come_in_order_and_are_their_own_patients_without_a_table(tmp_path):
    for seed, case in enumerate(("b", "a")):
        write(tmp_path / "reference", case, seed)
        write(tmp_path / "found", case, 9 + seed)
    found = score(tmp_path)["core"]
    assert [(each.case, each.patient) for each in found] == [("a", "a"), ("b", "b")]


def test_the_majority_of_several_raters_is_the_reference(tmp_path):
    raters = [write(tmp_path / "reference", f"a_r{rater:02d}", rater) for rater in range(3)]
    found = write(tmp_path / "found", "a", 5)
    votes = np.sum([each == 1 for each in raters], axis=0)
    (expected,) = score_slices(
        found == 1,
        votes >= 2,
        spacing_mm=(1.0, 1.0),
        case="a",
        patient="a",
        ignored=np.any([each == 3 for each in raters], axis=0),
    )
    assert score(tmp_path, has_raters=True)["core"] == [expected]


def test_faults_of_the_folders_and_of_files_are_reported(tmp_path):
    write(tmp_path / "reference", "a", 0)
    with pytest.raises(DatasetError, match="expected a folder of label maps"):
        score(tmp_path)
    small = ImageGeometry(shape=(4, 4), spacing_mm=(1.0, 1.0), has_spacing=False)
    (tmp_path / "found").mkdir()
    write_label_map(tmp_path / "found" / "a.png", np.zeros((4, 4), np.uint8), small)
    with pytest.raises(DatasetError, match=r"expected the shape \(8, 8\)"):
        score(tmp_path)
