"""Worker processes that end with the process that started them, however that one ends.

A worker is a fresh interpreter, with a pipe of its own in each direction of which either process
keeps one end alone. If a worker is killed, even in the middle of an answer, its pipe ends here, so
that nobody waits for it; and a worker ends itself when this process is gone. Signals to stop
(`STOP_SIGNALS`) are for the command: its workers ignore them.

`multiprocessing` is not used: its queues wait for ever for the rest of an answer whose writer was
killed, its default start differs between versions of Python, and it runs the caller's script again.
"""

import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, final

from diffunet.errors import DiffunetError

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
"""The signals to stop: from a person's Ctrl-C, a closed terminal, or a scheduler.

Schedulers warn with SIGTERM (SLURM), SIGUSR1 and SIGUSR2 (SLURM's `--signal=USR1`, `-notify` of
Grid Engine, LSF) or SIGXCPU (a limit of processor time) before they kill.
"""

_PIPE_BYTES = 2**20
_RUN = (
    "import runpy, sys; sys.path[:] = sys.argv.pop(1).split('\\n'); import diffunet.workers; "
    "sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "diffunet.workers.end_with_standard_input(); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_SERVE = (
    "import sys; sys.path[:] = sys.argv[1].split('\\n'); import diffunet.workers; "
    "sys.path[:] = sys.argv[2].split('\\n'); diffunet.workers.serve()"
)
_LIBRARIES_WITH_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "BLOSC")


class WorkerLostError(DiffunetError):
    """A worker process ended without an answer: it was killed, or crashed."""


class WorkerTracebackError(Exception):
    """The traceback of an exception in the worker, as text: the cause of that exception here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@final
class Worker:
    """A process that calls `function` for one item after the other.

    Several threads may call at once: the next item is at hand when the one before is done.

    Args:
        function: can be pickled, as all items and results.
    """

    def __init__(self, function: Callable[[Any], Any]):
        self._unsent = [function]
        self._sending, self._receiving = threading.Lock(), threading.Condition()
        self._num_sent = self._num_received = 0
        one_thread = {f"{name}_NUM_THREADS": "1" for name in _LIBRARIES_WITH_THREADS}
        with _deaf():  # a child begins as deaf as this thread is
            self._process = subprocess.Popen(
                [_interpreter(), "-c", _SERVE, *_import_paths()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **one_thread, "BLOSC_NTHREADS": "1"},
                pipesize=_PIPE_BYTES,
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def __call__(self, item: Any) -> Any:
        """Return `function(item)`.

        Raises:
            WorkerLostError: the process is gone.
            Exception: what `function` raised; its cause is a `WorkerTracebackError`.
        """
        try:
            error, text, result = self._answer_of(self._ask(item))
        except (EOFError, OSError):
            raise WorkerLostError("a worker process ended without a message") from None
        if text:
            raise (
                error or RuntimeError(text.strip().rpartition("\n")[2])
            ) from WorkerTracebackError(text)
        return result

    def _ask(self, item: Any) -> int:
        """Send an item; returns its number."""
        with self._sending:
            while self._unsent:
                _send(_open(self._process.stdin), self._unsent[0])
                del self._unsent[0]
            _send(_open(self._process.stdin), item)
            self._num_sent += 1
            return self._num_sent - 1

    def _answer_of(self, number: int) -> Any:
        """Wait for the answers to earlier items to be read, then for this one."""
        with self._receiving:
            self._receiving.wait_for(lambda: self._num_received == number)
        try:
            return _receive(_open(self._process.stdout))
        finally:
            with self._receiving:
                self._num_received += 1
                self._receiving.notify_all()

    def kill(self) -> None:
        """End the process at once; a thread that waits for its answer gets `WorkerLostError`."""
        self._process.kill()

    def close(self) -> None:
        """Wait for the end of a process that was killed, and close the pipes to it."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what could not be written any more
                if pipe is not None:
                    pipe.close()


@final
class Program:
    """`python -m module` that ends with this process; it hears signals as any program does.

    Attributes:
        process: its standard input is not for use.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ):
        self.process = subprocess.Popen(
            [_interpreter(), "-c", _RUN, *_import_paths(), module, *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            text=True,
        )
        # taken away from `communicate`, which would close it: it stays open as long as this
        self._lifeline, self.process.stdin = self.process.stdin, None

    def close(self) -> None:
        """Close what the process lives by, after its end."""
        if self._lifeline is not None:
            self._lifeline.close()


def _interpreter() -> str:
    """Return the Python that this process runs in, as a command.

    Raises:
        DiffunetError: it is not known, as in a program that has Python inside: started once more,
            such a program would open its window, or do whatever it does.
    """
    found = sys.executable or ""
    if getattr(sys, "frozen", False) or "py" not in os.path.basename(found).lower():  # noqa: PTH119
        raise DiffunetError(
            "worker processes need a Python interpreter, and sys.executable of this process is "
            f"{found!r}; give num_processes=0 (-np 0), or set sys.executable to a Python that has "
            "diffunet"
        )
    return found


def _import_paths() -> tuple[str, str]:
    """Return where a new process looks for this diffunet, and then for everything else.

    An entry of `sys.path` that is relative means another folder after a change of the current one;
    without our own folder another version of diffunet might answer there, or none.
    """
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    return "\n".join([ours, *entries]), "\n".join(entries)


def end_with_standard_input() -> None:
    """End this process, whatever it is doing, once nobody can write to its standard input."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def serve() -> None:
    """Be a worker: answer what comes through standard input on what was standard output."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a library prints is no answer
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    received: queue.SimpleQueue[list[bytearray]] = queue.SimpleQueue()
    threading.Thread(target=_read_until_the_end, args=(tasks, received), daemon=True).start()
    sent_function, function = received.get(), None
    with suppress(BrokenPipeError):
        while True:
            item = received.get()
            error, text, result = None, "", None
            try:
                function = function or _loaded(sent_function)
                result = function(_loaded(item))
            except Exception as raised:
                error, text = raised, traceback.format_exc()
            _answer(answers, error, text, result)


def _answer(answers: IO[bytes], error: Exception | None, text: str, result: Any) -> None:
    """Send an answer, or its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own: some can be written, not read
    except Exception:
        error = None
    try:
        _send(answers, (error, text, result))
    except (pickle.PicklingError, TypeError, AttributeError):
        _send(answers, (None, traceback.format_exc(), None))


def _read_until_the_end(tasks: IO[bytes], received: "queue.SimpleQueue[Any]") -> None:
    """Read what comes; end this process, whatever it is doing, once nobody can send any more."""
    try:
        while True:
            received.put(_parts(tasks))
    finally:
        os._exit(1)


@contextmanager
def _deaf() -> Iterator[None]:
    """Block the signals that stop a command in this thread for a moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(pipe: IO[bytes], message: Any) -> None:
    """Write a message; arrays go as they lie in memory, without a copy."""
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(content), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    pipe.write(struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    return _loaded(_parts(pipe))


def _parts(pipe: IO[bytes]) -> list[bytearray]:
    (num_parts,) = struct.unpack("<Q", _exactly(pipe, 8))
    sizes = struct.unpack(f"<{num_parts}Q", _exactly(pipe, 8 * num_parts))
    return [_exactly(pipe, size) for size in sizes]


def _loaded(parts: Sequence[bytearray]) -> Any:
    content, *buffers = parts
    return pickle.loads(content, buffers=buffers)  # noqa: S301  # from our own process


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process has no such pipe")
    return pipe


def _exactly(pipe: IO[bytes], num_bytes: int) -> bytearray:
    """Read a number of bytes.

    Raises:
        EOFError: the writer is gone before.
    """
    read = bytearray(num_bytes)
    view = memoryview(read)
    while view:
        count = pipe.readinto(view)  # type: ignore[attr-defined]  # of buffered pipes
        if not count:
            raise EOFError
        view = view[count:]
    return read
