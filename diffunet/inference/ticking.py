"""Progress of predictions by their steps, and how long they take once that is known."""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator

import torch

from diffunet.durations import in_words
from diffunet.inference.case_predictor import OnStep
from diffunet.parallel import Progress

logger = logging.getLogger(__name__)

_SECONDS_UNTIL_SPEED, _LONG_SECONDS = 30.0, 300.0
"""When a prediction knows how long it takes, and from what length on that is said."""

_VERY_LONG_SECONDS = 3600.0
"""From this length on it is said what takes a small part of the time."""

_COARSER = (
    "; a GPU, or a model of coarser voxels, takes a small part of it (diffunet_plan_and_preprocess "
    "-overwrite_target_spacing)"
)

_ROUNDING = 1e-6
"""Parts of steps may add up to a little less than whole ones."""


@contextlib.contextmanager
def ticking(
    progress: Progress,
    total: int,
    description: str,
    *,
    what: str,
    device: torch.device,
    advice: str = "",
) -> Iterator[OnStep]:
    """Yield a function that moves a progress bar on by a number of steps, or by parts of one.

    If it will take long, it is said once how long, counted from the first call on: reading and
    preprocessing come before.

    Args:
        total: steps.
        what: takes so long, in words.
        device: of the networks.
        advice: said after it, such as how it takes less.
    """
    ticks = iter(progress(itertools.repeat(None, total), total, description))
    begin, num_shown = 0.0, 0
    num_first, num_done = 0.0, 0.0
    is_told = False

    def move(num_steps: float) -> None:
        nonlocal begin, num_first, num_done, num_shown, is_told
        num_done += num_steps
        while num_shown + 1 <= num_done + _ROUNDING:
            next(ticks, None)
            num_shown += 1
        if not num_first:
            begin, num_first = time.monotonic(), num_done
            return
        seconds = time.monotonic() - begin
        if is_told or seconds < _SECONDS_UNTIL_SPEED:
            return
        is_told = True
        expected = seconds / (num_done - num_first) * total
        if expected > _LONG_SECONDS:
            is_very_long = expected > _VERY_LONG_SECONDS and device.type == "cpu"
            more = _COARSER if is_very_long else ""
            logger.info("time: %s takes about %s%s%s", what, in_words(expected), advice, more)

    yield move
    for _ in ticks:  # a bar closes when it is asked for more than there is
        pass
