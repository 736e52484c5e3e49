"""What is running, for tests that start and end real processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

looks_into_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"
)


def running_in_group(group: int) -> list[int]:
    """Return the processes of a process group that are not dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_process = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of_process) == group and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def assert_nothing_runs(group: int, *, within_s: float = 5.0) -> None:
    """Wait a moment for the processes of a group to end."""
    deadline = time.monotonic() + within_s
    while running_in_group(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running_in_group(group)


def _hear_signals() -> None:
    """Undo what nohup, or a shell in the background, had the tests ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start_group(*arguments: str, **options) -> subprocess.Popen:
    """Start Python in a process group of its own, as a terminal or a scheduler does."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_signals,
        **options,
    )
