"""The one process pool: spawned workers, results in order, errors that name their item."""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar, runtime_checkable

from diffunet.errors import DiffunetError

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

    With `num_processes` 0, or a single item, everything runs in this process. Workers are spawned,
    so `function` and items must be picklable. At most two items per process are in flight: memory
    does not grow with `items`.

    Args:
        num_processes: 0 means "in this process".
        describe: names an item in an error message.

    Raises:
        DiffunetError: as raised by `function`, unchanged.
        RuntimeError: any other failure of `function`, with the item's name; the original
            exception, with its own traceback, is the cause.
    """
    if num_processes == 0 or len(items) <= 1:
        for item in items:
            with _naming(item, describe):
                yield function(item)
        return
    context = multiprocessing.get_context("spawn")
    num_processes = min(num_processes, len(items))
    executor = ProcessPoolExecutor(num_processes, mp_context=context, initializer=_one_thread)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    remaining = iter(items)
    try:
        for item in remaining:
            waiting.append((item, executor.submit(function, item)))
            if len(waiting) >= _ITEMS_IN_FLIGHT_PER_PROCESS * num_processes:
                yield _result_of(*waiting.popleft(), describe)
        while waiting:
            yield _result_of(*waiting.popleft(), describe)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def default_num_processes() -> int:
    """Return how many processes this machine can keep busy: its usable cores, at most 8."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(8, usable or 1))


def _one_thread() -> None:
    """Keep the libraries that a worker imports from starting one thread per core each."""
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    os.environ["BLOSC_NTHREADS"] = "1"


@contextlib.contextmanager
def _naming(item: Any, describe: Callable[[Any], str]) -> Iterator[None]:
    try:
        yield
    except (DiffunetError, GeneratorExit):
        raise
    except Exception as cause:
        raise RuntimeError(f"{describe(item)}: {type(cause).__name__}: {cause}") from cause


def _result_of(item: Item, future: "Future[Result]", describe: Callable[[Item], str]) -> Result:
    try:
        with _naming(item, describe):
            return future.result()
    except RuntimeError as error:
        if isinstance(error.__cause__, BrokenProcessPool):
            raise DiffunetError(
                f"a worker process ended without a word around {describe(item)}, most likely "
                "killed for memory; run the same command again with fewer processes (-np), "
                "it continues where it stopped"
            ) from error
        raise
