"""What a training leaves for people: its log, and pictures that a separate process draws."""

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import final

import numpy as np

from diffunet.errors import DiffunetError, WriteError
from diffunet.jsonio import atomic_file
from diffunet.workers import Program
from diffunet.workspace import METRICS_FILE

logger = logging.getLogger(__name__)

_DRAWING_TIMEOUT_S = 120


@final
class _LogFile(logging.FileHandler):
    """Makes the folder of its file when it opens it; a full disk only cuts the log short."""

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Leave out a line that cannot be written."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, even if some of it could not be written."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append what diffunet logs to `path` for a while; its folder is made with the first line.

    So a training that is refused before its first message leaves no folder behind.
    """
    root = logging.getLogger("diffunet")
    handler = _LogFile(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(logging.INFO, root.getEffectiveLevel()))
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


@final
class Pictures:
    """`progress.png` and `samples.png` of a fold's folder; a context manager.

    Matplotlib is never imported here; if it is missing, or the disk is full, there is only a
    warning. Leaving the context gives up a picture that is still being drawn.
    """

    def __init__(self, folder: Path, *, label_names: Sequence[str] = ()):
        self._folder = folder
        self._label_names = tuple(label_names)
        self._running: dict[str, Program] = {}
        self._outdated: dict[str, Path] = {}
        self._has_failed = False
        self._cases: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._running.values():
            program.process.kill()
            program.process.communicate()
            program.close()
        self._running.clear()

    def add_case(
        self, case: str, image: np.ndarray, raters: np.ndarray, samples: np.ndarray
    ) -> None:
        """Keep a case for the next `samples.png`; of a volume, the slice marked most."""
        if raters.ndim == 5:
            index = int(raters.sum(axis=(0, 1, 3, 4)).argmax())
            image, raters, samples = image[:, index], raters[:, :, index], samples[:, :, index]
        self._cases.append((case, image, raters, samples))

    def update(self) -> None:
        """Draw both anew beside the training; if they are still being drawn, `finish` does it."""
        try:
            if self._cases:
                self._write_cases(self._folder / "samples.npz")
                self._draw("samples", self._folder / "samples.npz")
                self._cases = []
            self._draw("training", self._folder / METRICS_FILE)
        except (WriteError, OSError) as cause:
            self._give_up(str(cause))

    def finish(self) -> None:
        """Wait for pictures being drawn, and draw again those that have changed since."""
        self._collect_all()
        for kind, source in list(self._outdated.items()):
            self._draw(kind, source)
        self._collect_all()

    def _write_cases(self, path: Path) -> None:
        arrays: dict[str, np.ndarray] = {"labels": np.array(self._label_names)}
        for index, (case, image, raters, samples) in enumerate(self._cases):
            arrays |= {
                f"case_{index}": np.array(case),
                f"image_{index}": image,
                f"raters_{index}": raters,
                f"samples_{index}": samples,
            }
        with atomic_file(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def _draw(self, kind: str, source: Path) -> None:
        target = self._folder / {"training": "progress.png", "samples": "samples.png"}[kind]
        if kind in self._running and self._running[kind].process.poll() is None:
            self._outdated[kind] = source
            return
        self._collect(kind, timeout_s=0)
        self._outdated.pop(kind, None)
        if self._has_failed:
            return
        try:
            self._running[kind] = Program(
                "diffunet.figures",
                [kind, str(source), str(target)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except (DiffunetError, OSError) as cause:
            self._give_up(str(cause))

    def _collect_all(self) -> None:
        for kind in list(self._running):
            self._collect(kind, timeout_s=_DRAWING_TIMEOUT_S)

    def _collect(self, kind: str, *, timeout_s: float) -> None:
        program = self._running.pop(kind, None)
        if program is None:
            return
        process = program.process
        try:
            _, message = process.communicate(timeout=timeout_s or None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            message = f"took more than {timeout_s} s"
        program.close()
        if process.returncode != 0:
            self._give_up(message.strip().rpartition("\n")[2])

    def _give_up(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.warning("no pictures of this training are drawn: %s", reason)
