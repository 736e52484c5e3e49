"""Folds: nnU-Net's where cases are patients, and never a divided patient."""

import json
import logging
from pathlib import Path

import pytest

from diffunet.data.raw.splits import Split, load_splits, make_splits, write_splits
from diffunet.errors import DatasetError
from diffunet.jsonio import write_json


def own_patients(cases: list[str]) -> dict[str, str]:
    return {case: case for case in cases}


def test_folds_of_single_cases_are_those_of_nnunet() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    cases = [f"case_{index:03d}" for index in range(23)]
    splitter = selection.KFold(n_splits=5, shuffle=True, random_state=12345)
    expected = [
        Split(train=tuple(cases[i] for i in train), val=tuple(cases[i] for i in val))
        for train, val in splitter.split(cases)
    ]
    assert make_splits(cases[::-1], own_patients(cases)) == tuple(expected)


def test_every_case_is_validated_once_and_no_patient_is_divided() -> None:
    patients = {f"case_{index:03d}": f"patient_{index * index % 17}" for index in range(100)}
    splits = make_splits(list(patients), patients)
    assert sorted(case for split in splits for case in split.val) == sorted(patients)
    for split in splits:
        assert set(split.train) | set(split.val) == set(patients)
        assert not {patients[c] for c in split.train} & {patients[c] for c in split.val}


def test_a_label_that_some_patients_show_is_in_every_fold():
    """Among nnU-Net's folds of these patients, one holds three of the five and two hold none."""
    patients = {f"case_{index:03d}": f"patient_{index // 2:02d}" for index in range(60)}
    shown = {f"case_{index:03d}": ["rare"] for index in (0, 12, 22, 36, 48)}
    shown |= {f"case_{index:03d}": ["usual"] for index in range(1, 60, 4)}
    usual = make_splits(list(patients), patients)
    splits = make_splits(list(patients), patients, shown=shown)

    def counts(splits, label):
        held = [{patients[case] for case in split.val} for split in splits]
        showing = {patients[case] for case, labels in shown.items() if label in labels}
        return sorted(len(each & showing) for each in held)

    assert counts(usual, "rare") == [0, 0, 1, 1, 3]
    assert counts(splits, "rare") == [1, 1, 1, 1, 1]
    assert counts(splits, "usual") == [3, 3, 3, 3, 3]
    assert [len(split.val) for split in splits] == [12] * 5
    assert sorted(case for split in splits for case in split.val) == sorted(patients)
    for split in splits:
        assert not {patients[c] for c in split.train} & {patients[c] for c in split.val}
    assert make_splits(list(patients), patients, shown=shown) == splits


def test_labels_that_all_patients_show_leave_the_folds_as_they_are():
    patients = {f"{index:02d}": f"{index // 3}" for index in range(30)}
    shown = {case: ["tumour"] for case in patients if int(case) % 3}
    assert make_splits(list(patients), patients, shown=shown) == make_splits(
        list(patients), patients
    )


def test_another_seed_gives_other_folds() -> None:
    cases = [f"{index:02d}" for index in range(20)]
    assert make_splits(cases, own_patients(cases), seed=1) != make_splits(
        cases, own_patients(cases), seed=2
    )


def test_with_fewer_patients_than_folds_each_is_held_out_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        splits = make_splits(["a", "b", "c"], {"a": "p", "b": "q", "c": "q"})
    assert sorted(split.val for split in splits) == [("a",), ("b", "c")]
    assert "5 folds need as many patients, found 2; making 2 folds instead" in caplog.text


def test_a_single_patient_gives_no_fold(caplog: pytest.LogCaptureFixture) -> None:
    assert make_splits(["a", "b"], {"a": "p", "b": "p"}) == ()
    assert "found 1; making 0 folds" in caplog.text


def test_splits_are_written_as_nnunet_reads_them_and_read_again(tmp_path: Path) -> None:
    cases = [f"{index:02d}" for index in range(10)]
    splits = make_splits(cases, own_patients(cases))
    write_splits(tmp_path / "splits_final.json", splits)
    content = json.loads((tmp_path / "splits_final.json").read_text(encoding="utf-8"))
    assert content[0] == {"train": list(splits[0].train), "val": list(splits[0].val)}
    assert len(content) == 5
    read = load_splits(tmp_path / "splits_final.json", cases=cases, patients=own_patients(cases))
    assert read == splits


def test_cases_that_no_fold_should_name_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    write_json(path, [{"train": ["a", "x"], "val": ["b"]}, {"train": ["b"], "val": ["a", "x"]}])
    with pytest.raises(DatasetError) as caught:
        load_splits(path, cases=("a", "b"), patients={"a": "a", "b": "b"})
    assert caught.value.problems == (
        f"'{path}': expected training cases in the folds, found 1 others in fold 0, 'train'; "
        "fold 1, 'val': 'x'; correct or remove them",
    )
