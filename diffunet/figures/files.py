"""Pictures as files."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffunet.errors import explain_any, lacks_memory
from diffunet.jsonio import atomic_file

logger = logging.getLogger(__name__)


def save(figure: Any, png: Path) -> None:
    """Write a figure as PNG, whole or not at all; letters that no font has are boxes."""
    with atomic_file(png) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        figure.savefig(file, dpi=110, format="png")


@contextlib.contextmanager
def warning_only(png: Path) -> Iterator[None]:
    """Turn any failure of drawing a picture inside this context into a warning.

    All results are written before; a failed picture is no failed work.
    """
    try:
        yield
    except ImportError as cause:
        why = explain_any(cause) if lacks_memory(cause) else f"{cause}; install matplotlib"
        logger.warning("%s is not drawn: %s", png.name, why)
    except Exception as cause:
        logger.warning("%s is not drawn: %s: %s", png.name, type(cause).__name__, cause)
