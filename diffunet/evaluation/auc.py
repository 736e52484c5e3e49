"""The area under the ROC curve: how well a value tells positives from negatives."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def area_under_curve(
    positives: Float[np.ndarray, " score"], negatives: Float[np.ndarray, " score"]
) -> float | None:
    """Return P(score of a positive > score of a negative), ties counted half; None if undefined.

    Args:
        positives, negatives: how many there are with each score, scores ascending.
    """
    total = positives.sum() * negatives.sum()
    if total == 0:
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / total)


def weighted_auc(values: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> float | None:
    """Return the area under the curve of values in any order.

    Args:
        positives, negatives: how many there are with each value, or their weight; same shape.
    """
    ranked, order = np.unique(values, return_inverse=True)
    return area_under_curve(
        np.bincount(order.ravel(), positives.ravel(), minlength=ranked.size),
        np.bincount(order.ravel(), negatives.ravel(), minlength=ranked.size),
    )


def auc_of(values: Sequence[float] | np.ndarray, tags: Sequence[float] | np.ndarray) -> float:
    """Return P(value of a tagged image > value of another), ties counted half; NaN if undefined."""
    present = np.asarray(tags, np.float64)
    auc = weighted_auc(np.asarray(values), present, 1 - present)
    return float("nan") if auc is None else auc
