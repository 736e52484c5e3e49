from pathlib import Path

import pytest

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
