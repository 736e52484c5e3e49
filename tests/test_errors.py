"""What the operating system refuses is told with what helps."""

import errno
import os

import pytest

from diffunet.errors import explain


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
