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
    elif failure.errno == errno.ENOSPC and _takes_no_more_files(named):
        reason, remedy = "the disk takes no more files, whatever their size", _FEWER_FILES
    said = failure.strerror or str(failure) or type(failure).__name__
    if failure.errno == errno.ENAMETOOLONG and named is not None:
        said += f", {len(os.fsencode(Path(os.fsdecode(named)).name))} bytes"
    why = said if reason is None else f"{reason} ({said})"
    where = "" if named is None else f"'{os.fsdecode(named)}': "
    return f"{where}{why}; {remedy}"


def explain_any(failure: BaseException) -> str:
    """Return in words what failed, for a warning about what is not needed to go on."""
    if lacks_memory(failure):
        return explain_lack_of_memory(failure)
    if isinstance(failure, OSError):
        return explain(failure)
    return str(failure) or type(failure).__name__


def refused_by_the_system(failure: BaseException, *, path: Path) -> str | None:
    """Return in words why a file was not read, where that says nothing about what it holds.

    A library that is refused memory or an open file fails as if the file were damaged, and a good
    file must not be thrown away for that.

    Args:
        path: of what was to be read.

    Returns:
        None where the file itself may be at fault.
    """
    if isinstance(failure, OSError) and failure.errno in _NOT_OF_THE_CONTENT:
        return explain(failure, path=path)
    if lacks_memory(failure):
        return f"'{path}': there is not enough memory to read it; {_MORE_MEMORY}"
    return None


def lacks_memory(failure: BaseException | None) -> bool:
    """Whether a lack of memory is what failed; libraries have words for it, and hardly a class."""
    while failure is not None:
        if isinstance(failure, MemoryError) or getattr(failure, "errno", None) == errno.ENOMEM:
            return True
        said = f"{type(failure).__name__} {failure}"
        if any(words in said for words in _NO_MEMORY) and not any(
            words in said for words in _OTHER_FAULTS
        ):
            return True
        failure = failure.__cause__
    return False


def explain_lack_of_memory(failure: BaseException) -> str:
    """Return in one line what there was not enough memory for, and what to do."""
    said = " ".join(str(failure).split())
    is_gpu = "CUDA" in said or "MPS" in said
    remedy = _MORE_MEMORY
    if is_gpu:
        remedy = (
            "stop other programs that use it, make training.batch_size or patch_size smaller "
            "(--set), or use another device (-device)"
        )
    detail = f" ({said[:_LONGEST_DETAIL]})" if said else ""
    return f"there is not enough memory{' on the GPU' if is_gpu else ''}{detail}; {remedy}"


_LONGEST_DETAIL = 200
_MORE_MEMORY = (
    "close other programs, run with fewer worker processes (-np), raise the limit (ulimit -v, or "
    "that of the job or container), or use a machine with more"
)
_NO_MEMORY = (
    *("allocate memory", "Unable to allocate", "bad_alloc", "bad allocation", "out of memory"),
    *("MemoryError", "failed to map segment", "could not create a primitive"),
)
"""In the words of torch, numpy, C++, SimpleITK, CUDA, oneDNN, and of what loads libraries."""

_OTHER_FAULTS = ("Operation not permitted", "primitive descriptor")
"""Of a disk that runs no programs, and of a layer that oneDNN does not know."""

_CHECK_THE_DISK = "check the disk, or the connection to it, and run again"
_MAKE_ROOM = "free some space, or choose another folder, and run again"
_FEWER_FILES = "remove some, or choose another folder, and run again"
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
    errno.EDQUOT: ("the quota on the disk, of space or of files, is used up", _MAKE_ROOM),
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
    errno.ENOMEM: ("there is not enough memory", _MORE_MEMORY),
}
_NOT_OF_THE_CONTENT = (
    *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN),  # of disks, and servers of files
)


def _takes_no_more_files(named: str | bytes | os.PathLike[str] | None) -> bool:
    """Whether the disk has no inode left; some disks have no fixed number of them."""
    if named is None:
        return False
    folder = next(each for each in Path(os.fsdecode(named)).absolute().parents if each.exists())
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_files > 0 and disk.f_favail == 0


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
