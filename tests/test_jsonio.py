import dataclasses
from pathlib import Path

import numpy as np
import pytest

from diffunet.errors import DatasetError
from diffunet.jsonio import atomic_path, read_json, remove_unfinished, write_json


def test_numpy_values_paths_and_dataclasses_become_plain_json(tmp_path):
    @dataclasses.dataclass
    class Point:
        x: int

    path = tmp_path / "folder" / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": np.arange(2), "c": Path("x"), "d": Point(1)})
    assert read_json(path) == {"a": 0.5, "b": [0, 1], "c": "x", "d": {"x": 1}}


def test_nan_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, float("nan"))
    assert read_json(path) == 1


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic_path(path) as unfinished:
        unfinished.write_text("new")
        raise RuntimeError("disk")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_the_unfinished_path_keeps_the_suffixes(tmp_path):
    with atomic_path(tmp_path / "case.nii.gz") as unfinished:
        assert unfinished.name.endswith("-case.nii.gz")
        unfinished.write_bytes(b"x")


def test_left_overs_of_killed_processes_are_removed(tmp_path):
    (tmp_path / ".unfinished-1-a.json").write_text("{")
    (tmp_path / "a.json").write_text("{}")
    remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "fragment"),
    [(None, "does not exist"), (b'{"a": 1,\n oops}', "line 2"), (b"\xff\xfe", "not valid JSON")],
)
def test_an_unreadable_file_is_an_error_that_names_it(tmp_path, content, fragment):
    path = tmp_path / "dataset.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=fragment) as caught:
        read_json(path, DatasetError)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_a_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_json(tmp_path, DatasetError)


def test_what_json_cannot_hold_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="object cannot be written"):
        write_json(tmp_path / "a.json", object())


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100 + b"]" * 100,
        b"[" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"9" * 5000,
        b"18446744073709551616",
        b"1e999",
        b"[NaN]",
        b"-Infinity",
        b'"\\ud800"',
        b"",
    ],
    ids=lambda content: content[:12].decode(),
)
def test_json_that_cannot_be_worked_with_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "store.manifest"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="'.*store.manifest' is not valid JSON: .*"):
        read_json(path, DatasetError)


def test_a_byte_order_mark_before_json_is_skipped(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "a.json") == {}


def test_numbers_of_64_bits_are_read_as_they_are(tmp_path):
    (tmp_path / "a.json").write_text("[18446744073709551615, -9223372036854775808, 1.5e308]")
    assert read_json(tmp_path / "a.json") == [2**64 - 1, -(2**63), 1.5e308]
