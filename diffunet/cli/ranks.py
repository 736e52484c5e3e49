"""`diffunet_train -num_gpus N`: the same command in N processes that train together.

It works like `torchrun` on one machine, but the processes end with the command that started them,
are asked to stop only once, and have time to save.
"""

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence

from diffunet.cli.command import EXIT_INTERRUPTED
from diffunet.errors import DiffunetError, UsageError
from diffunet.parallel import default_num_processes
from diffunet.workers import Program

logger = logging.getLogger(__name__)

_LAUNCHED = "TORCHELASTIC_RUN_ID"
"""What torchrun sets in each of its processes, and by which torch knows them."""

_WAITS_FOR_LAUNCHER = "TORCHELASTIC_USE_AGENT_STORE"

_RANK_WORDS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")

_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_SAVE = 20.0
_SECONDS_AFTER_A_FAILURE = 5.0


def is_launched(num_gpus: int, environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several that torchrun, or `train_in_processes`, has started.

    Containers and shells may hold variables of ranks that no launcher set for this process. They
    count for nothing, with a warning where they speak of several processes.

    Args:
        num_gpus: as the user gave it; the launcher decides the number.

    Raises:
        UsageError: the launcher started another number, or ended before.
    """
    words = ", ".join(f"{word}={environment[word]}" for word in _RANK_WORDS if word in environment)
    if _LAUNCHED not in environment:
        if environment.get("WORLD_SIZE", "1") != "1":
            logger.warning(
                "the environment says %s, but torchrun did not start this process: it goes by "
                "-num_gpus %d; to train in several processes, use -num_gpus or torchrun",
                words,
                num_gpus,
            )
        return False
    num_launched = num_ranks_of(environment)
    if num_gpus not in (1, num_launched):
        raise UsageError(
            f"-num_gpus {num_gpus}, but the environment ({words}) says that torchrun started "
            f"{num_launched} processes on this machine; leave -num_gpus out under torchrun, or "
            f"{_unset()} if they are left from one that ended"
        )
    _require_launcher(environment)
    return True


def num_ranks_of(environment: Mapping[str, str]) -> int:
    """Return how many processes the launcher started on this machine."""
    return int(environment.get("LOCAL_WORLD_SIZE", "1"))


def _require_launcher(environment: Mapping[str, str]) -> None:
    """Check that torchrun still runs: torch waits for it without an end.

    Raises:
        UsageError: nobody answers where it listens.
    """
    if environment.get(_WAITS_FOR_LAUNCHER) != "True":
        return
    place = environment.get("MASTER_ADDR", ""), int(environment.get("MASTER_PORT", "0"))
    try:
        socket.create_connection(place, timeout=_SECONDS_TO_ANSWER).close()
    except OSError as cause:
        raise UsageError(
            f"the environment says that torchrun started this process, but it does not answer at "
            f"{place[0]}:{place[1]} ({cause}); {_unset()} if they are left from one that ended"
        ) from None


def _unset() -> str:
    return f"remove its variables (unset {_LAUNCHED} {' '.join(_RANK_WORDS)})"


def require_devices(num_ranks: int, device: str) -> None:
    """Check that there is a device for each of several processes.

    Args:
        device: as the user gave it; only "cpu" has room for any number.

    Raises:
        UsageError: there are fewer GPUs, or one of them was named.
    """
    if device == "cpu":
        return
    import torch

    found = torch.cuda.device_count()
    if device not in ("auto", "cuda") or found < num_ranks:
        raise UsageError(
            f"{num_ranks} processes that train together (-num_gpus, torchrun) with -device "
            f"{device}: expected as many CUDA GPUs, and no single one named, found {found}; use "
            "at most as many processes as GPUs, or run them on the CPU with -device cpu"
        )


def train_in_processes(num_ranks: int, module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module arguments` as the ranks of one training, and wait for their end.

    Raises:
        DiffunetError: one failed; its message has been printed.
        KeyboardInterrupt: they were asked to stop, and had time to save.
    """
    programs = [Program(module, arguments, environment=each) for each in _environments(num_ranks)]
    ranks = [program.process for program in programs]
    try:
        while all(rank.poll() in (None, 0) for rank in ranks):
            if all(rank.returncode == 0 for rank in ranks):
                return
            time.sleep(0.1)
        _wait(ranks, _SECONDS_AFTER_A_FAILURE)
    except KeyboardInterrupt:
        for rank in ranks:
            rank.send_signal(signal.SIGTERM)
        _wait(ranks, _SECONDS_TO_SAVE)
        raise
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    if any(rank.returncode == EXIT_INTERRUPTED for rank in ranks):
        raise KeyboardInterrupt
    raise DiffunetError(f"training in {num_ranks} processes failed; the messages above say why")


def _wait(ranks: Sequence["subprocess.Popen[str]"], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < deadline:
        time.sleep(0.05)


def _environments(num_ranks: int) -> list[Mapping[str, str]]:
    """Return for each rank what `torchrun` would put into its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "OMP_NUM_THREADS": str(max(1, default_num_processes() // num_ranks)),
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        _LAUNCHED: "diffunet_train",
        _WAITS_FOR_LAUNCHER: "False",
    }
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_ranks)]
