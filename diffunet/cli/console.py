"""A console that never ends a command, even if it cannot show a character or is closed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, final


@final
class Console:
    """A stream whose `write` cannot fail.

    Characters that its encoding lacks are written as escapes. Once nobody reads it any more (`|
    head`, a closed terminal), output is dropped and the work goes on.
    """

    def __init__(self, stream: TextIO | None):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as much of `text` as the console can show."""
        if self._stream is not None:
            try:
                self._write(self._stream, text)
            except (OSError, ValueError):  # closed at the other end, or at ours
                self._drop()
        return len(text)

    def flush(self) -> None:
        """Show what has been written."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._drop()

    def isatty(self) -> bool:
        """Whether a person watches."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _drop(self) -> None:
        """Drop what is left in the stream's buffer, or Python complains at its end."""
        stream, self._stream = self._stream, None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]  # None is suppressed
            os.close(nowhere)


@contextlib.contextmanager
def lasting_console() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` a `Console` each."""
    out, err = Console(sys.stdout), Console(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # type: ignore[type-var]
        try:
            yield
        finally:
            out.flush()
            err.flush()
