import dataclasses
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from diffunet import locks
from diffunet.errors import InUseError
from diffunet.locks import in_use
from tests.full_disk import full_disk

HOLDER = """
import sys
from pathlib import Path
from diffunet.locks import in_use
from tests.full_disk import full_disk
with in_use(Path(sys.argv[1]), part=sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder, part=""):
    """Start a process that holds a lock until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), part],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def refused(folder, **options) -> str:
    with pytest.raises(InUseError) as caught, in_use(folder, **options):
        pytest.fail("two at once")
    return str(caught.value)


def test_who_comes_second_is_told_who_holds_the_folder_until_that_is_killed(tmp_path):
    with hold(tmp_path) as holder:
        message = refused(tmp_path)
        assert f"'{tmp_path}' is in use by process {holder.pid} on {os.uname().nodename}" in message
        assert f"since {time.localtime().tm_year}-" in message
        assert f"-c {tmp_path}" in message
        holder.kill()
        holder.wait()
        with in_use(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_nothing_was_done_is_removed_again(tmp_path):
    with in_use(tmp_path / "new" / "folder"):
        assert (tmp_path / "new" / "folder").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_whoever_holds_a_lock_may_enter_it_again_and_another_thread_may_not(tmp_path):
    found = []
    with in_use(tmp_path):
        with in_use(tmp_path):
            pass
        thread = threading.Thread(target=lambda: found.append(refused(tmp_path)))
        thread.start()
        thread.join()
    assert "in use" in found[0]


def test_parts_go_together_where_they_are_said_to(tmp_path):
    with hold(tmp_path, "part_0_of_2"):
        with in_use(tmp_path, part="part_1_of_2", goes_with=lambda part: part.endswith("_of_2")):
            pass
        assert "in use" in refused(tmp_path, part="part_0_of_2", goes_with=lambda part: True)
        assert "in use" in refused(tmp_path, part="part_1_of_3", goes_with=lambda part: False)
        assert "in use" in refused(tmp_path)


def leave(folder, *, age_s=0.0, **changes):
    """Leave the file of a lock that no process of this machine has locked."""
    holder = dataclasses.replace(locks._this_process(), **changes)
    path = folder / ".in_use.json"
    path.write_text(json.dumps(dataclasses.asdict(holder)))
    os.utime(path, (time.time() - age_s, time.time() - age_s))


def test_a_lock_of_another_machine_counts_while_its_holder_gives_signs_of_life(tmp_path):
    leave(tmp_path, host="node7", machine="node7")
    message = refused(tmp_path)
    assert "on node7" in message
    assert "60 s" in message
    leave(tmp_path, host="node7", machine="node7", age_s=61)
    with in_use(tmp_path):
        pass


def test_a_lock_from_before_the_clock_was_set_back_holds_nothing(tmp_path):
    leave(tmp_path, host="node7", machine="node7", age_s=-3600)
    with in_use(tmp_path):
        pass


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_SECONDS_BETWEEN_SIGNS", 0.01)
    path = tmp_path / ".in_use.json"
    with in_use(tmp_path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


@pytest.fixture
def no_flock(monkeypatch):
    def flock(file, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locks, "_UNSUPPORTED_WAIT_S", 0.05)


def test_without_locks_of_the_file_system_a_running_holder_keeps_others_out(tmp_path, no_flock):
    leave(tmp_path, pid=os.getpid())
    assert f"process {os.getpid()}" in refused(tmp_path)


def test_without_locks_of_the_file_system_a_dead_holder_keeps_nobody_out(tmp_path, no_flock):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    leave(tmp_path, pid=dead.pid)
    with in_use(tmp_path):
        pass


def test_without_locks_of_the_file_system_the_last_of_two_gets_it(tmp_path, no_flock, monkeypatch):
    def overtaken(seconds):
        leave(tmp_path, pid=1, mark="another")

    monkeypatch.setattr(locks.time, "sleep", overtaken)
    assert "process 1 on" in refused(tmp_path)


def test_a_file_that_is_no_lock_of_ours_is_taken_over(tmp_path):
    (tmp_path / ".in_use.json").write_text("[]")
    with in_use(tmp_path):
        pass


def test_a_full_disk_names_the_lock_and_leaves_nothing(tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(OSError, match=r"\.in_use\.json") as refused, full_disk(10), in_use(folder):
        pytest.fail("work began")
    assert refused.value.errno == errno.EFBIG
    assert not folder.exists()
