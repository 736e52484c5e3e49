"""A raw dataset is known by its files and by what its tables say of them."""

import os
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.dataset_state import DatasetState
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import build_2d, edit_json, write_csv, write_png

CHANGED = "1 case with other files, patient, raters or image-level labels: '{}'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return cases a, b, c; the image of a is larger than both of the ends that are read."""
    build_2d(tmp_path)
    for name in ("imagesTr/a_0000.png", "labelsTr/a.png"):
        write_png(tmp_path / name, np.random.default_rng(0).integers(0, 2, (256, 256), np.uint8))
    return tmp_path


def state(folder: Path) -> DatasetState:
    return DatasetState.of(open_dataset(folder))


@pytest.mark.parametrize("name", ["imagesTr/a_0000.png", "labelsTr/a.png"])
@pytest.mark.parametrize("place", [20, -1])
def test_a_byte_at_either_end_is_a_change_at_equal_size_and_time(folder, name, place):
    before = state(folder)
    path = folder / name
    content, status = bytearray(path.read_bytes()), path.stat()
    assert len(content) > 2 * 2**11
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert state(folder).changes_since(before) == (CHANGED.format("a"),)


def test_another_time_is_a_change(folder):
    before = state(folder)
    os.utime(folder / "imagesTr/b_0000.png", ns=(0, 1))
    assert state(folder).changes_since(before) == (CHANGED.format("b"),)


def test_another_patient_is_a_change(folder):
    before = state(folder)
    write_csv(folder / "patients.csv", [("case", "patient"), ("a", "a"), ("b", "a"), ("c", "c")])
    assert state(folder).changes_since(before) == (CHANGED.format("b"),)


def test_masks_count_only_where_they_are_learned_from(folder):
    write_csv(folder / "tags.csv", [("case", "lesion"), ("a", 1), ("b", 0), ("c", 1)])
    edit_json(folder / "dataset.json", image_labels="tags.csv")
    before = state(folder)
    (folder / "labelsTr/a.png").write_bytes(b"anything")
    assert state(folder) == before
    write_csv(folder / "tags.csv", [("case", "lesion"), ("a", 1), ("b", 1), ("c", 0)])
    assert "2 cases with other" in state(folder).changes_since(before)[0]


def test_what_dataset_json_says_of_all_cases_is_named(folder):
    before = state(folder)
    edit_json(folder / "dataset.json", labels={"background": 0, "cyst": 1}, description="new")
    assert state(folder).changes_since(before) == ("'labels' of dataset.json",)


def test_a_state_is_read_as_it_was_written_and_a_damaged_one_is_none(folder):
    path = folder / "dataset_state.json"
    state(folder).save(path)
    found = DatasetState.load(path)
    assert found is not None
    assert found.digest == state(folder).digest
    path.write_text("{")
    assert DatasetState.load(path) is None


def test_a_file_that_goes_while_it_is_looked_at_names_the_case(folder):
    dataset = open_dataset(folder)
    (folder / "imagesTr/c_0000.png").unlink()
    with pytest.raises(DatasetError, match=r"case 'c': '.*c_0000.png' cannot be read"):
        DatasetState.of(dataset)
