"""Distributions of numbers that arrive one case at a time, in memory that does not grow."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from diffunet.randomness import numpy_generator

_PERCENTILES = (5, 10, 50, 90, 95)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is kept of a distribution.

    Attributes:
        count: how many values there were.
        mean, std, minimum, maximum: of all of them; `std` divides by `count`.
        percentile_05, percentile_10, median, percentile_90, percentile_95: exact up to the capacity
            of the `RunningSummary`, from a uniform random sample of that size beyond it.
    """

    count: int
    mean: float
    std: float
    minimum: float
    percentile_05: float
    percentile_10: float
    median: float
    percentile_90: float
    percentile_95: float
    maximum: float


@dataclass
class RunningSummary:
    """A `Summary` in the making.

    The values for percentiles are those with the smallest random keys: a uniform sample without
    replacement of all that came, the same whenever the same values come in the same order.

    Attributes:
        name: seeds the random keys.
        capacity: how many values are kept.
    """

    name: str
    capacity: int = 10_000
    count: int = 0
    mean: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")
    _squares: float = 0.0
    _keys: list[np.ndarray] = field(default_factory=list)
    _values: list[np.ndarray] = field(default_factory=list)
    _num_held: int = 0

    def __post_init__(self) -> None:
        self._generator = numpy_generator("fingerprint", self.name)

    def add(self, values: ArrayLike) -> None:
        """Take in one or more finite values."""
        flat = np.asarray(values, np.float64).ravel()
        if flat.size == 0:
            return
        total, mean = self.count + flat.size, float(flat.mean())
        shift = mean - self.mean
        # Chan, Golub, LeVeque 1979: moments of a union from the moments of its parts
        self._squares += float(np.square(flat - mean).sum())
        self._squares += shift * shift * self.count * flat.size / total
        self.mean += shift * flat.size / total
        self.count = total
        self.minimum = min(self.minimum, float(flat.min()))
        self.maximum = max(self.maximum, float(flat.max()))
        self._keys.append(self._generator.random(flat.size, np.float32))
        self._values.append(flat)
        self._num_held += flat.size
        if self._num_held > 2 * self.capacity:
            self._shrink()

    def _shrink(self) -> None:
        keys, values = np.concatenate(self._keys), np.concatenate(self._values)
        if keys.size > self.capacity:
            kept = np.argpartition(keys, self.capacity)[: self.capacity]
            keys, values = keys[kept], values[kept]
        self._keys, self._values, self._num_held = [keys], [values], keys.size

    @property
    def std(self) -> float:
        return float(np.sqrt(self._squares / self.count)) if self.count else 0.0

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles (in 0 to 100) of the values; there must be at least one value."""
        self._shrink()
        return [float(value) for value in np.percentile(self._values[0], percents)]

    def summary(self) -> Summary | None:
        """Return what is kept of the values so far, None where there were none."""
        if not self.count:
            return None
        p05, p10, median, p90, p95 = self.percentiles(_PERCENTILES)
        return Summary(
            count=self.count,
            mean=self.mean,
            std=self.std,
            minimum=self.minimum,
            percentile_05=p05,
            percentile_10=p10,
            median=median,
            percentile_90=p90,
            percentile_95=p95,
            maximum=self.maximum,
        )
