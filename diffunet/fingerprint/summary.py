"""Distributions of numbers that arrive one case at a time, in memory that does not grow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from diffunet.randomness import numpy_generator

_PERCENTILES = {
    "percentile_05": 5,
    "percentile_10": 10,
    "median": 50,
    "percentile_90": 90,
    "percentile_95": 95,
}
_MOST_WAITING = 512


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


class RunningSummary:
    """A `Summary` in the making.

    The values kept for percentiles are those with the smallest random keys. They are a uniform
    sample without replacement of all values, and the same whenever the same values come in the same
    order.

    Args:
        name: seeds the random keys.
        capacity: how many values are kept.
    """

    def __init__(self, name: str, capacity: int = 10_000):
        self._capacity = capacity
        self._generator = numpy_generator("fingerprint", name)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0
        self._minimum, self._maximum = float("inf"), float("-inf")
        self._keys = np.zeros(0, np.float32)
        self._values = np.zeros(0)

    def add(self, values: ArrayLike) -> None:
        """Take in one or more finite values."""
        flat = np.asarray(values, np.float64).ravel()
        if flat.size == 0:
            return
        self._waiting.append(flat)
        self._num_waiting += flat.size
        # taken in many at a time, since a case often brings only a single value
        if len(self._waiting) >= _MOST_WAITING or self._num_waiting >= self._capacity:
            self._take_in()

    def _take_in(self) -> None:
        if not self._waiting:
            return
        new = np.concatenate(self._waiting)
        self._waiting, self._num_waiting = [], 0
        total, mean = self._count + new.size, float(new.mean())
        shift = mean - self._mean
        # Chan, Golub, LeVeque 1979: moments of a union from the moments of its parts
        self._squares += float(np.square(new - mean).sum())
        self._squares += shift * shift * self._count * new.size / total
        self._mean += shift * new.size / total
        self._count = total
        self._minimum = min(self._minimum, float(new.min()))
        self._maximum = max(self._maximum, float(new.max()))
        keys = np.concatenate([self._keys, self._generator.random(new.size, np.float32)])
        values = np.concatenate([self._values, new])
        if keys.size > self._capacity:
            kept = np.argpartition(keys, self._capacity)[: self._capacity]
            keys, values = keys[kept], values[kept]
        self._keys, self._values = keys, values

    @property
    def count(self) -> int:
        return self._count + self._num_waiting

    @property
    def mean(self) -> float:
        self._take_in()
        return self._mean

    @property
    def std(self) -> float:
        self._take_in()
        return float(np.sqrt(self._squares / self._count)) if self._count else 0.0

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles (in 0 to 100) of the values; there must be at least one value."""
        self._take_in()
        return [float(value) for value in np.percentile(self._values, percents)]

    def summary(self) -> Summary | None:
        """Return the summary of the values so far, None without any."""
        self._take_in()
        if not self._count:
            return None
        percentiles = self.percentiles(list(_PERCENTILES.values()))
        return Summary(
            count=self._count,
            mean=self._mean,
            std=self.std,
            minimum=self._minimum,
            maximum=self._maximum,
            **dict(zip(_PERCENTILES, percentiles, strict=True)),
        )
