"""How commands stop: the one rule for all signals that ask for it (`STOP_SIGNALS`).

They mean the same, whether a person presses Ctrl-C, a scheduler takes the machine back, or a
terminal is closed: end soon, lose no finished work, leave nothing running. A signal that was
ignored when the command began (`nohup`) stays ignored.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, final

from diffunet.workers import STOP_SIGNALS

logger = logging.getLogger(__name__)

_SAME_REQUEST_S = 2.0
"""Signals within this time are one request: many senders signal a process and then its group."""

_Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt within this context on a signal to stop, so that all is cleaned up.

    Signals that follow at once are the same request; a later one ends the process immediately.
    """
    first: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() - first[0] > _SAME_REQUEST_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    with _handled_by(interrupt):
        yield


@final
class StopRequest:
    """While it is entered, what asks to stop is noted, and acted upon when nothing is lost by it.

    A second request acts as it would have without this. Outside of the main thread, where Python
    allows no signal handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.is_made = False
        self._made_at = 0.0
        self._is_interruptible = False
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> "StopRequest":
        self._handlers.enter_context(_handled_by(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def __call__(self) -> bool:
        """Whether it was asked to stop."""
        return self.is_made

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise KeyboardInterrupt on a request within this context, whose work can be repeated."""
        self._is_interruptible = True
        try:
            if self.is_made:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_interruptible = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_made:
            if time.monotonic() - self._made_at > _SAME_REQUEST_S:
                self._handlers.close()
                os.kill(os.getpid(), number)
            return
        self.is_made, self._made_at = True, time.monotonic()
        logger.warning(
            "%s: stopping after this iteration; a second signal stops at once",
            signal.Signals(number).name,
        )
        if self._is_interruptible:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _handled_by(handler: _Handler) -> Iterator[None]:
    """Let `handler` handle the signals that stop, where Python allows it."""
    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for each in STOP_SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                previous[each] = signal.signal(each, handler)
    try:
        yield
    finally:
        for each, before in previous.items():
            signal.signal(each, before)
