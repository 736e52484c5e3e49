import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import pytest

from diffunet.errors import DatasetError, DiffunetError
from diffunet.parallel import default_num_processes, map_ordered


def _square(number):
    return number * number


def _fail_at_three(number):
    if number == 3:
        raise ZeroDivisionError("three")
    return number


def _refuse_at_three(number):
    if number == 3:
        raise DatasetError("case 3: bad")
    return number


def _die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _square_or_wait(number):
    if number:
        time.sleep(60)
    return number * number


def _threads(_):
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("num_processes", [0, 2])
def test_results_come_in_the_order_of_the_items(num_processes):
    found = list(map_ordered(_square, range(9), num_processes=num_processes))
    assert found == [n * n for n in range(9)]


@pytest.mark.parametrize("num_processes", [0, 2])
def test_a_failure_names_its_item_and_keeps_its_traceback(num_processes):
    with pytest.raises(RuntimeError, match="case 3: ZeroDivisionError: three") as caught:
        list(
            map_ordered(
                _fail_at_three,
                range(6),
                num_processes=num_processes,
                describe=lambda n: f"case {n}",
            )
        )
    assert "_fail_at_three" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("num_processes", [0, 2])
def test_a_user_error_passes_unchanged(num_processes):
    with pytest.raises(DatasetError, match="^case 3: bad$"):
        list(map_ordered(_refuse_at_three, range(6), num_processes=num_processes))


def test_a_killed_worker_is_an_error_and_not_a_hang():
    with pytest.raises(DiffunetError, match="killed for lack of memory"):
        list(map_ordered(_die, range(4), num_processes=2))


def test_workers_use_one_thread_each():
    assert set(map_ordered(_threads, range(4), num_processes=2)) == {"1"}


def test_only_a_few_items_are_taken_ahead():
    taken = []

    class Items(list):
        def __iter__(self):
            for item in super().__iter__():
                taken.append(item)
                yield item

    results = map_ordered(_square, Items(range(100)), num_processes=2)
    next(results)
    assert len(taken) <= 5
    results.close()


def test_ending_early_leaves_no_thread_and_waits_for_nothing():
    before = threading.active_count()
    results = map_ordered(_square_or_wait, range(100), num_processes=2)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


SCRIPT = """
import multiprocessing, sys
multiprocessing.set_start_method(sys.argv[1])
from diffunet.parallel import map_ordered
from tests.test_parallel import _square
print(list(map_ordered(_square, range(3), num_processes=2)))
"""


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_a_plain_script_may_use_it_under_every_start_method(start_method, tmp_path):
    """Without a guard (`if __name__ == ...`): a worker does not run the script again."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), start_method],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "[0, 1, 4]\n", done.stderr


def test_the_default_keeps_within_one_to_eight():
    assert 1 <= default_num_processes() <= 8
