"""Several processes of one training, as `torchrun` starts them; a single one without it."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from diffunet.errors import DiffunetError

_LONGEST_WAIT = timedelta(days=1)
"""For another rank that is alive: one may validate a large volume for longer than NCCL's 10 minutes
while the others have no case left. If one dies, `torchrun` ends the others at once."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which process of how many this is."""

    rank: int = 0
    num_ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        return self.num_ranks > 1

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over ranks; may change `values`."""
        if self.is_distributed:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Return the value of every rank, in order."""
        values = [value] * self.num_ranks
        if self.is_distributed:
            dist.all_gather_object(values, value)
        return values

    def of_first(self, value: Any) -> Any:
        """Return the value that rank 0 passed."""
        values = [value]
        if self.is_distributed:
            dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def entered_by_first(self, context: AbstractContextManager[Any]) -> Iterator[None]:
        """Have rank 0 enter `context`; an error there is raised on every rank."""
        refusal = None
        with contextlib.ExitStack() as stack:
            try:
                if self.is_first:
                    stack.enter_context(context)
            except DiffunetError as error:
                refusal = error
            if (refusal := self.of_first(refusal)) is not None:
                raise refusal
            yield


@contextlib.contextmanager
def joined_ranks(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other processes that `torchrun` started, if it did; give this one its GPU.

    Yields:
        the ranks, and `device`, on CUDA with the index of this process on its machine.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks(), device
        return
    if device.type == "cuda":
        local_rank = dist.get_node_local_rank()  # pyright: ignore[reportPrivateImportUsage]
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    try:
        yield Ranks(rank=dist.get_rank(), num_ranks=dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
