from pathlib import Path

import pytest

from diffunet.data.raw.image_labels import read_given_labels
from diffunet.errors import DatasetError

NUM_SLICES = {"scan": 4, "picture": 0, "broken": None}


def read(folder: Path, *lines: str, cases: tuple[str, ...] = ("scan", "picture", "broken")):
    path = folder / "tags.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_given_labels(
        path, label_names=("cyst", "tumour"), cases=cases, num_slices=NUM_SLICES.__getitem__
    )


def problems_of(folder: Path, *lines: str, **arguments) -> tuple[str, ...]:
    with pytest.raises(DatasetError) as caught:
        read(folder, *lines, **arguments)
    return caught.value.problems


def test_cases_and_slices_may_be_missing(tmp_path):
    labels = read(tmp_path, "case,slice,cyst,tumour", "scan,3,1,0", "picture,,0,1")
    assert labels.of("scan", 3) == (1, 0)
    assert labels.of("picture") == (0, 1)
    assert labels.of("scan") is labels.of("broken") is None


def test_one_kind_alone_is_enough_to_predict(tmp_path):
    assert read(tmp_path, "case,cyst,tumour", "picture,1,1").table == {("picture", None): (1, 1)}


def test_the_table_of_a_whole_dataset_may_name_other_cases(tmp_path):
    lines = ["case,cyst,tumour", "picture,1,1", "training_7,0,1"]
    labels = read(tmp_path, *lines, cases=("picture",))
    assert labels.table == {("picture", None): (1, 1)}


def test_unknown_cases_are_a_mistake_where_a_case_to_predict_has_no_line(tmp_path):
    (problem,) = problems_of(
        tmp_path, "case,cyst,tumour", "pictrue,1,1", "scan,0,0", cases=("picture", "scan")
    )
    assert "found 1 others ('pictrue') and no line for 'picture'" in problem


def test_every_fault_is_told_at_once(tmp_path):
    problems = problems_of(
        tmp_path,
        "case,slice,cyst,tumour",
        "scan,4,1,0",
        "scan,x,1,0",
        "picture,0,1,0",
        "broken,99,1,0",
        "scan,1,2,yes",
        "scan,1,0,0",
        "other,,0,0",
        cases=("scan", "picture", "broken", "lonely"),
    )
    text = "\n".join(problems)
    assert len(problems) == 7
    for fault in (
        "case 'scan': expected slices from 0 to 3, in tags.csv, found slice 4; correct the numbers",
        "case 'picture': expected no slice: it is an image, in tags.csv, found slice 0",
        "counted from 0, in tags.csv, line 3, found 'x'",
        "expected 0 or 1 for 'cyst' in tags.csv, line 6, found '2'",
        "expected 0 or 1 for 'tumour' in tags.csv, line 6, found 'yes'",
        "case 'scan', slice 1: expected one line",
        "found 1 others ('other') and no line for 'lonely'",
    ):
        assert fault in text


@pytest.mark.parametrize("header", ["case,cyst", "case,cyst,tumour,edema"])
def test_columns_are_the_labels(tmp_path, header):
    (problem,) = problems_of(tmp_path, header, *[",".join("p" * (header.count(",") + 1))])
    assert "expected the columns" in problem


def test_a_slice_and_its_case_may_not_contradict_each_other(tmp_path):
    (problem,) = problems_of(tmp_path, "case,slice,cyst,tumour", "scan,,0,1", "scan,2,1,0")
    assert "the whole case says 0, found 1" in problem


def test_a_table_without_lines_is_refused(tmp_path):
    (problem,) = problems_of(tmp_path, "case,cyst,tumour")
    assert "expected a line for at least one of the cases to predict, found none" in problem
