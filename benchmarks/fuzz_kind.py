"""What the fuzzer needs to know about a kind of file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mutations as change


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file.

    Attributes:
        read: reads the file as the product does.
        mutations: one of these is drawn each time.
    """

    name: str
    path: Path
    read: Callable[[], object]
    mutations: tuple[change.Mutation, ...] = (change.bytes_changed,)
