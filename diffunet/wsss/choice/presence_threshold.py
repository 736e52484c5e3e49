"""The probability above which a label counts as present, chosen on image-level labels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from diffunet.planning.choice import Choice
from diffunet.wsss.prediction.presence import DEFAULT_THRESHOLD


def choose_presence_threshold(
    probabilities: Float[np.ndarray, " image"], is_present: Bool[np.ndarray, " image"]
) -> Choice[float]:
    """Choose a threshold of large sensitivity + specificity - 1 (Youden's J).

    Candidates lie midway between neighbouring probabilities. Of those as good as the best within
    one standard error of its two rates, the one nearest to the default is taken, since a few images
    decide where J is largest. Neither rate depends on the number of images of each kind.

    Returns:
        The default, with a warning, where one kind is missing or no threshold tells the two apart.
    """
    num_present, num_absent = int(is_present.sum()), int((~is_present).sum())
    counts = f"{num_present} validation images with the label and {num_absent} without"
    if not num_present or not num_absent:
        return _default(f"there are {counts}")
    ranked = np.unique(probabilities)
    candidates = (ranked[1:] + ranked[:-1]) / 2
    sensitivity, specificity = rates(probabilities, is_present, thresholds=candidates)
    youden = sensitivity + specificity - 1
    if not len(candidates) or youden.max() <= 0:
        return _default(f"no threshold tells {counts} apart")
    best = int(youden.argmax())
    error = np.hypot(
        _standard_error(sensitivity[best], num_present),
        _standard_error(specificity[best], num_absent),
    )
    as_good = np.flatnonzero(youden >= youden[best] - max(error, 1e-12))
    chosen = as_good[np.abs(candidates[as_good] - DEFAULT_THRESHOLD).argmin()]
    return Choice(
        float(candidates[chosen]),
        "The nearest to 0.5 whose sensitivity + specificity - 1 is the largest within one standard "
        f"error, {error:.3f}, on {counts}: {sensitivity[chosen]:.3f} + {specificity[chosen]:.3f} - "
        f"1 = {youden[chosen]:.3f}, the largest {youden[best]:.3f}.",
    )


def rates(
    probabilities: Float[np.ndarray, " image"],
    is_present: Bool[np.ndarray, " image"],
    *,
    thresholds: Sequence[float] | np.ndarray,
) -> tuple[Float[np.ndarray, " threshold"], Float[np.ndarray, " threshold"]]:
    """Return sensitivity and specificity at each threshold; NaN without images of that kind."""
    below = [
        np.searchsorted(np.sort(probabilities[kind]), thresholds, side="left")
        / (kind.sum() or np.nan)
        for kind in (is_present, ~is_present)
    ]
    return 1 - below[0], below[1]


def _standard_error(rate: float, number: int) -> float:
    """Return that of a share of `number` images (binomial)."""
    return float(np.sqrt(rate * (1 - rate) / number))


def _default(cause: str) -> Choice[float]:
    warning = f"The default, since {cause}."
    return Choice(DEFAULT_THRESHOLD, warning, warning)
