"""Work on one folder, shared out over several jobs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from diffunet.errors import UsageError
from diffunet.locks import in_use

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Every `num_parts`-th piece of the work, from `part_id` on; by itself all of it.

    Raises:
        UsageError: there is no such part.
    """

    num_parts: int = 1
    part_id: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.part_id < self.num_parts:
            highest = self.num_parts - 1
            raise UsageError(f"part_id should be from 0 to {highest}, got {self.part_id}")

    @property
    def is_all(self) -> bool:
        return self.num_parts == 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of this part; all parts must be given the same ones."""
        return list(items[self.part_id :: self.num_parts])

    def holding(self, folder: Path) -> AbstractContextManager[None]:
        """Hold a folder: meanwhile only other parts of the same division may work in it.

        Raises:
            InUseError: another command works there.
        """
        if self.is_all:
            return in_use(folder)
        of_division = f"_of_{self.num_parts}"
        return in_use(
            folder,
            part=f"part_{self.part_id}{of_division}",
            goes_with=lambda part: part.endswith(of_division),
        )


ALL = Part()
"""The work of a job that shares it with no other."""
