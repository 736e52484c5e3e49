"""The only process pool: results in order, errors that name their item, no process left behind."""

import contextlib
import math
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

from diffunet.cgroups import core_limit
from diffunet.errors import DiffunetError, explain
from diffunet.limits import max_image_bytes, set_max_image_bytes
from diffunet.workers import Worker, WorkerLostError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_IN_FLIGHT_PER_PROCESS = 2


@runtime_checkable
class Progress(Protocol):
    """Wraps an iteration so that a person sees how far it is, and the time left."""

    def __call__(self, items: Iterable[Item], total: int, description: str) -> Iterator[Item]: ...


def without_progress(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Show nothing: the `Progress` of the Python API where none is given."""
    return iter(items)


def map_ordered(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_processes: int,
    describe: Callable[[Item], str] = str,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in the order of `items`.

    With `num_processes` 0, or a single item, everything runs in this process. Workers are fresh
    interpreters, so `function` and items must be picklable and `function` importable. At most two
    items per process are in flight: memory does not grow with `items`. Whenever this ends, even by
    an exception in the caller, the workers end at once: their writes must be atomic.

    Args:
        num_processes: 0 means "in this process".
        describe: names an item in an error message.

    Raises:
        DiffunetError: as raised by `function`, unchanged; or what the operating system refused.
        WorkerLostError: a worker was killed, most likely for memory.
        RuntimeError: any other failure of `function`, with the item's name; the original
            exception, with its own traceback, is the cause.
    """
    if num_processes == 0 or len(items) <= 1:
        for item in items:
            with _naming(item, describe):
                yield function(item)
        return
    num_processes = min(num_processes, len(items))
    limited = partial(_under_limit, function, max_image_bytes())
    with _called_by_threads(limited, num_processes) as submit:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, submit(item)))
            if len(waiting) >= _ITEMS_IN_FLIGHT_PER_PROCESS * num_processes:
                yield _result_of(*waiting.popleft(), describe)
        while waiting:
            yield _result_of(*waiting.popleft(), describe)


@contextlib.contextmanager
def _called_by_threads(
    function: Callable[[Item], Result], num_processes: int
) -> "Iterator[Callable[[Item], Future[Result]]]":
    """Yield what has an item done by the next worker with a free place."""
    executor = ThreadPoolExecutor(_ITEMS_IN_FLIGHT_PER_PROCESS * num_processes)
    workers: list[Worker] = []
    places: queue.SimpleQueue[Worker] = queue.SimpleQueue()

    def call(item: Item) -> Result:
        worker = places.get()
        try:
            return worker(item)
        finally:
            places.put(worker)

    try:
        for _ in range(num_processes):
            workers.append(Worker(function))
        for worker in workers * _ITEMS_IN_FLIGHT_PER_PROCESS:
            places.put(worker)
        yield lambda item: executor.submit(call, item)
    finally:
        for worker in workers:
            worker.kill()
        executor.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.close()


def default_num_processes() -> int:
    """Return how many processes this machine can keep busy: its usable cores, at most 8."""
    return min(8, num_usable_cores())


def num_usable_cores() -> int:
    """Return how many cores this process may use, of its machine, container or job."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(usable or 1, core_limit())))


def _under_limit(function: Callable[[Item], Result], limit: int, item: Item) -> Result:
    """Call `function` in a worker, where images have the limit of the process that started it."""
    set_max_image_bytes(limit)
    return function(item)


@contextlib.contextmanager
def _naming(item: Any, describe: Callable[[Any], str]) -> Iterator[None]:
    try:
        yield
    except (DiffunetError, GeneratorExit):
        raise
    except OSError as failure:
        raise DiffunetError(f"{describe(item)}: {explain(failure)}") from failure
    except Exception as cause:
        raise RuntimeError(f"{describe(item)}: {type(cause).__name__}: {cause}") from cause


def _result_of(item: Item, future: "Future[Result]", describe: Callable[[Item], str]) -> Result:
    try:
        with _naming(item, describe):
            return future.result()
    except WorkerLostError:
        raise WorkerLostError(
            f"a worker process ended without a message around {describe(item)}, most likely "
            "killed for lack of memory; run the same command again with fewer processes (-np): "
            "it continues where it stopped"
        ) from None
