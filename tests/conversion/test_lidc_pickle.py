"""LIDC-IDRI as data_lidc.pickle."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from diffunet.api import plan_and_preprocess
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.downloads import convert
from tests.conversion.lidc_downloads import PREFIX, lidc_pickle, slices_by_name


def test_each_entry_becomes_a_case_of_its_series(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = convert("lidc", lidc_pickle(tmp_path / "data"), tmp_path / "workspace")
    assert made.patients == {
        "111_slice0": f"{PREFIX}.111",
        "111_slice1": f"{PREFIX}.111",
        "222_slice0": f"{PREFIX}.222",
        "333_slice0": f"{PREFIX}.333",
    }
    assert "each series_uid counts as one" in caplog.text
    assert not verify_dataset(made, num_processes=0).problems
    plan_and_preprocess(made.name, workspace=tmp_path / "workspace", num_processes=0)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numbers_are_those_of_the_pickle(tmp_path: Path, protocol: int) -> None:
    source = lidc_pickle(tmp_path / "data", protocol=protocol)
    made = convert("lidc", source / "data_lidc.pickle", tmp_path / "workspace")
    for case, entry in zip(made.training_cases, slices_by_name().values(), strict=True):
        image, _ = read_image(case.images)
        np.testing.assert_array_equal(image[0], entry["image"])
        assert image.dtype == np.float64
        for path, mask in zip(case.labels.values(), entry["masks"], strict=True):  # pyright: ignore[reportArgumentType]
            np.testing.assert_array_equal(read_label_map(path)[0], mask)


def test_patients_named_in_the_keys_count(tmp_path: Path) -> None:
    entries = {f"LIDC-IDRI-0007_{key}": entry for key, entry in slices_by_name().items()}
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(entries))
    made = convert("lidc", tmp_path / "data.pkl", tmp_path / "workspace")
    assert set(made.patients.values()) == {"LIDC-IDRI-0007"}


def test_masks_may_be_one_array(tmp_path: Path) -> None:
    entries = slices_by_name()
    for entry in entries.values():
        entry["masks"] = np.array(entry["masks"], bool)
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(entries))
    made = convert("lidc", tmp_path / "data.pkl", tmp_path / "workspace")
    sums = [read_label_map(path)[0].sum() for path in made.training_cases[0].labels.values()]
    assert sums == [15, 20, 25, 0]


def test_published_ids_beside_the_file_are_the_split(tmp_path: Path) -> None:
    source = lidc_pickle(tmp_path / "data")
    (source / "test_ids.txt").write_text("222\n999\n")
    (source / "vali_ids.txt").write_text("333\n222\n")
    made = convert("lidc", source, tmp_path / "workspace")
    assert [case.case for case in made.test_cases] == ["222_slice0"]
    assert (made.folder / "labelsTs" / "222_slice0_r03.tif").is_file()
    (split,) = made.splits()
    assert split.train == ("111_slice0", "111_slice1")
    assert split.val == ("333_slice0",)


def test_ids_of_another_file_are_refused(tmp_path: Path) -> None:
    source = lidc_pickle(tmp_path / "data")
    (source / "test_ids.txt").write_text("444\n")
    with pytest.raises(DatasetError, match="test_ids.txt': expected ids with which names"):
        convert("lidc", source, tmp_path / "workspace")


@pytest.mark.parametrize(
    "change",
    [
        {"masks": []},
        {"masks": [np.zeros((16, 15))]},
        {"masks": [[0, 1], [1, 0]]},
        {"masks": np.zeros((4, 16, 15))},
        {"image": np.zeros((3, 16, 16))},
        {"image": np.zeros((0, 16)), "masks": [np.zeros((0, 16))]},
        {"series_uid": None},
    ],
    ids=[
        "no masks",
        "other size",
        "lists",
        "other size of all",
        "a volume",
        "no pixels",
        "no series",
    ],
)
def test_entries_that_are_no_slices_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object]
) -> None:
    entries = slices_by_name()
    entries["222_slice0"] |= change
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(entries))
    with pytest.raises(DatasetError, match=r"entry '222_slice0': expected an image"):
        convert("lidc", tmp_path / "data.pkl", tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_a_mask_of_other_values_names_its_entry(tmp_path: Path) -> None:
    entries = slices_by_name()
    entries["222_slice0"]["masks"] = [np.full((16, 16), 2)]
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(entries))
    with pytest.raises(DatasetError, match="entry '222_slice0': expected a mask of 0 and 1"):
        convert("lidc", tmp_path / "data.pkl", tmp_path / "workspace")


def test_an_entry_that_is_left_out_is_in_no_fold(tmp_path: Path) -> None:
    entries = slices_by_name()
    entries["111_slice1"]["masks"] = [np.full((16, 16), 2)]
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(entries))
    (tmp_path / "vali_ids.txt").write_text("333\n")
    made = convert("lidc", tmp_path / "data.pkl", tmp_path / "workspace", skip_faulty=True)
    assert [split.train for split in made.splits()] == [("111_slice0", "222_slice0")]


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DatasetError, match="expected a dict of slices by their names"):
        convert("lidc", tmp_path / "data.pkl", tmp_path / "workspace")
