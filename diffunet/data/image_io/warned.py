"""Warnings of libraries while they read, kept for the message about the case and not printed."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

_LOGGERS = ("nibabel.global", "tifffile", "PIL")
_SAID_BETTER = ("pixdim",)  # the geometry's own doubts say it with the numbers


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Yield a list that holds, after the block, each warning once."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return False

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for each in loggers:
        each.addFilter(keep)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
        said += [str(warning.message) for warning in caught]
        kept = [" ".join(text.split()) for text in said if not text.startswith(_SAID_BETTER)]
        said[:] = dict.fromkeys(kept)
    finally:
        for each in loggers:
            each.removeFilter(keep)
