"""The trivial answers: a score of a distribution means nothing without theirs beside it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: numpy.ix_ has no dtype)

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from diffunet.randomness import numpy_generator

TRIVIAL_ANSWERS = ("always_empty", "oracle_majority", "centre_blob", "oracle_raters")


def majority(masks: Bool[np.ndarray, "mask *spatial"]) -> Bool[np.ndarray, "*spatial"]:
    """Return the voxels that strictly more than half of `masks` mark; ties are background."""
    if len(masks) == 1:
        return masks[0]
    counts = np.zeros(masks.shape[1:], np.uint8 if len(masks) < 128 else np.uint32)
    for mask in masks:
        counts += mask
    return 2 * counts > len(masks)


def centre_blob(
    shape: Sequence[int], *, spacing_mm: Sequence[float], volume: float, rows: slice | None = None
) -> Bool[np.ndarray, "*spatial"]:
    """Return a disc (2D) or ball (3D) around the centre of an image.

    Args:
        shape: voxels per axis.
        volume: in mm^3, or mm^2 in 2D.
        rows: the part of the first axis to return; None: all of it.
    """
    dimensions = len(shape)
    unit_ball = math.pi ** (dimensions / 2) / math.gamma(dimensions / 2 + 1)
    radius = (volume / unit_ball) ** (1 / dimensions)
    first = rows or slice(0, shape[0])
    parts = [first, *(slice(0, size) for size in shape[1:])]
    boxes: list[slice] = []
    squares: list[Float[np.ndarray, " index"]] = []
    for size, spacing, part in zip(shape, spacing_mm, parts, strict=True):
        centre = (size - 1) / 2
        reach = radius / spacing
        start = max(part.start, math.ceil(centre - reach))
        stop = max(start, min(part.stop, math.floor(centre + reach) + 1))
        boxes.append(slice(start - part.start, stop - part.start))
        squares.append(((np.arange(start, stop) - centre) * spacing) ** 2)
    mask = np.zeros((first.stop - first.start, *shape[1:]), bool)
    distance = sum(np.ix_(*squares), start=np.zeros((1,) * dimensions))
    mask[tuple(boxes)] = distance <= radius**2
    return mask


def redraw_raters(
    num_raters: int, *, num_samples: int, seed: int, case: str
) -> Int[np.ndarray, " sample"]:
    """Draw, with replacement, which rater each of `num_samples` samples of an oracle copies.

    A pure function of its arguments: the same for every model that is scored on a case.
    """
    generator = numpy_generator(seed, "oracle_raters", case)
    return generator.integers(num_raters, size=num_samples)
