import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from diffunet.errors import DiffunetError, UsageError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import stoppable_commands  # pyright: ignore[reportMissingImports]

WAITS = "echo begun; while :; do sleep 0.05; done"
SAVES = ["sh", "-c", f'trap "echo saved; exit 130" INT; {WAITS}']
IGNORES = ["sh", "-c", f'trap "" INT; {WAITS}']


def stoppable(folder: Path, *, seconds: float, to_stop: float):
    """Return what runs commands for some seconds, of which it keeps some to stop them."""
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    return stoppable_commands.StoppableCommands(
        clock=stoppable_commands.Clock(seconds / 60),
        logs=folder / "logs",
        lock=lock,
        seconds_to_stop=to_stop,
    )


def test_a_command_is_asked_by_sigint_to_save_before_the_time_is_over(tmp_path):
    commands = stoppable(tmp_path, seconds=4.5, to_stop=4.0)
    begin = time.monotonic()
    assert not commands("train_cdm", SAVES)
    assert time.monotonic() - begin < 2
    assert (tmp_path / "logs" / "train_cdm.txt").read_text().endswith("begun\nsaved\n")


def test_a_command_that_does_not_stop_is_killed_before_the_time_is_over(tmp_path):
    commands = stoppable(tmp_path, seconds=4.0, to_stop=3.5)
    begin = time.monotonic()
    assert not commands("train_cdm", IGNORES)
    assert time.monotonic() - begin < 2
    assert (tmp_path / "logs" / "train_cdm.txt").read_text().endswith("begun\n")


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupt_stops_the_command_once(tmp_path):
    commands = stoppable(tmp_path, seconds=math.inf, to_stop=6.0)
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            commands("train_cdm", SAVES)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert (tmp_path / "logs" / "train_cdm.txt").read_text().endswith("begun\nsaved\n")


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path):
    commands = stoppable(tmp_path, seconds=math.inf, to_stop=4.0)
    with pytest.raises(DiffunetError, match=r"prepare: ended with the exit code 2; .*\n.*\n  no d"):
        commands("prepare", ["sh", "-c", "echo no disk; exit 2"])
    assert commands("prepare", ["true"])


def test_a_command_whose_caller_was_killed_is_not_overtaken(tmp_path):
    path = tmp_path / "full_size.lock"
    with stoppable_commands.only_call(path) as lock:
        child_holds_it = os.dup(lock)
    message = "found another call, or a command of one that was killed"
    with pytest.raises(UsageError, match=message), stoppable_commands.only_call(path):
        pass
    os.close(child_holds_it)
    with stoppable_commands.only_call(path):
        pass
