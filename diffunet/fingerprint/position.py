"""How well the place of a slice alone predicts its image-level label."""

import numpy as np
from jaxtyping import Float

from diffunet.data.batches.balance import overlap_weights
from diffunet.evaluation.auc import weighted_auc

NUM_POSITIONS = 20

_HARDLY = 0.1  # of the mean weight, below which a slice is hardly ever drawn


def relative_position(index: int, count: int) -> int:
    """Return in which of 20 equal parts of `count` slices the slice `index` lies."""
    return min(index * NUM_POSITIONS // max(1, count - 1), NUM_POSITIONS - 1)


def position_auc(
    positives: Float[np.ndarray, "patient position"],
    negatives: Float[np.ndarray, "patient position"],
    *,
    counts_own_patient: bool,
) -> float | None:
    """Return the AUC of guessing a slice by the prevalence at its position.

    Args:
        positives, negatives: slices of each patient at each relative position.
        counts_own_patient: take the prevalence of all patients, the guessed one among them, which
            flatters small datasets. Otherwise that of all *others*, one pseudo-slice of average
            prevalence added.
    """
    total = positives.sum() + negatives.sum()
    if total == 0:
        return None
    all_positives, all_slices = positives.sum(axis=0), (positives + negatives).sum(axis=0)
    if counts_own_patient:
        scores = np.broadcast_to(all_positives / np.maximum(all_slices, 1), positives.shape)
    else:
        average = positives.sum() / total
        others = all_slices - positives - negatives
        scores = (all_positives - positives + average) / (others + 1)
    return weighted_auc(scores, positives, negatives)


def left_out_share(
    positives: Float[np.ndarray, "patient position"],
    negatives: Float[np.ndarray, "patient position"],
) -> float:
    """Return the share of positive slices that a training which balances positions hardly draws.

    They lie where nearly every slice is positive, so that finding and place cannot be told apart.

    Args:
        positives, negatives: slices of each patient at each relative position; of each at least 1.
    """
    centres = (np.arange(NUM_POSITIONS) + 0.5) / NUM_POSITIONS
    places = [np.repeat(centres, each.sum(axis=0).astype(int)) for each in (positives, negatives)]
    tags = np.repeat([1, 0], [len(each) for each in places])
    weights = overlap_weights(tags, np.concatenate(places))[tags == 1]
    return float(np.mean(weights < _HARDLY * weights.mean()))
