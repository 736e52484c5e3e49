"""Commands that end by themselves, or are stopped by SIGINT while there is time left to save."""

import contextlib
import fcntl
import math
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from diffunet.errors import DiffunetError, UsageError

SECONDS_TO_STOP = 30.0
"""Before the time is over: what a training may need to end its iteration and save."""

_SECONDS_TO_END = 3.0  # after the last command has been killed
_NUM_LINES_OF_ERROR = 15


@dataclass(frozen=True)
class Clock:
    """How long this call may take; None for as long as it needs."""

    minutes: float | None
    begin: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        used = time.monotonic() - self.begin
        return math.inf if self.minutes is None else 60 * self.minutes - used

    def say(self, text: str) -> None:
        """Print a line of progress."""
        used = f"{(time.monotonic() - self.begin) / 60:.1f} min used"
        left = "" if self.minutes is None else f", {self.seconds_left / 60:.1f} left"
        print(f"[{used}{left}] {text}", flush=True)


@dataclass(frozen=True, kw_only=True)
class StoppableCommands:
    """Runs a command to its end, or stops it by SIGINT while there is time to save.

    Attributes:
        logs: folder; what a command prints is appended to `STAGE.txt`.
        lock: an open file that commands hold, too: one whose caller was killed is not overtaken.
        seconds_to_stop: before the end of the time; at the end, what has not stopped is killed.
    """

    clock: Clock
    logs: Path
    lock: int
    seconds_to_stop: float = SECONDS_TO_STOP

    def __call__(self, name: str, command: list[str]) -> bool:
        """Return whether the command is done; False: the time is over.

        Raises:
            DiffunetError: it failed.
            KeyboardInterrupt: this process was asked to stop, and has stopped the command.
        """
        log = self.logs / f"{name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        is_stopped = False
        with log.open("a", encoding="utf-8") as file:
            print(f"$ {shlex.join(command)}", file=file, flush=True)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it through this process, and once
                pass_fds=[self.lock],
            )
            try:
                process.wait(self._until(self.seconds_to_stop))
            except subprocess.TimeoutExpired:
                is_stopped = True
            finally:
                if process.poll() is None:
                    self._stop(process)
        if process.returncode and not is_stopped:
            raise DiffunetError(_failure(name, process.returncode, log))
        return process.returncode == 0

    def _until(self, seconds_before_end: float) -> float | None:
        left = self.clock.seconds_left - seconds_before_end
        return None if math.isinf(left) else max(0.0, left)

    def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGINT)
        try:
            left = min(self.seconds_to_stop, self.clock.seconds_left)
            process.wait(max(0.0, left - _SECONDS_TO_END))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.clock.say("did not stop in time and was killed; its files are whole")


@contextlib.contextmanager
def only_call(path: Path) -> Iterator[int]:
    """Yield an open file that this call alone has locked, with the commands that it runs.

    Raises:
        UsageError: another call works here, or a command whose caller was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"'{path.parent}': expected nobody to work here, found another call, or a command "
                "of one that was killed; wait for it, or end it"
            ) from None
        yield file.fileno()


def _failure(name: str, code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = "\n  ".join(lines[-_NUM_LINES_OF_ERROR:])
    return f"{name}: ended with the exit code {code}; '{log}' ends with\n  {last}"
