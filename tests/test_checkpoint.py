import pickle

import numpy as np
import pytest
import torch
from torch import nn

from diffunet.checkpoint import load_checkpoint, load_weights, save_checkpoint
from diffunet.errors import CheckpointError, WriteError
from tests.full_disk import full_disk


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    path = tmp_path / "fold_0" / "checkpoint_latest.pth"
    network = nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": 7,
        "best_score": None,
        "name": "é",
        "history": [0.5, (1, True)],
    }
    save_checkpoint(path, content)
    loaded = load_checkpoint(path, "cpu")
    assert torch.equal(loaded["network"]["weight"], network.weight)
    assert torch.equal(
        loaded["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )
    assert {name: loaded[name] for name in ("iteration", "best_score", "name", "history")} == {
        "iteration": 7,
        "best_score": None,
        "name": "é",
        "history": [0.5, (1, True)],
    }


@pytest.mark.parametrize("num_bytes", [0, 1000, 8192])
def test_on_a_full_disk_the_old_checkpoint_stays_and_the_path_is_said(tmp_path, num_bytes):
    path = tmp_path / "checkpoint_latest.pth"
    save_checkpoint(path, {"iteration": 1})
    with pytest.raises(WriteError, match=f"'{path}': .*size of files"), full_disk(num_bytes):
        save_checkpoint(path, {"iteration": 2, "weights": torch.zeros(10_000)})
    assert load_checkpoint(path, "cpu")["iteration"] == 1
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, {"iteration": 1})

    def break_off(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"iteration": 2})
    assert load_checkpoint(path, "cpu") == {"iteration": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pth"]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, np.float64(0.5)]}, r"content\['a'\]\[1\] is a float64"),
        ({"a": {"b": nn.Linear(1, 1)}}, r"content\['a'\]\['b'\] is a Linear"),
        ({(1, object()): 1}, r"a key of content\[1\] is a object"),
    ],
)
def test_what_could_not_be_read_safely_is_not_saved(tmp_path, value, where):
    with pytest.raises(TypeError, match=where):
        save_checkpoint(tmp_path / "checkpoint.pth", value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing\.pth' does not exist"):
        load_checkpoint(tmp_path / "missing.pth", "cpu")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path, "cpu")


@pytest.mark.parametrize("size", [0, 1, 100, 1000, -1, -200])
def test_a_truncated_checkpoint_is_damaged(tmp_path, size):
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, {"weights": torch.zeros(500)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="no checkpoint, or is damaged"):
        load_checkpoint(path, "cpu")


def test_a_text_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pth"
    path.write_text("hello")
    with pytest.raises(CheckpointError, match="no checkpoint, or is damaged"):
        load_checkpoint(path, "cpu")


class Payload:
    def __reduce__(self):
        return print, ("code of the file ran",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_file_does_not_run(tmp_path, capsys, is_zip):
    path = tmp_path / "checkpoint.pth"
    if is_zip:
        torch.save({"format": "diffunet checkpoint", "content": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match="no checkpoint, or is damaged"):
        load_checkpoint(path, "cpu")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(1)])
def test_checkpoints_of_other_programs_are_recognised(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="was not written by diffunet"):
        load_checkpoint(path, "cpu")


def test_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save({"format": "diffunet checkpoint", "format_version": 99, "content": {}}, path)
    with pytest.raises(CheckpointError, match="format version 99, expected 1"):
        load_checkpoint(path, "cpu")


def test_weights_that_fit_are_loaded():
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    load_weights(target, source.state_dict(), where="checkpoint.pth")
    assert torch.equal(target.weight, source.weight)


def test_all_that_does_not_fit_is_named_and_nothing_changes():
    target = nn.Linear(2, 3)
    before = target.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_weights(
            target, {"weight": torch.zeros(3, 5), "scale": torch.zeros(1)}, where="best.pth"
        )
    message = str(caught.value)
    assert "'best.pth' does not fit" in message
    assert "1 weights are missing, the first is 'bias'" in message
    assert "1 weights are unknown, the first is 'scale'" in message
    assert "'weight' has the shape (3, 5), expected (3, 2)" in message
    assert torch.equal(target.weight, before)
