"""The table of image-level labels, by case and by slice."""

from pathlib import Path

from diffunet.data.image_labels import ImageLabels, read_image_labels
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
    assert not labels.has_slices


def test_slices_are_labelled_one_by_one(tmp_path: Path) -> None:
    rows = [("a", 7, 1), ("a", 2, 0), ("b", 10, 0)]
    labels = read(tmp_path, ("case", "slice", "x"), *rows, names=("x",))
    assert labels.has_slices
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
