import pytest

from diffunet.cli.command import resolve_workspace
from diffunet.errors import WorkspaceError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"diffunet_{name}", raising=False)
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    return tmp_path


def test_variables_of_nnunet_are_named_and_not_used(place, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_raw", "/data/raw")
    assert resolve_workspace(None).raw == place / "diffunet_workspace" / "raw"
    _, line = capsys.readouterr().out.splitlines()
    assert "not used by themselves (nnUNet_raw)" in line
    assert "set diffunet_raw=/data/raw" in line


def test_nothing_is_said_where_ours_are_set(monkeypatch, capsys, place):
    monkeypatch.setenv("nnUNet_raw", "/data/raw")
    resolve_workspace(place / "w")
    monkeypatch.setenv("diffunet_raw", "/data/raw")
    assert str(resolve_workspace(None).raw) == "/data/raw"
    assert "nnU-Net" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["preprocessed", "results"])
def test_a_folder_of_nnunet_is_not_written_into(place, monkeypatch, name):
    monkeypatch.setenv(f"nnUNet_{name}", str(place / "theirs"))
    monkeypatch.setenv(f"diffunet_{name}", str(place / "other" / ".." / "theirs"))
    with pytest.raises(WorkspaceError, match=f"is nnU-Net's .nnUNet_{name}.*--workspace"):
        resolve_workspace(None)


def test_a_raw_folder_of_nnunet_is_read_but_no_dataset_is_made_in_it(place, monkeypatch):
    for name in ("nnUNet_raw", "diffunet_raw"):
        monkeypatch.setenv(name, str(place / "raw"))
    assert resolve_workspace(None).raw == place / "raw"
    with pytest.raises(WorkspaceError, match="nnUNet_raw"):
        resolve_workspace(None, writes_raw=True)
