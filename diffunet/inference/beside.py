"""Writing in a thread of its own, beside the network's work on what comes next."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import final

_SECONDS_TO_END = 5.0
"""That an unfinished write has when something else went wrong; whatever it leaves is temporary."""


@final
class WritingBeside:
    """Runs one job at a time, in the order in which they are given.

    A job begins once the one before has ended, so that at most one result waits in memory. What a
    job raises is raised by the next call, or at the end.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __call__(self, job: Callable[[], object]) -> None:
        """Begin a job as soon as the one before has ended."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when all is done; raises what the last job raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> "WritingBeside":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join(_SECONDS_TO_END)
