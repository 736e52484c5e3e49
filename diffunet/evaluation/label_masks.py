"""All masks of one label of a case, given part by part, so that they need not fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, kw_only=True)
class MaskBlock:
    """All masks of one label in a part of an image.

    Attributes:
        rows: the part of the first axis.
        consensus: None: the majority of the samples.
        ignored: voxels that count nowhere; None: there are none.
    """

    rows: slice
    samples: Bool[np.ndarray, "sample *block"]
    raters: Bool[np.ndarray, "rater *block"]
    consensus: Bool[np.ndarray, "*block"] | None
    ignored: Bool[np.ndarray, "*block"] | None


class LabelMasks(Protocol):
    """All masks of one label of a case, wherever they are kept."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def num_samples(self) -> int: ...

    @property
    def num_raters(self) -> int: ...

    def blocks(self) -> Iterator[MaskBlock]:
        """Yield the masks, from the first row to the last."""
        ...

    def rater(self, number: int) -> Bool[np.ndarray, "*spatial"]:
        """Return the whole mask of one rater, ignored voxels and all."""
        ...


@dataclass(frozen=True, kw_only=True)
class References:
    """What the samples of one label are compared with, all in memory."""

    raters: Bool[np.ndarray, "rater *spatial"]
    consensus: Bool[np.ndarray, "*spatial"] | None
    ignored: Bool[np.ndarray, "*spatial"] | None

    @property
    def num_raters(self) -> int:
        return len(self.raters)

    def rater(self, number: int) -> Bool[np.ndarray, "*spatial"]:
        return self.raters[number]

    def beside(self, samples: Bool[np.ndarray, "sample *block"], rows: slice) -> MaskBlock:
        """Return the block of these rows, of which `samples` are."""
        return MaskBlock(
            rows=rows,
            samples=samples,
            raters=self.raters[:, rows],
            consensus=None if self.consensus is None else self.consensus[rows],
            ignored=None if self.ignored is None else self.ignored[rows],
        )


@dataclass(frozen=True, kw_only=True)
class MasksInMemory(References):
    """Masks that are all in memory: one block."""

    samples: Bool[np.ndarray, "sample *spatial"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.samples.shape[1:]

    @property
    def num_samples(self) -> int:
        return len(self.samples)

    def blocks(self) -> Iterator[MaskBlock]:
        yield self.beside(self.samples, slice(0, self.shape[0]))
