import errno
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diffunet.checkpoint import load_checkpoint, load_weights, save_checkpoint, weights_of
from diffunet.errors import CheckpointError, WriteError
from tests.full_disk import full_disk, no_more_files


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


def rewritten(path, change):
    """Write the archive anew with other records; `change` gets and returns them."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(records).items():
            archive.writestr(name, content)


def refused(path, match):
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(path, "cpu")


def test_a_flipped_bit_in_a_weight_is_damage(tmp_path):
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, {"weights": torch.arange(500.0)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(500.0).numpy().tobytes()) + 1003] ^= 64
    path.write_bytes(content)
    refused(path, "no checkpoint, or is damaged.*CRC")


def test_records_larger_than_the_file_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "checkpoint.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("checkpoint/data.pkl", bytes(2**24))
    tracemalloc.start()
    refused(path, "compressed")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_tensor_is_what_its_record_holds(tmp_path):
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, {"weights": torch.arange(500.0)})
    rewritten(
        path,
        lambda records: {
            name: content[:-4] if name.endswith("data/0") else content
            for name, content in records.items()
        },
    )
    refused(path, "record 'data/0' has 1996 bytes, expected 500 values of torch.float32")


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(10**9), torch.zeros(2, 3).to_sparse(), torch.empty(9, device="meta")],
)
def test_tensors_that_are_not_what_they_seem_are_refused(tmp_path, tensor):
    path = tmp_path / "checkpoint.pth"
    torch.save(
        {"format": "diffunet checkpoint", "format_version": 1, "content": {"weights": tensor}}, path
    )
    refused(path, "no checkpoint, or is damaged")


@pytest.mark.parametrize(
    "pickled",
    [
        b"]" + b"]" * 5000 + b"a" * 5000 + b".",
        b"]" + b"(" + b"2" * 30 + b"l.",
        b"cbuiltins\nbytearray\nI9999999999\n\x85R.",
        b"]r\xff\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        pickle.dumps({"content": 2**70}, 2),
        pickle.dumps({"content": {1, 2}}, 2),
        b"",
    ],
)
def test_a_pickle_that_makes_anything_else_is_refused(tmp_path, pickled):
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, {"iteration": 1})
    rewritten(
        path,
        lambda records: {
            name: pickled if name.endswith("data.pkl") else content
            for name, content in records.items()
        },
    )
    refused(path, "no checkpoint, or is damaged|was not written by diffunet")


@pytest.mark.parametrize("content", [None, [], 5])
def test_a_checkpoint_without_content_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    torch.save({"format": "diffunet checkpoint", "format_version": 1, "content": content}, path)
    refused(path, "expected 'content' as dict, found")


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (None, "expected 'weights' as dict, found NoneType"),
        ({"a": 1.0}, "expected 'weights' to be tensors by name, found 'a' with a float"),
        ({3: torch.zeros(1)}, "expected 'weights' to be tensors by name, found 3"),
        ({"a": torch.tensor([1, float("nan")])}, "'weights' has NaN or infinity in 'a'"),
        ({"a": torch.tensor([-float("inf")])}, "'weights' has NaN or infinity in 'a'"),
    ],
)
def test_weights_that_are_no_finite_tensors_are_refused(weights, match):
    with pytest.raises(CheckpointError, match=f"'best.pth'.*{match}"):
        weights_of({"weights": weights}, "weights", where=Path("best.pth"))


def test_missing_weights_are_named():
    with pytest.raises(CheckpointError, match="expected 'weights' as dict, found nothing"):
        weights_of({}, "weights", where=Path("best.pth"))


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float16])
def test_weights_of_another_type_of_numbers_do_not_fit(dtype):
    target = nn.Linear(2, 3)
    weights = {name: tensor.to(dtype) for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"has the type {dtype}, expected torch.float32"):
        load_weights(target, weights, where="best.pth")


def test_tensors_that_share_a_record_come_back_with_their_strides(tmp_path):
    path = tmp_path / "checkpoint.pth"
    base = torch.arange(24.0).reshape(2, 3, 4)
    content = {"a": base.transpose(0, 2), "b": base[1:, :, 2], "c": torch.zeros(0, 3)}
    save_checkpoint(path, content)
    loaded = load_checkpoint(path, "cpu")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in content.items())
    assert loaded["a"].stride() == content["a"].stride()


def test_a_good_checkpoint_is_not_called_damaged_where_too_many_files_are_open(tmp_path):
    save_checkpoint(tmp_path / "a.pth", {"iteration": 1})
    with (
        pytest.raises(CheckpointError, match="too many files are open") as refused,
        no_more_files(),
    ):
        load_checkpoint(tmp_path / "a.pth", "cpu")
    assert "damaged" not in str(refused.value)


def test_a_good_checkpoint_is_not_called_damaged_where_memory_does_not_suffice(
    tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    save_checkpoint(tmp_path / "a.pth", {"weights": torch.zeros(5)})
    monkeypatch.setattr(torch, "frombuffer", refuse)
    with pytest.raises(CheckpointError, match="a.pth': there is not enough memory") as refused:
        load_checkpoint(tmp_path / "a.pth", "cpu")
    assert "damaged" not in str(refused.value)


def test_a_disk_that_fails_to_read_a_checkpoint_is_not_called_a_damaged_checkpoint(
    tmp_path, monkeypatch
):
    def refuse(self, *_):
        raise OSError(errno.EIO, "Input/output error")

    save_checkpoint(tmp_path / "a.pth", {"iteration": 1})
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(CheckpointError, match="a.pth': Input/output error; check the disk"):
        load_checkpoint(tmp_path / "a.pth", "cpu")
