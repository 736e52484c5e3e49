"""What all commands share: their frame, logging, progress, and the handling of a user's mistake."""

import argparse
import functools
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from diffunet import __version__
from diffunet.cgroups import core_limit
from diffunet.cli import nnunet_words
from diffunet.cli.console import lasting_console
from diffunet.cli.nnunet_folders import hint_at_nnunet_folders, refuse_nnunet_folders
from diffunet.cli.parser import EXIT_USER_MISTAKE, HelpFormatter, Parser
from diffunet.errors import (
    DiffunetError,
    UsageError,
    explain,
    explain_lack_of_memory,
    lacks_memory,
)
from diffunet.limits import VARIABLE, max_image_bytes_from, set_max_image_bytes
from diffunet.names import undecoded_problem
from diffunet.parallel import num_usable_cores
from diffunet.stopping import interrupted_by_signals
from diffunet.workspace import FOLDERS, Workspace

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

EXIT_INTERRUPTED = 130

_SPINS = "10000"

SECONDS_BETWEEN_LINES = 60
"""Seconds between lines of progress where there is no terminal for a bar."""


def new_parser(description: str, *, epilog: str = "", command: str = "") -> Parser:
    """Return a parser in the style of all commands.

    Args:
        command: whose words of nnU-Net it knows.
    """
    parser = Parser(
        description=description, epilog=epilog, formatter_class=HelpFormatter, allow_abbrev=False
    )
    parser.refused = nnunet_words.REFUSED.get(command, {})
    parser.accepted = nnunet_words.ACCEPTED.get(command, {})
    parser.add_argument(
        "--version",
        action="version",
        version=f"diffunet {__version__}",
        help="show the version and exit",
    )
    return parser


def resolve_workspace(folder: Path | None, *, writes_raw: bool = False) -> Workspace:
    """Return the workspace of a command and print, once, which one it is.

    Args:
        writes_raw: the command makes a raw dataset.

    Raises:
        WorkspaceError: it names no folders, or nnU-Net's where the command would write.
    """
    workspace = Workspace.resolve(folder=folder, environment=os.environ, current_folder=Path.cwd())
    refuse_nnunet_folders(workspace, os.environ, writes_raw=writes_raw)
    print(workspace, flush=True)
    if folder is None and (hint := hint_at_nnunet_folders(os.environ)):
        print(hint, flush=True)
    return workspace


class MessageFormatter(logging.Formatter):
    """The bare message; messages above the level of information begin with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message of `record`, after "warning: " where it is one."""
        message = super().format(record)
        if record.levelno <= logging.INFO:
            return message
        return f"{record.levelname.lower()}: {message}"


def _log_to_terminal() -> None:
    """Show messages of diffunet, and only warnings of libraries."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(MessageFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("diffunet").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _wait_passively() -> None:
    """Let threads that wait for others soon sleep; OpenMP reads it when torch is imported.

    Threads that wait busily take the cores from those that they wait for as soon as other programs
    run: small networks then train several times slower. GNU's OpenMP, of torch for Linux, spins for
    some microseconds first, which is faster where nothing else runs. The user's own choice stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _keep_to_own_cores() -> None:
    """Let OpenMP start no more threads than a container or a job has cores, and not the machine.

    Where the time of more is limited, threads are stopped in the midst of their work, and all
    others wait for them. The user's own choice stays.
    """
    if core_limit() < math.inf:
        os.environ.setdefault("OMP_NUM_THREADS", str(num_usable_cores()))


def _require_current_folder() -> None:
    """Check that the current folder is there: libraries that are loaded next end without a word."""
    try:
        Path.cwd()
    except OSError as cause:
        raise UsageError(
            "the current folder is gone: it was removed, renamed or replaced after this terminal "
            "or job entered it; change into a folder (cd) and run the command again"
        ) from cause


def _require_text(words: Iterable[str]) -> None:
    """Check words and paths of a command.

    They must be such that files can hold them: no command says what it worked on otherwise. And a
    line of a script for Windows leaves a character at its end that no message shows.
    """
    for word in words:
        if problem := undecoded_problem(word):
            raise UsageError(f"{word!a}: {problem}; or else rename it")
        if word.endswith("\r") and not os.path.lexists(word):
            raise UsageError(
                f"{word!r} ends with a carriage return (\\r): the script or file that it comes "
                "from has the line ends of Windows; convert it (dos2unix FILE, or sed -i "
                "'s/\\r$//' FILE) and start a new shell"
            )


def _max_image_bytes_of(text: str | None) -> int:
    try:
        return max_image_bytes_from(text)
    except ValueError as cause:
        raise UsageError(f"the environment variable {cause}") from None


def progress_bar(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Yield `items` with a progress bar and the time left; a line a minute without a terminal."""
    if not sys.stderr.isatty():
        return _with_lines(items, total, description)
    return iter(tqdm(items, total=total, desc=description, dynamic_ncols=True, smoothing=0.1))


def _with_lines(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    start = last = time.monotonic()
    for num_done, item in enumerate(items):
        now = time.monotonic()
        if num_done and now - last >= SECONDS_BETWEEN_LINES:
            left = (now - start) / num_done * max(0, total - num_done)
            logger.info(
                "%s: %d of %d, %s left", description, num_done, total, tqdm.format_interval(left)
            )
            last = now
        yield item


def command(main: Callable[[list[str] | None], None]) -> Callable[..., int]:
    """Wrap a command: set up logging, turn mistakes into one message and an exit code.

    Exit codes: 0, 2 after a user's mistake or a refusal of the operating system, such as a full
    disk or too little memory (one message, no traceback), 130 when interrupted (see
    `diffunet.stopping`).
    """

    @functools.wraps(main)
    def wrapped(arguments: list[str] | None = None) -> int:
        with lasting_console():
            return run(arguments)

    def run(arguments: list[str] | None) -> int:
        _log_to_terminal()
        _wait_passively()
        _keep_to_own_cores()
        try:
            _require_current_folder()
            folders = (os.environ.get(f"diffunet_{name}", "") for name in FOLDERS)
            _require_text(
                [*(sys.argv if arguments is None else arguments), *folders, str(Path.cwd())]
            )
            set_max_image_bytes(_max_image_bytes_of(os.environ.get(VARIABLE)))
            with interrupted_by_signals():
                main(arguments)
        except DiffunetError as mistake:
            print(f"error: {mistake}", file=sys.stderr)
            return EXIT_USER_MISTAKE
        except KeyboardInterrupt:
            print(
                "interrupted; run the command again to continue (a training with --c, a "
                "prediction with --continue_prediction, pseudo-labels with --continue); checks "
                "and scores begin anew",
                file=sys.stderr,
            )
            return EXIT_INTERRUPTED
        except OSError as failure:
            print(f"error: {explain(failure)}", file=sys.stderr)
            logger.debug("where it happened", exc_info=True)
            return EXIT_USER_MISTAKE
        except Exception as failure:
            if not lacks_memory(failure):
                raise
            print(f"error: {explain_lack_of_memory(failure)}", file=sys.stderr)
            logger.debug("where it happened", exc_info=True)
            return EXIT_USER_MISTAKE
        return 0

    return wrapped


def command_of(
    make_parser: Callable[[], argparse.ArgumentParser],
) -> Callable[[Callable[[argparse.Namespace], None]], Callable[..., int]]:
    """Wrap a function of the options of a command, which `make_parser` reads."""

    def wrap(main: Callable[[argparse.Namespace], None]) -> Callable[..., int]:
        @functools.wraps(main)
        def parsed(arguments: list[str] | None) -> None:
            main(make_parser().parse_args(arguments))

        return command(parsed)

    return wrap
