import os
import signal
import threading
import time

import pytest

from diffunet import stopping
from diffunet.stopping import StopRequest, interrupted_by_signals
from diffunet.workers import STOP_SIGNALS
from tests.processes import assert_nothing_runs, looks_into_proc, start_group


def test_people_terminals_and_all_schedulers_can_ask_to_stop():
    """SLURM, Grid Engine and LSF warn with user's signals, a limit of processor time with its."""
    names = {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"}
    assert {each.name for each in STOP_SIGNALS} == {name for name in names if hasattr(signal, name)}


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_noted_and_a_later_one_acts_as_ever(number, monkeypatch):
    acted = []
    before = signal.signal(number, lambda *_: acted.append("as ever"))
    try:
        with StopRequest() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), number)
            assert should_stop()
            os.kill(os.getpid(), number)  # of a sender who signals the group, too
            assert not acted
            monkeypatch.setattr(stopping, "_SAME_REQUEST_S", -1.0)
            os.kill(os.getpid(), number)
        assert acted == ["as ever"]
    finally:
        signal.signal(number, before)


def test_a_signal_interrupts_what_can_be_done_again():
    with StopRequest() as should_stop:
        with pytest.raises(KeyboardInterrupt), should_stop.interrupting():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        with pytest.raises(KeyboardInterrupt), should_stop.interrupting():
            pytest.fail("it was asked to stop before")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_command_is_interrupted_once(number):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            try:
                os.kill(os.getpid(), number)
                time.sleep(10)
            finally:
                os.kill(os.getpid(), number)  # cleaning up goes on
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("enter", [StopRequest, interrupted_by_signals])
def test_what_is_ignored_stays_ignored(enter):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with enter():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_of_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    found = []

    def enter() -> None:
        with StopRequest() as should_stop:
            found.append((should_stop(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def hold(number):
    """Work for a minute."""
    os.write(2, b"begun\n")
    time.sleep(60)


COMMAND = """
from diffunet.cli.command import command
from diffunet.parallel import map_ordered
from tests.test_stopping import hold

@command
def main(arguments):
    list(map_ordered(hold, range(4), num_processes=2))

raise SystemExit(main())
"""


@looks_into_proc
@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_command_with_busy_workers_ends_and_leaves_nothing_running(number, send):
    with start_group("-c", COMMAND) as command:
        assert command.stderr is not None
        assert [command.stderr.readline() for _ in range(2)] == ["begun\n"] * 2
        send(command.pid, number)
        said = command.communicate(timeout=10)[1]
    assert command.returncode == 130
    assert said.startswith("interrupted;")
    assert_nothing_runs(command.pid)


@looks_into_proc
def test_a_killed_command_leaves_nothing_running():
    with start_group("-c", COMMAND) as command:
        assert command.stderr is not None
        command.stderr.readline()
        command.kill()
    assert_nothing_runs(command.pid)
