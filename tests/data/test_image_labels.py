"""The table of image-level labels, by case and by slice."""

from pathlib import Path

import pytest

from diffunet.data.raw.image_labels import ImageLabels, read_image_labels
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import write_csv


def read(
    folder: Path, *rows: tuple[object, ...], names: tuple[str, ...] = ("x", "y")
) -> ImageLabels:
    write_csv(folder / "table.csv", rows)
    return read_image_labels(
        folder / "table.csv", label_names=names, training_cases=["a", "b"], test_cases=["t"]
    )


def test_labels_follow_the_order_of_dataset_json(tmp_path: Path) -> None:
    labels = read(tmp_path, ("y", "case", "x"), (0, "a", 1), (1, "b", 0), (1, "t", 1))
    assert labels.names == ("x", "y")
    assert [labels.of(case) for case in ("a", "b", "t")] == [(1, 0), (0, 1), (1, 1)]
    assert labels.slices == {}


def test_slices_are_labelled_one_by_one(tmp_path: Path) -> None:
    rows = [("a", 7, 1), ("a", 2, 0), ("b", 10, 0)]
    labels = read(tmp_path, ("case", "slice", "x"), *rows, names=("x",))
    assert labels.slices == {"a": (2, 7), "b": (10,)}
    assert labels.of("a", 7) == (1,)
    assert labels.of("a", 3) is None
    assert labels.of("a") is None


def test_cases_and_slices_may_be_mixed(tmp_path: Path) -> None:
    rows = [("a", "", 1), ("a", 2, 0), ("b", "", 0)]
    labels = read(tmp_path, ("case", "slice", "x"), *rows, names=("x",))
    assert labels.of("a") == (1,)
    assert labels.of("a", 2) == (0,)


def test_test_cases_do_not_count_for_both_kinds_being_there(tmp_path: Path) -> None:
    labels = read(tmp_path, ("case", "x"), ("a", 1), ("b", 0), ("t", 1), names=("x",))
    assert labels.of("t") == (1,)


def test_a_byte_order_mark_spaces_and_blank_lines_are_taken(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("\ufeffcase, x\r\na , 1\r\n\r\nb,0\r\n", encoding="utf-8")
    labels = read_image_labels(
        tmp_path / "table.csv", label_names=["x"], training_cases=["a", "b"], test_cases=[]
    )
    assert labels.table == {("a", None): (1,), ("b", None): (0,)}


def test_names_with_commas_are_quoted(tmp_path: Path) -> None:
    text = 'case,"cyst, large"\n"a, left",1\nb,0\n'
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    labels = read_image_labels(
        tmp_path / "table.csv",
        label_names=["cyst, large"],
        training_cases=["a, left", "b"],
        test_cases=[],
    )
    assert labels.table == {("a, left", None): (1,), ("b", None): (0,)}


def faults_of(folder: Path, *rows: tuple[object, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    with pytest.raises(DatasetError) as caught:
        read(folder, *rows, names=names)
    return caught.value.problems


def test_faults_of_every_kind_are_told_at_once(tmp_path: Path) -> None:
    rows = [("a", "1.5", 1), ("a", 2, 7), ("b", 3, 0), ("b", 3, 1), ("z", "", 0)]
    faults = faults_of(tmp_path, ("case", "slice", "x"), *rows, names=("x",))
    expected = ["found '1.5'", "found '7'", "found a second", "found 1 others: 'z'"]
    assert len(faults) == len(expected)
    assert all(words in fault for words, fault in zip(expected, faults, strict=True))


def test_slices_that_are_no_numbers_are_no_second_fault(tmp_path: Path) -> None:
    rows = [("a", "0.0", 1), ("a", "1.0", 0), ("b", 0, 1)]
    faults = faults_of(tmp_path, ("case", "slice", "x"), *rows, names=("x",))
    assert [fault.split(", without")[0].split("found ")[1] for fault in faults] == [
        "'0.0'; write 0",
        "'1.0'; write 1",
    ]


def test_one_fault_in_a_thousand_lines_is_told_briefly(tmp_path: Path) -> None:
    rows = [("a", index, "no") for index in range(1000)]
    faults = faults_of(tmp_path, ("case", "slice", "x"), *rows, ("b", 0, 1), names=("x",))
    assert len(faults) == 6
    assert "line 2, found 'no'" in faults[0]
    assert "995 more faults of this kind" in faults[-1]


def test_many_cases_without_a_line_are_one_fault(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [("case", "x"), ("a", 1), ("b", 0)])
    with pytest.raises(DatasetError) as caught:
        read_image_labels(
            tmp_path / "table.csv",
            label_names=["x"],
            training_cases=["a", "b", *(f"c{index:03}" for index in range(500))],
            test_cases=[],
        )
    assert len(caught.value.problems) == 1
    assert "none for 500: 'c000', 'c001'" in caught.value.problems[0]


def test_names_of_files_in_place_of_cases_are_told_by_the_right_names(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"file ending: 'a' for 'a_0000.png', and so on"):
        read(tmp_path, ("case", "x"), ("a_0000.png", 1), ("b_0000.png", 0), names=("x",))
