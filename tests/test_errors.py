"""What the operating system refuses is told with what helps."""

import errno
import os

import pytest

from diffunet.errors import explain, explain_lack_of_memory, lacks_memory


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EAGAIN, "raise the limit (ulimit -u"),
        (errno.ENOMEM, "close other programs"),
        (errno.EMFILE, "raise the limit (ulimit -n)"),
        (errno.ENFILE, "end other programs"),
        (errno.ENOSPC, "free some space"),
        (errno.EIO, "check the disk"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_helps(number: int, remedy: str) -> None:
    assert remedy in explain(OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    ("num_files", "num_left", "said"),
    [
        (100, 0, "takes no more files, whatever their size"),
        (100, 9, "disk is full"),
        (0, 0, "full"),
    ],
)
def test_a_disk_without_inodes_is_told_from_a_full_one(
    tmp_path, monkeypatch, num_files, num_left, said
) -> None:
    disk = os.statvfs(tmp_path)
    changed = list(disk)
    changed[5], changed[7] = num_files, num_left
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(changed))
    refused = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "new" / "a.png"))
    assert said in explain(refused)


def caused_by(cause: BaseException) -> RuntimeError:
    failure = RuntimeError("case 'a' failed")
    failure.__cause__ = cause
    return failure


OF_TORCH = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 147456 bytes."
OF_CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB."


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError(OF_TORCH), True),
        (RuntimeError(OF_CUDA), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("sitk::ERROR: Failed to allocate memory for image."), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (caused_by(MemoryError()), True),
        (RuntimeError("case 'a', sample 0: MemoryError: "), True),
        (
            ImportError("x.so: failed to map segment from shared object: Operation not permitted"),
            False,
        ),
        (ValueError("truncated"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_any_librarys_words(failure, expected) -> None:
    assert lacks_memory(failure) == expected


def test_what_helps_against_a_lack_of_memory_depends_on_whose_it_is() -> None:
    assert "fewer worker processes" in explain_lack_of_memory(RuntimeError(OF_TORCH))
    of_gpu = explain_lack_of_memory(RuntimeError(OF_CUDA))
    assert "on the GPU (CUDA out of memory. Tried to allocate 20.00 MiB.)" in of_gpu
    assert "training.batch_size" in of_gpu
