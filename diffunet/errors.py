"""Errors of a user; the command line turns each into one message and exit code 2."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path


class DiffunetError(Exception):
    """A mistake in use or in the data; the message says expected, found, where, and what to do."""


class DatasetError(DiffunetError):
    """A raw dataset, or a file in it, is not as documentation/reference/dataset-format.md says.

    Args:
        problems: one message per fault; all faults are reported at once.
    """

    def __init__(self, problems: str | Sequence[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PlansError(DiffunetError):
    """A plans file or a `--set` value is not valid."""


class WorkspaceError(DiffunetError):
    """A folder of the workspace, a dataset in it or a trained model is missing or ambiguous."""


class CheckpointError(DiffunetError):
    """A checkpoint or a model folder cannot be read or does not fit."""


class UsageError(DiffunetError):
    """An option of a command or an argument of the Python API is not valid."""


class InUseError(DiffunetError):
    """Another command works in the folder that this one should write to."""


class WriteError(DiffunetError):
    """A file or folder cannot be written, or was not written whole; the former file stays."""


def explain(failure: OSError, *, path: Path | None = None) -> str:
    """Return in words what the operating system refused: where, why, and what to do.

    Args:
        path: of what was to be written; None for the file that `failure` names itself.
    """
    named = failure.filename if path is None else path
    if not isinstance(named, str | bytes | os.PathLike):
        named = None  # nothing, or the number of an open file
    reason, remedy = _REFUSALS.get(failure.errno or 0, (None, _CHECK_THE_DISK))
    if failure.errno in _FULL and _is_shared_memory(named):
        reason, remedy = "the shared memory /dev/shm is full", _MORE_SHARED_MEMORY
    said = failure.strerror or str(failure) or type(failure).__name__
    if failure.errno == errno.ENAMETOOLONG and named is not None:
        said += f", {len(os.fsencode(Path(os.fsdecode(named)).name))} bytes"
    why = said if reason is None else f"{reason} ({said})"
    where = "" if named is None else f"'{os.fsdecode(named)}': "
    return f"{where}{why}; {remedy}"


_CHECK_THE_DISK = "check the disk, or the connection to it, and run again"
_MAKE_ROOM = "free some space, or choose another folder, and run again"
_MORE_SHARED_MEMORY = (
    "run with fewer worker processes (-np), or give the container more (docker run --shm-size)"
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = ("no permission", "change the rights (chmod, chown), or choose another folder")
_FILE_IN_THE_WAY = (
    "a file stands where a folder should be",
    "move the file, or choose another folder",
)
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", _MAKE_ROOM),
    errno.EDQUOT: ("the quota on the disk is used up", _MAKE_ROOM),
    errno.EFBIG: (
        "the limit on the size of files is reached",
        "raise it (ulimit -f) or " + _MAKE_ROOM,
    ),
    errno.EROFS: ("the disk is read-only", "choose another folder"),
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.ENOTDIR: _FILE_IN_THE_WAY,
    errno.EEXIST: _FILE_IN_THE_WAY,
    errno.EISDIR: ("a folder stands where a file should be", "move it, or choose another name"),
    errno.ENAMETOOLONG: ("the name is too long", "shorten the name of the case or the folder"),
    errno.ENOENT: ("it is not there", "check the path, and the targets of links in it"),
    errno.EMFILE: (
        "too many files are open",
        "raise the limit (ulimit -n), or run with fewer worker processes (-np)",
    ),
    errno.ENFILE: ("the machine has too many files open", "end other programs, and run again"),
    errno.EAGAIN: (
        "no more processes or threads may be started",
        "raise the limit (ulimit -u, docker run --pids-limit), or run with fewer worker processes "
        "(-np)",
    ),
    errno.ENOMEM: (
        "there is not enough memory",
        "close other programs, or run with fewer worker processes (-np)",
    ),
}


def _is_shared_memory(named: str | bytes | os.PathLike[str] | None) -> bool:
    """Whether the full disk is /dev/shm, through which worker processes hand over data.

    A semaphore or a block of it is named by no path, or by one that is no file's.
    """
    if named is not None:
        text = os.fsdecode(named)
        if text.startswith("/dev/shm"):  # noqa: S108 - nothing is written there
            return True
        if not text.startswith(("/psm_", "/torch_", "/mp-")):
            return False
    try:
        return shutil.disk_usage("/dev/shm").free < _LEAST_SHARED_MEMORY_BYTES  # noqa: S108
    except OSError:
        return False


_LEAST_SHARED_MEMORY_BYTES = 2**20
