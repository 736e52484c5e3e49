import errno
import sys
import unicodedata
from itertools import combinations
from pathlib import Path

import pytest

from diffunet import names
from diffunet.errors import UsageError, WorkspaceError
from diffunet.names import (
    file_parts,
    name_problem,
    require_fold,
    require_name,
    require_names_on,
    shared_names,
)


@pytest.mark.parametrize("name", ["case_1", "Müller 3", "左肺", "a.b", "x" * 200])
def test_a_name_that_a_file_can_have_is_taken(name):
    assert require_name(name, where="here", error=UsageError) == name


@pytest.mark.parametrize(
    "name",
    [
        *["", ".", "..", "../a", "a/b", "/a", "a\\b", "..\\a", ".hidden"],
        *[" a", "a ", "a\n", "a\0b", "\x1b[2J", "x" * 201, "é" * 101],
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(UsageError, match=r"^here: expected a name that a file can have, found"):
        require_name(name, where="here", error=UsageError)
    assert name_problem(name)


@pytest.mark.parametrize("fold", [0, "0", "7", 12, "all"])
def test_a_fold_has_a_number_or_is_all(fold):
    assert require_fold(fold, error=UsageError) == str(fold)


@pytest.mark.parametrize(
    "fold", ["00", "01", "０", "²", "-1", "1.0", "", " 0", "ALL", "../0", True]
)
def test_what_would_be_a_second_fold_0_is_none(fold):
    with pytest.raises(UsageError, match="there is no fold"):
        require_fold(fold, error=UsageError)


@pytest.mark.parametrize(
    "labels",
    [
        ["肝", "脾", "腎"],
        ["+", "-", "?", "??"],
        ["Liver", "liver", "LIVER"],
        ["a b", "a_b", "a-b", "a/b"],
        ["a", "A", "a-0", "a-0-0"],
        [unicodedata.normalize(form, "naïve") for form in ("NFC", "NFD")],
        ["x" * 70, "x" * 71],
        ["straße", "STRASSE"],
    ],
)
def test_no_two_labels_share_a_file_on_any_disk(labels):
    parts = file_parts(labels)
    assert not shared_names(parts)
    assert len(set(parts)) == len(labels)
    assert all(name_problem(f"case_{part}") is None for part in parts)


def test_labels_keep_their_letters():
    assert file_parts(["left lobe", "肝", "हिन्दी", "v1.2", "left_lung"]) == [
        *["left-lobe", "肝", "हिन्दी", "v1.2", "left-lung"]
    ]


def test_names_that_are_one_file_where_case_does_not_count_are_found():
    assert shared_names(["b", "A", "a", "É", "é"]) == [["A", "a"], ["É", "é"]]
    assert all(len(shared_names(pair)) == 0 for pair in combinations(["a", "b", "a1"], 2))


def test_names_that_the_disk_cannot_tell_apart_are_refused(tmp_path, monkeypatch):
    require_names_on(tmp_path / "out", ["A", "a"], what="cases", error=WorkspaceError)
    monkeypatch.setattr(names, "_tells_cases_apart", lambda folder: False)
    require_names_on(tmp_path, ["A", "b"], what="cases", error=WorkspaceError)
    with pytest.raises(WorkspaceError, match=r"1 cases differ only in case: 'A' = 'a'; rename"):
        require_names_on(tmp_path, ["A", "a", "b"], what="cases", error=WorkspaceError)


def test_names_that_the_disk_does_not_take_are_refused_before_any_work(tmp_path, monkeypatch):
    def touch(path, original=Path.touch):
        """Make a file as a disk for Windows does."""
        if set('<>:"|?*') & set(path.name) or path.stem.lower() == "con":
            raise OSError(errno.EINVAL, "Invalid argument")
        original(path.with_name(path.name.rstrip(".")))

    doubtful = ["a:b.png", "con.png", "Con", "a.", "what?"]
    fine = ["a.b.png", "contour.png", "a", "é"]
    require_names_on(tmp_path / "out", [*doubtful, *fine], what="files", error=WorkspaceError)
    monkeypatch.setattr(Path, "touch", touch)
    require_names_on(tmp_path, fine, what="files", error=WorkspaceError)
    with pytest.raises(WorkspaceError) as caught:
        require_names_on(tmp_path, [*fine, *doubtful], what="files", error=WorkspaceError)
    assert "5 files by their names: 'a:b.png', 'con.png', 'Con', 'a.', 'what?'" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").iterdir())


def test_the_disk_is_tried_and_left_as_it_was(tmp_path):
    require_names_on(tmp_path, ["A", "a"], what="cases", error=WorkspaceError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("encoding", "told"),
    [("utf-8", "not written in UTF-8"), ("ascii", "not ascii, .*PYTHONUTF8=1")],
)
def test_a_name_that_is_no_text_is_told_by_its_encoding(monkeypatch, encoding, told):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    with pytest.raises(UsageError, match=told):
        require_name("F\udcc3\udca4ll", where="here", error=UsageError)
