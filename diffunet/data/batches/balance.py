"""Which images to train on, so that their image-level labels say nothing about their position.

Where a slice lies often predicts its label: a tumour is rarer at the ends of a head. A model that
gets the label then learns how slices of the middle look instead of how tumours look.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int

from diffunet.data.store.case import CaseProperties

NUM_POSITIONS = 10
"""Equal parts of a patient within which labels are balanced; few, so that each holds both kinds."""

_DIGITS = 6  # 10 * 0.7 is to be 7, and not a little less

TaggedKey = tuple[str, int | None]
"""A case, and the slice of it along stored axis 0; None where the case is the image."""


def overlap_weights(
    tags: Int[np.ndarray, " image"], positions: Float[np.ndarray, " image"]
) -> Float64[np.ndarray, " image"]:
    """Return how often to draw each image, so that label and position are independent.

    The weight of an image is the share of the *other* kind at its position, e(position) or 1 -
    e(position): overlap weights of the propensity score e (Li, Morgan and Zaslavsky 2018,
    arXiv:1404.1785). They balance exactly within each position, are bounded, and leave out
    positions with only one kind. Both kinds have half of the weight.

    Args:
        tags: 0 or 1.
        positions: in [0, 1]; NaN where it is not known (such images are balanced among themselves).

    Returns:
        Shares that add up to 1; all equal where the two kinds never meet.
    """
    parts = np.minimum(
        (np.nan_to_num(positions, nan=0) * NUM_POSITIONS).astype(int), NUM_POSITIONS - 1
    )
    parts = np.where(np.isnan(positions), NUM_POSITIONS, parts)
    counts = np.bincount(parts, minlength=NUM_POSITIONS + 1)
    num_positive = np.bincount(parts, tags, minlength=NUM_POSITIONS + 1)
    propensity = (num_positive / np.maximum(counts, 1))[parts]
    weights = np.where(tags == 1, 1 - propensity, propensity)
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(tags), 1 / max(1, len(tags)))


def image_positions(
    images: Sequence[TaggedKey], properties: Mapping[str, CaseProperties]
) -> Float[np.ndarray, " image"]:
    """Return where each image lies in its patient, in [0, 1].

    A slice has its place in its volume. A 2D case has its rank among the patient's sorted names,
    which usually number the slices; NaN for the only image of a patient.

    Args:
        properties: of every case in `images`.
    """
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in sorted({case for case, index in images if index is None}):
        by_patient[properties[case].patient].append(case)
    ranks = {
        case: rank / (len(cases) - 1) if len(cases) > 1 else np.nan
        for cases in by_patient.values()
        for rank, case in enumerate(cases)
    }
    return np.array(
        [
            ranks[case] if index is None else index / max(1, properties[case].shape[0] - 1)
            for case, index in images
        ],
        np.float64,
    )


def is_plain_turn(number: int, *, share: float) -> bool:
    """Return whether sample `number` of a training, counted from 0, is drawn like any other case.

    The others are balanced. Each batch has as many plain ones where `share` times the batch is a
    whole number, and `share` is met over several batches where it is not.
    """
    return num_plain_turns(number + 1, share=share) > num_plain_turns(number, share=share)


def num_plain_turns(number: int, *, share: float) -> int:
    """Return how many of the first `number` samples of a training are no balanced ones."""
    return math.floor(round(number * share, _DIGITS))


class BalancedOrder:
    """Which image each training sample shows, balanced for one label after the other.

    Sample i of a training is drawn by the weights of label i modulo the number of labels, so that
    all labels have their turns, however few samples a batch has. Systematic sampling: a batch walks
    round the cumulated weights in equal strides from a random start, so that every batch, too, is
    as balanced as its size allows, and every turn may show any image.

    Args:
        images: that may be drawn.
        properties: of their cases.
    """

    def __init__(self, images: Sequence[TaggedKey], properties: Mapping[str, CaseProperties]):
        tags = np.array([properties[case].tags_of(index) for case, index in images])
        positions = image_positions(images, properties)
        self._images = tuple(images)
        self._bounds = [np.cumsum(overlap_weights(of_label, positions)) for of_label in tags.T]

    def image_of(
        self, index: int, *, batch_size: int, offset: float, drawn_before: int = 0
    ) -> TaggedKey:
        """Return what sample `index` of a global batch of `batch_size` shows.

        Args:
            offset: in [0, 1), drawn once for the batch.
            drawn_before: samples of all batches before this one.
        """
        num_labels = len(self._bounds)
        label = (drawn_before + index) % num_labels
        turn, first = divmod(index, num_labels)
        num_turns = -(-(batch_size - first) // num_labels)
        place = (turn / num_turns + offset) % 1
        bounds = self._bounds[label]
        chosen = int(np.searchsorted(bounds, place * bounds[-1], side="right"))
        return self._images[min(chosen, len(self._images) - 1)]
