"""The limits of containers and jobs, in both versions of control groups."""

import math

import pytest

from diffunet import cgroups, parallel
from diffunet.cgroups import core_limit, memory_limit_bytes


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Return a function that lays files out as a kernel does, and says where we are."""

    def lay_out(own: str, **files: str) -> None:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "root")
    monkeypatch.setattr(cgroups, "_OWN_GROUPS", tmp_path / "own")
    return lay_out


def test_without_control_groups_nothing_is_limited(group):
    assert (memory_limit_bytes(), core_limit()) == (math.inf, math.inf)


def test_a_container_is_the_root_of_what_it_sees(group):
    group("0::/\n", **{"memory.max": "1000\n", "cpu.max": "150000 100000\n"})
    assert (memory_limit_bytes(), core_limit()) == (1000, 1.5)


def test_the_groups_above_a_job_limit_it_too(group):
    group(
        "0::/slurm/job_7/step_0\n",
        **{
            "slurm/job_7/step_0/memory.max": "max\n",
            "slurm/job_7/memory.max": "2000\n",
            "slurm/memory.max": "9000\n",
            "slurm/job_7/cpu.max": "max 100000\n",
            "slurm/cpu.max": "400000 100000\n",
        },
    )
    assert (memory_limit_bytes(), core_limit()) == (2000, 4)


def test_version_1_has_a_folder_for_each_controller(group):
    group(
        "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        **{
            "memory/docker/abc/memory.limit_in_bytes": "3000\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cpu/docker/abc/cpu.cfs_quota_us": "50000\n",
            "cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert (memory_limit_bytes(), core_limit()) == (3000, 0.5)


@pytest.mark.parametrize(("limit", "expected"), [(0.5, 1), (1.5, 2), (math.inf, 6), (64.0, 6)])
def test_no_more_processes_are_started_than_a_container_has_cores(monkeypatch, limit, expected):
    monkeypatch.setattr(parallel, "core_limit", lambda: limit)
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: range(6), raising=False)
    assert parallel.default_num_processes() == expected
