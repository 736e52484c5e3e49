import signal
import socket
import sys

import pytest
import torch

from diffunet.cli import train
from diffunet.cli.ranks import is_launched, require_devices, train_in_processes
from diffunet.errors import DiffunetError, UsageError
from tests.processes import assert_nothing_runs, looks_into_proc, start_group

RANK = """
import os, sys, time
from diffunet.cli.command import command
rank = os.environ["RANK"]

@command
def main(arguments):
    words = ["rank", rank, "of", os.environ["WORLD_SIZE"], *sys.argv[1:]]
    os.write(1, (" ".join(words) + "\\n").encode())  # whole lines, whoever else writes
    if sys.argv[1] == "fail" and rank == "1":
        sys.exit(3)
    if sys.argv[1] != "end":
        time.sleep(60)

sys.exit(main())
"""

LAUNCHER = """
import sys
from diffunet.cli.command import command
from diffunet.cli.ranks import train_in_processes
@command
def main(arguments):
    train_in_processes(2, "rank", sys.argv[1:])
sys.exit(main())
"""


@pytest.fixture
def rank(tmp_path, monkeypatch):
    """Make `rank` a module that says who it is, and waits."""
    (tmp_path / "rank.py").write_text(RANK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))


def test_more_gpus_than_there_are_are_refused_and_named(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert train.main(["1", "0", "-num_gpus", "2"]) == 2
    said = capsys.readouterr().err
    assert "-device auto: expected as many CUDA GPUs, and no single one named, found 1" in said
    assert "-device cpu" in said


def test_processes_on_the_cpu_must_be_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("auto", "cuda", "cpu"):
        require_devices(2, device)
    for device in ("cuda:0", "mps"):
        with pytest.raises(UsageError, match=f"-device {device}"):
            require_devices(2, device)


def test_processes_of_torchrun_need_devices_too(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert train.main(["1", "0"]) == 2
    assert "found 0" in capsys.readouterr().err


LEFT = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}


def test_variables_of_ranks_that_no_launcher_set_do_not_hide_num_gpus(caplog):
    assert not is_launched(2, {"LOCAL_RANK": "0"})
    assert not caplog.text
    assert not is_launched(2, LEFT)
    assert "RANK=1, LOCAL_RANK=1, WORLD_SIZE=4" in caplog.text
    assert "it goes by -num_gpus 2" in caplog.text


def test_the_command_obeys_num_gpus_beside_a_leftover_rank(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert train.main(["1", "0", "-num_gpus", "2"]) == 2
    assert "2 processes that train together" in capsys.readouterr().err


def test_torchrun_decides_how_many_processes_there_are():
    launched = {**LEFT, "TORCHELASTIC_RUN_ID": "none"}
    assert is_launched(1, launched)
    assert is_launched(4, launched)
    with pytest.raises(UsageError, match="-num_gpus 2, .* started 4 .*; leave -num_gpus out"):
        is_launched(2, launched)


def test_a_torchrun_that_ended_is_not_waited_for():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    left = {**place, "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    with pytest.raises(UsageError, match=f"does not answer at 127.0.0.1:{port} .*unset"):
        is_launched(1, left)
    with socket.create_server(("127.0.0.1", port)):
        assert is_launched(1, left)


def test_ranks_get_the_words_of_the_command(rank, capfd):
    train_in_processes(2, "rank", ["end", "--lr", "1"])
    said = capfd.readouterr().out.splitlines()
    assert sorted(said) == ["rank 0 of 2 end --lr 1", "rank 1 of 2 end --lr 1"]


def test_one_rank_that_fails_ends_all(rank, monkeypatch):
    monkeypatch.setattr("diffunet.cli.ranks._SECONDS_AFTER_A_FAILURE", 0.1)
    with pytest.raises(DiffunetError, match="2 processes failed"):
        train_in_processes(2, "rank", ["fail"])


@looks_into_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ranks_end_with_their_command(rank, number):
    with start_group("-c", LAUNCHER, "wait") as launcher:
        assert launcher.stdout is not None
        assert sorted(launcher.stdout.readline() for _ in range(2))[1] == "rank 1 of 2 wait\n"
        launcher.send_signal(number)
        said = launcher.communicate(timeout=10)[1]
    assert launcher.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert number == signal.SIGKILL or said.count("interrupted;") == 3
    assert_nothing_runs(launcher.pid)
