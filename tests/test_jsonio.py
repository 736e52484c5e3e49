import contextlib
import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from diffunet.errors import DatasetError, WriteError, explain
from diffunet.jsonio import (
    atomic_file,
    atomic_path,
    copy_file,
    read_json,
    remove_unfinished,
    require_writable,
    write_json,
    write_text,
)
from tests.full_disk import full_disk, no_more_files

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - nothing is written there


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
    with pytest.raises(DatasetError, match="is a folder, expected a file"):
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_as_programs_of_windows_write_it(encoding, tmp_path):
    (tmp_path / "a.json").write_bytes('{"name": "Läsion"}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"name": "Läsion"}


def test_numbers_of_64_bits_are_read_as_they_are(tmp_path):
    (tmp_path / "a.json").write_text("[18446744073709551615, -9223372036854775808, 1.5e308]")
    assert read_json(tmp_path / "a.json") == [2**64 - 1, -(2**63), 1.5e308]


@pytest.mark.parametrize("write", [write_json, lambda path, _: write_text(path, "x" * 20_000)])
def test_on_a_full_disk_the_older_file_stays_and_the_path_is_said(tmp_path, write):
    path = tmp_path / "a.json"
    path.write_text("old")
    with (
        pytest.raises(WriteError, match=f"'{path}': the limit on the size of files"),
        full_disk(8192),
    ):
        write(path, ["long"] * 5000)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_device_without_space_is_a_full_disk(tmp_path):
    (tmp_path / "a.json").symlink_to("/dev/full")
    with (
        (tmp_path / "a.json").open("wb", buffering=0) as full,
        pytest.raises(OSError, match="space") as caught,
    ):
        full.write(b"x")
    assert "the disk is full" in explain(caught.value, path=tmp_path / "a.json")


def test_a_library_that_swallows_or_rewords_a_failed_write_hides_nothing(tmp_path):
    for error in (None, RuntimeError("unexpected pos 64 vs 0")):
        with (
            pytest.raises(WriteError, match="limit on the size"),
            full_disk(10),
            atomic_file(tmp_path / "a.pth") as file,
        ):
            with contextlib.suppress(OSError):
                file.write(b"x" * 100_000)
            if error is not None:
                raise error
    assert not list(tmp_path.iterdir())


def test_a_copy_is_whole_or_not_there(tmp_path):
    (tmp_path / "a.json").write_text("x" * 10_000)
    with pytest.raises(WriteError), full_disk(8192):
        copy_file(tmp_path / "a.json", tmp_path / "b" / "a.json")
    assert not (tmp_path / "b" / "a.json").exists()
    copy_file(tmp_path / "a.json", tmp_path / "b" / "a.json")
    assert (tmp_path / "b" / "a.json").read_text() == "x" * 10_000


def obstacles(folder):
    (folder / "file").write_text("")
    (folder / "folder.json").mkdir()
    return {
        "a file stands where a folder should be": folder / "file" / "a.json",
        "a folder stands where a file should be": folder / "folder.json",
        "the name is too long": folder / ("n" * 252 + ".json"),
    }


@pytest.mark.parametrize("act", [require_writable, lambda path: write_text(path, "x")])
def test_what_stands_in_the_way_is_said_with_the_path(tmp_path, act):
    for said, path in obstacles(tmp_path).items():
        with pytest.raises(WriteError, match=said) as caught:
            act(path)
        assert str(path.parent if "file stands where a folder" in said else path) in str(
            caught.value
        )
    assert not list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "no permission"), (errno.EIO, "check the disk")],
)
def test_what_the_system_refuses_is_said_with_the_remedy(tmp_path, monkeypatch, number, said):
    def refuse(path, **_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(WriteError, match=rf"'{tmp_path / 'a.json'}': .*{said}"):
        require_writable(tmp_path / "a.json")


def test_asking_whether_a_file_can_be_written_changes_nothing(tmp_path):
    path = tmp_path / "new" / "a.json"
    require_writable(path)
    assert not list(path.parent.iterdir())
    path.write_text("old")
    require_writable(path)
    assert path.read_text() == "old"


def test_full_shared_memory_is_not_called_the_disk():
    failure = OSError(errno.ENOSPC, "No space left on device", f"{SHARED_MEMORY}/psm_1")
    assert f"{SHARED_MEMORY} is full" in explain(failure)
    assert "--shm-size" in explain(failure)
    assert "the disk is full" in explain(OSError(errno.ENOSPC, "No space left", "a.nii"))


def test_a_semaphore_that_finds_no_shared_memory_names_it(monkeypatch):
    failure = OSError(errno.ENOSPC, "No space left on device")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert f"{SHARED_MEMORY} is full" in explain(failure)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**30))
    assert SHARED_MEMORY not in explain(failure)


def test_a_folder_in_place_of_a_file_is_told(tmp_path):
    with pytest.raises(DatasetError, match="is a folder, expected a file; plan again"):
        read_json(tmp_path, DatasetError, remedy="plan again")


def test_a_missing_file_is_told_with_its_remedy(tmp_path):
    with pytest.raises(DatasetError, match="does not exist; plan again"):
        read_json(tmp_path / "none.json", DatasetError, remedy="plan again")


def test_a_file_that_cannot_be_begun_is_told_by_its_own_name(tmp_path):
    refused = pytest.raises(WriteError, match=r"a\.bin': too many files")
    with refused as said, no_more_files(), atomic_file(tmp_path / "a.bin"):
        pytest.fail("opened")
    assert "unfinished" not in str(said.value)
