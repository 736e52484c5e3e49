import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from diffunet.errors import DiffunetError
from diffunet.workers import STOP_SIGNALS, Program, Worker, WorkerLostError


def _double(array):
    return array * 2


def _hold(_):
    time.sleep(60)


def _fill_the_pipe(num_bytes):
    return bytes(num_bytes)


def _print(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return text


class _CannotBeReadError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def _raise(_):
    raise _CannotBeReadError("one", "two")


def _function_that_cannot_be_sent(_):
    return lambda: None


@pytest.fixture
def start():
    """Return what makes workers, which are ended with the test."""
    workers = []

    def begin(function):
        workers.append(Worker(function))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.kill()
        worker.close()


def test_arrays_come_back_whole_and_can_be_written_to(start):
    array = np.arange(2**19, dtype=np.float32).reshape(2, -1)
    result = start(_double)(array[:, ::2])
    np.testing.assert_array_equal(result, array[:, ::2] * 2)
    result += 1


def test_what_a_worker_prints_is_no_answer(start):
    worker = start(_print)
    assert [worker("a"), worker("b")] == ["a", "b"]


def test_an_exception_that_cannot_be_read_here_is_told_in_words(start):
    worker = start(_raise)
    with pytest.raises(RuntimeError, match="_CannotBeReadError: one two"):
        worker(0)
    with pytest.raises(RuntimeError, match="_CannotBeReadError"):
        worker(1)  # it lives on


def test_a_result_that_cannot_be_sent_is_an_error(start):
    with pytest.raises(RuntimeError, match="lambda|serializing"):  # as Python 3.14 says
        start(_function_that_cannot_be_sent)(0)


class _LostFunction:
    def __reduce__(self):
        return (__import__, ("no_such_module",))


def test_a_function_that_cannot_be_read_there_is_an_error_for_every_item(start):
    worker = start(_LostFunction())
    for item in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            worker(item)


def test_a_worker_killed_in_the_midst_of_its_answer_is_no_wait_for_ever(start):
    worker = start(_fill_the_pipe)
    answers = worker._process.stdout
    assert worker(1) == b"\0"
    _begin(worker, 2**24)
    answers.read(8)  # the answer has begun, and is much longer than the pipe
    worker.kill()
    assert len(answers.read()) < 2**24
    with pytest.raises(WorkerLostError):
        worker(1)


def _begin(worker, item):
    from diffunet.workers import _send

    _send(worker._process.stdin, item)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_what_stops_a_command_does_not_stop_its_worker(start, number):
    worker = start(_double)
    os.kill(worker.pid, number)  # deaf from its first instruction on
    assert worker(2) == 4
    os.kill(worker.pid, number)
    assert worker(3) == 6


PARENT = """
import sys, threading
from tests.test_workers import _double, _hold
from diffunet.workers import Worker
busy, idle = Worker(_hold), Worker(_double)
threading.Thread(target=busy, args=(0,), daemon=True).start()
idle(1)
print(busy.pid, idle.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_workers_busy_or_idle_end_with_a_killed_parent():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(_is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_is_running, workers))


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("executable", ["", None, "/opt/Viewer/bin/Viewer-real"])
def test_a_program_with_python_inside_is_not_started_again(executable, monkeypatch):
    """Its window would open once more, or nothing would ever answer."""
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(DiffunetError, match="give num_processes=0"):
        Worker(_double)


def test_a_program_that_was_frozen_is_not_started_again(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(DiffunetError, match="give num_processes=0"):
        Worker(_double)


def test_a_worker_is_of_this_diffunet_whatever_the_current_folder(start, tmp_path, monkeypatch):
    """An entry of sys.path that is relative means another folder after `os.chdir`."""
    other = tmp_path / "diffunet"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('another version')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", Path("of a user"), *sys.path])
    assert start(_double)(np.ones(2)).tolist() == [2, 2]
    program = Program("diffunet.durations", [], stdout=subprocess.PIPE)
    program.process.communicate()
    program.close()
    assert program.process.returncode == 0
