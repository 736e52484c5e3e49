"""Writing beside the next case."""

import threading
import time

import pytest

from diffunet.inference.beside import WritingBeside


def test_a_job_runs_beside_the_caller() -> None:
    begun = threading.Event()
    with WritingBeside() as beside:
        beside(lambda: begun.wait(5))
        begun.set()  # would not be reached if the call waited


def test_jobs_run_one_by_one_in_order() -> None:
    done: list[int] = []
    with WritingBeside() as beside:
        for index, seconds in enumerate((0.02, 0.0, 0.01)):
            beside(lambda index=index, seconds=seconds: (time.sleep(seconds), done.append(index)))
    assert done == [0, 1, 2]


def fail() -> None:
    raise OSError("full")


def test_what_a_job_raises_is_raised_by_the_next_call() -> None:
    done: list[int] = []
    with WritingBeside() as beside:
        beside(fail)
        with pytest.raises(OSError, match="full"):
            beside(lambda: done.append(1))
    assert not done


def test_what_the_last_job_raises_is_raised_at_the_end() -> None:
    with pytest.raises(OSError, match="full"), WritingBeside() as beside:
        beside(fail)


def test_a_job_that_hangs_does_not_hold_up_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffunet.inference.beside._SECONDS_TO_END", 0.01)
    hanging = threading.Event()
    with pytest.raises(KeyboardInterrupt), WritingBeside() as beside:
        beside(lambda: hanging.wait(5))
        raise KeyboardInterrupt
    hanging.set()
