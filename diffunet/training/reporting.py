"""What a training leaves for people: its log, and pictures drawn by a process of their own."""

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import final

import numpy as np

from diffunet.jsonio import atomic_path

logger = logging.getLogger(__name__)

_DRAWING_TIMEOUT_S = 120


class _LateFile(logging.FileHandler):
    """Makes the folder of its file when it opens that."""

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append what diffunet logs to `path` for a while; its folder is made with the first line.

    So a training that is refused before it says anything leaves no folder behind.
    """
    root = logging.getLogger("diffunet")
    handler = _LateFile(path, encoding="utf-8", delay=True)
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
    """`progress.png` and `samples.png` of a fold's folder.

    Matplotlib is never imported here; where it is missing, a warning is all that happens.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._has_failed = False
        self._cases: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []

    def add_case(
        self, case: str, image: np.ndarray, raters: np.ndarray, samples: np.ndarray
    ) -> None:
        """Keep a case for the next `samples.png`; of a volume, the slice marked most."""
        if raters.ndim == 5:
            index = int(raters.sum(axis=(0, 1, 3, 4)).argmax())
            image, raters, samples = image[:, index], raters[:, :, index], samples[:, :, index]
        self._cases.append((case, image, raters, samples))

    def update(self) -> None:
        """Draw both anew, beside the training; a picture that is still being drawn is left out."""
        if self._cases:
            self._write_cases(self._folder / "samples.npz")
            self._draw("samples", self._folder / "samples.npz")
            self._cases = []
        self._draw("training", self._folder / "metrics.jsonl")

    def finish(self) -> None:
        """Wait for what is being drawn."""
        for name in list(self._running):
            self._collect(name, timeout_s=_DRAWING_TIMEOUT_S)

    def _write_cases(self, path: Path) -> None:
        arrays: dict[str, np.ndarray] = {}
        for index, (case, image, raters, samples) in enumerate(self._cases):
            arrays |= {
                f"case_{index}": np.array(case),
                f"image_{index}": image,
                f"raters_{index}": raters,
                f"samples_{index}": samples,
            }
        with atomic_path(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def _draw(self, kind: str, source: Path) -> None:
        target = self._folder / {"training": "progress.png", "samples": "samples.png"}[kind]
        if kind in self._running and self._running[kind].poll() is None:
            return
        self._collect(kind, timeout_s=0)
        if not self._has_failed:
            self._running[kind] = subprocess.Popen(
                [sys.executable, "-m", "diffunet.figures", kind, str(source), str(target)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )

    def _collect(self, kind: str, *, timeout_s: float) -> None:
        process = self._running.pop(kind, None)
        if process is None:
            return
        try:
            _, message = process.communicate(timeout=timeout_s or None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            message = f"took more than {timeout_s} s"
        if process.returncode != 0 and not self._has_failed:
            self._has_failed = True
            last_line = message.strip().rpartition("\n")[2]
            logger.warning("no pictures of this training are drawn: %s", last_line)
