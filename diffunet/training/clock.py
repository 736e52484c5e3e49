"""When things last happened in a training, and how fast it is; without influence on weights."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from diffunet.training.state import TrainingState

_NUM_WARMING_UP, _SECONDS_UNTIL_SPEED = 5, 20.0
"""Iterations that do not count for the speed of a training, and how long others are timed."""


@dataclass
class Clock:
    """When things last happened; it has no influence on the weights.

    Attributes:
        saved: the time of the last checkpoint.
        recorded: iterations and seconds of the training at the last record.
        next_agreement: the iteration at which ranks ask each other whether to stop.
    """

    saved: float
    recorded: tuple[int, float]
    next_agreement: int = 0

    @classmethod
    def at(cls, state: TrainingState) -> "Clock":
        """Return the clock of a training that begins, or goes on, with `state`."""
        return cls(saved=time.monotonic(), recorded=(state.iteration, state.seconds))

    def iterations_per_second(self, state: TrainingState) -> float:
        """Return the speed since the last record, or since the training went on.

        NaN where it has made no iteration since.
        """
        (iteration, seconds), self.recorded = self.recorded, (state.iteration, state.seconds)
        if state.iteration == iteration:
            return math.nan
        return (state.iteration - iteration) / max(state.seconds - seconds, 1e-9)


@dataclass
class Speed:
    """Tells once how long an iteration takes; the first ones, which warm up, do not count."""

    tell: Callable[[float], None]
    num_noted: int = 0
    seconds: float = 0.0

    def note(self, seconds: float) -> None:
        """Count an iteration that has taken so long."""
        self.num_noted += 1
        num_counted = self.num_noted - _NUM_WARMING_UP
        if num_counted <= 0 or self.seconds >= _SECONDS_UNTIL_SPEED:
            return
        self.seconds += seconds
        if self.seconds >= _SECONDS_UNTIL_SPEED:
            self.tell(self.seconds / num_counted)
