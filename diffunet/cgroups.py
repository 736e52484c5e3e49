"""What a container, or a scheduler's job, may use of its machine: the limits of control groups.

A container sees its own group as the root; a job of a scheduler lies deeper, and the groups above
it limit it too. Both versions of control groups are read; where there are none, nothing is limited.
"""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def memory_limit_bytes() -> float:
    """Return how many bytes of memory may be used; infinity without a limit."""
    folders = _folders("memory")
    names = ("memory.max", "memory.limit_in_bytes")
    return min((_number_in(each / name) for each in folders for name in names), default=math.inf)


def core_limit() -> float:
    """Return how many cores' time may be used, such as 1.5; infinity without a limit."""
    return min((_cores_of(each) for each in _folders("cpu")), default=math.inf)


def _folders(controller: str) -> Iterator[Path]:
    """Yield where the limits of a controller may lie: the roots, and down to our own group."""
    yield _ROOT
    yield _ROOT / controller
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, group = line.split(":", maxsplit=2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _ROOT / controller if controllers else _ROOT  # of version 1, or of version 2
        below = PurePosixPath(group.lstrip("/"))
        for part in (below, *below.parents):
            yield root / part


def _cores_of(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # there is none, or "max"
        pass
    quota_us = _number_in(folder / "cpu.cfs_quota_us")
    period_us = _number_in(folder / "cpu.cfs_period_us")
    return quota_us / period_us if 0 < quota_us < math.inf and period_us < math.inf else math.inf


def _number_in(path: Path) -> float:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # there is none, or "max"
        return math.inf
