"""The trivial answers: without them beside it, a score of a distribution says nothing."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: numpy.ix_ has no dtype)

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

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
    shape: Sequence[int], *, spacing_mm: Sequence[float], volume: float
) -> Bool[np.ndarray, "*spatial"]:
    """Return a disc (2D) or ball (3D) around the centre of an image.

    Args:
        shape: voxels per axis.
        volume: in mm^3, or mm^2 in 2D.
    """
    dimensions = len(shape)
    unit_ball = math.pi ** (dimensions / 2) / math.gamma(dimensions / 2 + 1)
    radius = (volume / unit_ball) ** (1 / dimensions)
    starts, squares = [], []
    for size, spacing in zip(shape, spacing_mm, strict=True):
        centre = (size - 1) / 2
        reach = radius / spacing
        start, stop = max(0, math.ceil(centre - reach)), min(size, math.floor(centre + reach) + 1)
        starts.append(slice(start, max(start, stop)))
        squares.append(((np.arange(start, max(start, stop)) - centre) * spacing) ** 2)
    mask = np.zeros(tuple(shape), bool)
    distance = sum(np.ix_(*squares), start=np.zeros((1,) * dimensions))
    mask[tuple(starts)] = distance <= radius**2
    return mask


def redraw_raters(
    num_raters: int, *, num_samples: int, seed: int, case: str
) -> Int[np.ndarray, " sample"]:
    """Draw, with replacement, which rater each of `num_samples` samples of an oracle copies.

    A pure function of its arguments: the same for every model that is scored on a case.
    """
    generator = numpy_generator(seed, "oracle_raters", case)
    return generator.integers(num_raters, size=num_samples)
