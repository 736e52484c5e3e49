"""Stopping a training between two iterations, when it is interrupted or terminated."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, final

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@final
class StopRequest:
    """While it is entered, SIGINT and SIGTERM ask the training to stop at the next iteration.

    A second signal acts as it would have without this. Outside of the main thread, where Python
    allows no signal handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.is_made = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._note) for each in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def __call__(self) -> bool:
        """Whether the training was asked to stop."""
        return self.is_made

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_made = True
        logger.warning(
            "%s: stopping after this iteration; once more stops at once",
            signal.Signals(number).name,
        )
        self._restore()

    def _restore(self) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
        self._previous = {}
