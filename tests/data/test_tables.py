from pathlib import Path

import pytest

from diffunet.data.raw.case_files import as_cases
from diffunet.data.raw.tables import read_rows
from diffunet.errors import DatasetError


def rows_of(tmp_path: Path, content: str, encoding: str = "utf-8") -> list[dict[str, str]]:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode(encoding))
    return [row for _, row in read_rows(path, columns=("case", "patient"))]


EXPECTED = [{"case": "a", "patient": "p1"}, {"case": "b", "patient": "p2"}]


@pytest.mark.parametrize(
    "content",
    [
        "case,patient\na,p1\nb,p2\n",
        "case,patient\r\na,p1\r\nb,p2\r\n",
        "case,patient\ra,p1\rb,p2",
        "case,patient\n\na,p1\n,\nb,p2\n , \n",
        'case,patient\n"a","p1"\n"b",p2\n',
    ],
    ids=["unix", "windows", "old_mac", "empty_lines", "quotes"],
)
def test_tables_of_any_program_are_read_alike(tmp_path, content):
    assert rows_of(tmp_path, content) == EXPECTED


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert rows_of(tmp_path, "case,patient\na,p1\nb,p2\n", "utf-8-sig") == EXPECTED


def test_an_index_of_pandas_beside_named_columns_does_no_harm_to_patients(tmp_path):
    (row, _) = rows_of(tmp_path, ",case,patient\n0,a,p1\n1,b,p2\n")
    assert (row["case"], row["patient"]) == ("a", "p1")


def test_lines_are_counted_as_an_editor_does(tmp_path):
    with pytest.raises(DatasetError, match=r"table\.csv, line 4: expected 2 values, found 1"):
        rows_of(tmp_path, "case,patient\n\na,p1\nb\n")


def test_empty_columns_at_the_end_are_a_spreadsheets(tmp_path):
    assert rows_of(tmp_path, "case,patient,,\na,p1,,\nb,p2,, \n") == EXPECTED
    with pytest.raises(DatasetError, match="line 3: .* found one in a column without a name"):
        rows_of(tmp_path, "case,patient,,\na,p1,,\nb,p2,,x\n")


def test_a_table_without_its_first_line_is_told(tmp_path):
    with pytest.raises(DatasetError, match="add the line case,patient before it"):
        rows_of(tmp_path, "007,1\n008,2\n")


@pytest.mark.parametrize(
    ("written", "case"),
    [
        ("7", "007"),
        ("7.0", "007"),
        ("'007", "007"),
        ('="007"', "007"),
        ("\u200b007", "007"),
        ("1.00E+05", "1E5"),
        ("ms_A", "MS_a"),
    ],
)
def test_a_name_that_a_spreadsheet_changed_is_told_with_the_right_one(written, case):
    remedy = as_cases([written, "05.Dez"], ["007", "008", "1E5", "MS_a", "12-05"])
    assert remedy is not None
    assert remedy.startswith(f"write '{case}' for ")


def test_a_name_that_may_mean_two_cases_is_not_guessed():
    assert as_cases(["7"], ["007", "07"]) is None
    assert as_cases(["9"], ["007", "08"]) is None
