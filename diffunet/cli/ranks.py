"""`diffunet_train -num_gpus N`: the same command in N processes that train together.

It works like `torchrun` on one machine, but the processes end with the command that started them,
are asked to stop only once, and have time to save.
"""

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

_SECONDS_TO_SAVE = 20.0
_SECONDS_AFTER_A_FAILURE = 5.0


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
        "TORCHELASTIC_RUN_ID": "diffunet_train",
    }
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_ranks)]
