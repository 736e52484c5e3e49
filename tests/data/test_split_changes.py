"""Folds that go on: new cases by patient, and nothing of what their author decided."""

from pathlib import Path

import pytest

from diffunet.data.raw.dataset import RawDataset, open_dataset
from diffunet.data.raw.split_changes import extended_splits, settled_splits
from diffunet.data.raw.splits import Split, make_splits, write_splits
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import build_2d, write_csv, write_json

PATIENTS = {f"case_{index:02d}": f"p{index % 7}" for index in range(30)}
OLD = [case for case in PATIENTS if case < "case_20"]


def settled(
    dataset: RawDataset, path: Path, splits: list[Split], *, known: str = "abc"
) -> tuple[Split, ...]:
    write_splits(path, splits)
    return settled_splits(dataset, path, known=list(known))


@pytest.fixture
def dataset(tmp_path: Path) -> RawDataset:
    """Return cases a, b, c, each a patient of its own."""
    build_2d(tmp_path / "raw")
    return open_dataset(tmp_path / "raw")


def test_cases_of_known_patients_go_to_the_side_of_their_patient() -> None:
    before = make_splits(OLD, PATIENTS)
    after = extended_splits(before, cases=list(PATIENTS), patients=PATIENTS)
    assert after == make_splits(list(PATIENTS), PATIENTS)


def test_new_patients_are_dealt_to_the_folds_that_validate_the_fewest() -> None:
    own = {f"{index:02d}": f"{index:02d}" for index in range(23)}
    before = make_splits([case for case in own if case < "13"], own)
    after = extended_splits(before, cases=list(own), patients=own)
    assert sorted(len(split.val) for split in after) == [4, 4, 5, 5, 5]
    assert sorted(case for split in after for case in split.val) == sorted(own)
    for old, new in zip(before, after, strict=True):
        assert set(old.val) <= set(new.val)
        assert set(old.train) <= set(new.train)
        assert {*new.train, *new.val} == set(own)


def test_extending_in_two_steps_keeps_patients_together() -> None:
    half = extended_splits(make_splits(OLD[:5], PATIENTS), cases=OLD[:9], patients=PATIENTS)
    whole = extended_splits(half, cases=list(PATIENTS), patients=PATIENTS)
    for split in whole:
        assert not {PATIENTS[c] for c in split.train} & {PATIENTS[c] for c in split.val}


def test_a_new_patient_joins_no_fold_that_is_not_a_cross_validation() -> None:
    own = {case: case for case in "abcdx"}
    only_one = [Split(train=("a", "b"), val=("c", "d"))]
    assert extended_splits(only_one, cases="x", patients=own) == tuple(only_one)


def test_folds_that_train_on_a_part_alone_are_no_cross_validation() -> None:
    own = {case: case for case in "abcdx"}
    by_hand = (Split(train=("a",), val=("b", "c")), Split(train=("b",), val=("a", "d")))
    assert extended_splits(by_hand, cases="x", patients=own) == by_hand


def test_a_new_case_of_a_held_patient_is_held_in_any_split() -> None:
    patients = {"a": "p", "b": "q", "c": "q"}
    after = extended_splits([Split(train=("a",), val=("b",))], cases="c", patients=patients)
    assert after == (Split(train=("a",), val=("b", "c")),)


def test_a_known_case_that_is_in_no_fold_was_left_out_on_purpose(
    dataset: RawDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "preprocessed/splits_final.json"
    by_hand = [Split(train=("a",), val=("b",)), Split(train=("b",), val=("a",))]
    assert settled(dataset, path, by_hand) == tuple(by_hand)
    assert f"1 training cases are in no fold of '{path}': 'c'" in caplog.text
    with_new = settled(dataset, path, by_hand, known="ab")
    assert [split.val for split in with_new] == [("b", "c"), ("a",)]


def test_a_case_that_was_removed_is_taken_out_of_every_fold(
    dataset: RawDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = [Split(train=("a", "x"), val=("b", "c")), Split(train=("b", "c"), val=("a", "x"))]
    with caplog.at_level("INFO"):
        after = settled(dataset, tmp_path / "splits_final.json", before, known="abcx")
    assert after == (Split(train=("a",), val=("b", "c")), Split(train=("b", "c"), val=("a",)))
    assert "1 cases are taken out" in caplog.text


def test_a_name_that_was_never_a_case_is_a_fault_with_the_folder(
    dataset: RawDataset, tmp_path: Path
) -> None:
    path = tmp_path / "splits_final.json"
    with pytest.raises(DatasetError) as caught:
        settled(dataset, path, [Split(train=("a", "x"), val=("b", "c"))])
    assert (
        f"'{path}': expected training cases in the folds, found 1 others in fold 0, 'train': 'x'"
        in str(caught.value)
    )


def test_splits_beside_the_raw_data_are_named_where_others_count(
    dataset: RawDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "preprocessed/splits_final.json"
    write_json(dataset.folder / "splits_final.json", [{"train": ["a"], "val": ["b", "c"]}])
    assert settled_splits(dataset, path, known=()) == (Split(train=("a",), val=("b", "c")),)
    assert not caplog.text
    settled(dataset, path, [Split(train=("a", "b"), val=("c",))])
    assert f"differs from '{path}', which is used" in caplog.text


def test_raw_splits_that_leave_cases_out_are_warned_of(
    dataset: RawDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_json(dataset.folder / "splits_final.json", [{"train": ["a"], "val": ["b"]}])
    settled_splits(dataset, tmp_path / "splits_final.json", known=())
    assert f"in no fold of '{dataset.folder / 'splits_final.json'}': 'c'" in caplog.text


def test_a_patient_table_that_comes_later_is_obeyed(dataset: RawDataset, tmp_path: Path) -> None:
    write_csv(dataset.folder / "patients.csv", [("case", "patient"), *((c, "p") for c in "abc")])
    together = open_dataset(dataset.folder)
    with pytest.raises(DatasetError, match="'p'.*remove the file to have folds made by patient"):
        settled(together, tmp_path / "splits_final.json", [Split(train=("a",), val=("b", "c"))])
