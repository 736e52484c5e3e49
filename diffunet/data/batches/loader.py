"""Batches in order, made ahead by worker processes; their number does not change the batches."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from diffunet.data.batches.patches import TrainingSample
from diffunet.errors import DiffunetError
from diffunet.parallel import map_ordered
from diffunet.workers import WorkerLostError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The samples of one iteration that this rank trains on.

    Attributes:
        iteration: optimiser step, counted from 0.
        indices: of the samples in the global batch.
        cases, raters: names, one per sample.
        images: float32 (sample, channel, *patch_size).
        label_maps: integers (sample, *patch_size); None where the method learns from `tags`.
        other_label_maps: integers (sample, rater, *patch_size) of the raters that were not drawn;
            `num_others` of each sample, then background. None where they are not asked for, or no
            case has any.
        num_others: one per sample; empty without `other_label_maps`.
        tags: float32 (sample, class), 0 or 1 per image-level label; no classes where the method
            learns from label maps.
        weights: float32 (sample,), the weight of each sample's loss; None: all count alike.
    """

    iteration: int
    indices: tuple[int, ...]
    cases: tuple[str, ...]
    raters: tuple[str, ...]
    images: np.ndarray
    label_maps: np.ndarray | None
    tags: np.ndarray
    weights: np.ndarray | None = None
    other_label_maps: np.ndarray | None = None
    num_others: tuple[int, ...] = ()


class SampleSource(Protocol):
    """What makes samples; a pure function, picklable."""

    def sample(self, iteration: int, index: int) -> TrainingSample: ...

    def case_of(self, iteration: int, index: int) -> str: ...


def indices_of_rank(batch_size: int, *, rank: int, num_ranks: int) -> tuple[int, ...]:
    """Return which samples of the global batch a rank trains on: equal parts, within one."""
    return tuple(range(rank * batch_size // num_ranks, (rank + 1) * batch_size // num_ranks))


def load_batch(source: SampleSource, iteration: int, indices: Sequence[int]) -> Batch:
    """Make one batch.

    Raises:
        DiffunetError: as raised by `source`.
        RuntimeError: anything else, naming the case and the iteration.
    """
    samples = []
    for index in indices:
        try:
            samples.append(source.sample(iteration, index))
        except DiffunetError:
            raise
        except Exception as cause:
            raise RuntimeError(
                f"case '{source.case_of(iteration, index)}', sample {index} of iteration "
                f"{iteration}: {type(cause).__name__}: {cause}"
            ) from cause
    label_maps = [sample.label_map for sample in samples if sample.label_map is not None]
    others = [sample.other_label_maps for sample in samples if sample.other_label_maps is not None]
    has_others = any(map(len, others))
    weights = np.array([sample.weight for sample in samples], np.float32)
    return Batch(
        iteration=iteration,
        indices=tuple(indices),
        cases=tuple(sample.case for sample in samples),
        raters=tuple(sample.rater for sample in samples),
        images=np.stack([sample.image for sample in samples]),
        label_maps=np.stack(label_maps) if label_maps else None,
        other_label_maps=_stacked_others(others) if has_others else None,
        num_others=tuple(map(len, others)) if has_others else (),
        tags=np.stack([sample.tags for sample in samples]),
        weights=weights if (weights != 1).any() else None,
    )


def _stacked_others(others: Sequence[np.ndarray]) -> np.ndarray:
    """Return label maps (sample, rater, *patch_size), background where a case has fewer raters."""
    most = max(map(len, others))
    stacked = np.zeros((len(others), most, *others[0].shape[1:]), np.result_type(*others))
    for row, maps in zip(stacked, others, strict=True):
        row[: len(maps)] = maps
    return stacked


@final
class BatchLoader:
    """Iterates over the batches of `first_iteration` to `num_iterations` - 1; a context manager.

    With 0 processes this process makes each batch when it is needed. Otherwise at most two batches
    per process are made ahead.

    Args:
        source: makes samples.
        indices: of this rank's samples in the global batch.
        num_processes: worker processes of this rank.
    """

    def __init__(
        self,
        source: SampleSource,
        *,
        indices: Sequence[int],
        first_iteration: int,
        num_iterations: int,
        num_processes: int,
    ):
        self._maker = _Maker(source, tuple(indices))
        self._iterations = range(first_iteration, num_iterations)
        self._num_processes = num_processes
        self._batches: Generator[Batch, None, None] | None = None

    def __enter__(self) -> "BatchLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        self.close()
        self._batches = self._made()
        return self._batches

    def close(self) -> None:
        """End the worker processes."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _made(self) -> Generator[Batch, None, None]:
        try:
            yield from map_ordered(
                self._maker,
                self._iterations,
                num_processes=self._num_processes,
                describe="iteration {}".format,
            )
        except WorkerLostError:
            raise WorkerLostError(
                "a process that loads training data ended without a message, most likely killed "
                "for lack of memory; continue the training (--c) with fewer processes"
            ) from None


@dataclass(frozen=True)
class _Maker:
    """Makes the batch of an iteration; a pure function, picklable."""

    source: SampleSource
    indices: tuple[int, ...]

    def __call__(self, iteration: int) -> Batch:
        return load_batch(self.source, iteration, self.indices)
