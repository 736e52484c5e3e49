"""One command at a time where two would spoil each other's work.

A lock is a file `.in_use*.json` that says who holds it. Two things keep others out:

- `flock`, which the kernel (or the server of an NFS) gives up when the holder ends, in any way.
  Between processes of one machine it is all that counts.
- A sign of life, since on some network file systems `flock` is known to one machine alone, or is
  missing: the holder writes its file anew every 15 seconds. From another machine a file whose last
  sign of life is younger than a minute, by the clock of the file system, is held.

So a killed holder blocks nobody on its own machine, and other machines for at most a minute.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO
from uuid import uuid4

from diffunet.errors import InUseError

_PREFIX = ".in_use"
_SECONDS_BETWEEN_SIGNS = 15.0
_SECONDS_UNTIL_DEAD = 60.0
_UNSUPPORTED_WAIT_S = 1.0
"""Seconds after which, without `flock`, the last one who wrote the file has the lock."""

_own: set[tuple[Path, int]] = set()
"""Locks that this process holds, by path and thread: whoever holds one may enter it again."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock; `machine` tells hosts of one name apart, and one host's restarts."""

    host: str
    machine: str
    pid: int
    command: str
    since: str
    mark: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


def is_lock(path: Path) -> bool:
    """Whether `path` is a file of a lock, held or not."""
    return path.name.startswith(_PREFIX)


@contextlib.contextmanager
def in_use(
    folder: Path,
    *,
    part: str = "",
    goes_with: Callable[[str], bool] = lambda other: False,
) -> Iterator[None]:
    """Hold `folder`: no other command may work there. It is made if it is missing.

    A folder that was made for it and in which nothing was done is removed again. The same thread
    may enter a lock that it holds.

    Args:
        part: of the folder that is worked on; "" is the whole.
        goes_with: whether a command on another part may work there at the same time.

    Raises:
        InUseError: another command works there; the message says which.
        OSError: the folder cannot be written to.
    """
    folder = folder.absolute()
    path = folder / f"{_PREFIX}{part and '_'}{part}.json"
    key = (path, threading.get_ident())
    if key in _own:
        yield
        return
    with _made(folder), _held(path):
        for other in sorted(folder.glob(f"{_PREFIX}*.json")):
            if other != path and not goes_with(other.stem.removeprefix(_PREFIX).lstrip("_")):
                _refuse_if_held(other)
        _own.add(key)
        try:
            yield
        finally:
            _own.discard(key)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make `folder` and its parents; remove those that are empty at the end."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # something was done in it
            for each in missing:
                each.rmdir()


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    file, is_locked = _opened(path)
    with file:
        holder = _this_process()
        try:
            _write(file, holder)
        except OSError as failure:  # a full disk: it names no file
            if is_locked:
                path.unlink(missing_ok=True)
            raise OSError(failure.errno, failure.strerror, str(path)) from failure
        if not is_locked:
            time.sleep(_UNSUPPORTED_WAIT_S)
            if (other := _holder(path)) is None or other.mark != holder.mark:
                raise _refusal(path, other)
        ended = threading.Event()
        signs = threading.Thread(target=_give_signs, args=(file, holder, ended), daemon=True)
        signs.start()
        try:
            yield
        finally:
            ended.set()
            signs.join()
            path.unlink(missing_ok=True)


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    """Open and lock the file; returns whether the file system has locks.

    Raises:
        InUseError: it is held.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            is_locked = _lock(file)
            if is_locked is False or _is_held_elsewhere(path, has_locks=is_locked is True):
                raise _refusal(path, _holder(path))
            # the former holder removes its file: what was locked must be what others will find
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file, is_locked is True
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes]) -> bool | None:
    """Lock a file that was opened: True, or False where another has it; None without locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _refuse_if_held(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        is_locked = _lock(file)
        if is_locked is False or _is_held_elsewhere(path, has_locks=is_locked is True):
            raise _refusal(path, _holder(path))


def _is_held_elsewhere(path: Path, *, has_locks: bool) -> bool:
    """Whether a lock is held that this kernel does not know."""
    holder = _holder(path)
    if holder is None or (has_locks and holder.machine == _machine()):
        return False
    if holder.machine == _machine() and not _is_running(holder.pid):
        return False
    probe = path.with_name(f"{path.name}.{uuid4().hex}")  # no name of a lock
    probe.touch()
    try:
        now = probe.stat().st_mtime  # by the clock that also dates the holder's file
    finally:
        probe.unlink(missing_ok=True)
    try:
        # a sign that lies ahead is from before the clock was set back, and says as little
        return abs(now - path.stat().st_mtime) < _SECONDS_UNTIL_DEAD
    except FileNotFoundError:
        return False


def _give_signs(file: IO[bytes], holder: Holder, ended: threading.Event) -> None:
    while not ended.wait(_SECONDS_BETWEEN_SIGNS):
        with contextlib.suppress(OSError):
            _write(file, holder)


def _write(file: IO[bytes], holder: Holder) -> None:
    """Write who holds a lock into its file, which is not buffered: closing it writes nothing."""
    content = (json.dumps(asdict(holder), indent=2) + "\n").encode("utf-8")
    file.seek(0)
    while content:
        content = content[file.write(content) :]
    file.truncate()
    os.fsync(file.fileno())


def _holder(path: Path) -> Holder | None:
    """Return who holds, or held, a lock; None where that is not known (yet)."""
    try:
        holder = Holder(**json.loads(path.read_text(encoding="utf-8")))
        return holder if isinstance(holder.pid, int) else None
    except (OSError, ValueError, TypeError):
        return None


def _refusal(path: Path, holder: Holder | None) -> InUseError:
    who = str(holder) if holder else "another process, which has just started"
    advice = "wait until it has ended, or stop it"
    if holder is not None and holder.machine != _machine():
        advice += f"; if it was killed, this is over {_SECONDS_UNTIL_DEAD:.0f} s after that"
    return InUseError(f"'{path.parent}' is in use by {who}; {advice}")


def _this_process() -> Holder:
    program, *arguments = sys.argv or [""]
    return Holder(
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        command=" ".join([Path(program).name, *arguments]),
        since=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        mark=uuid4().hex,
    )


def _machine() -> str:
    """Return what only processes have that see each other: host, start of the kernel, processes."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux
        found.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        found.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(found)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
