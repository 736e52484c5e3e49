"""How much of a label a mask explains to the classifier: erase the mask, and classify again.

Erasing a mask that covers the finding takes the classifier's certainty away; erasing copies
elsewhere (`controls`) takes little. The difference needs no reference mask, and does not grow with
the mask's size alone (Fong and Vedaldi 2017, arXiv:1704.03296, search for the smallest such region;
the controls are ours).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from diffunet.wsss.choice.controls import control_masks

SMOOTHING_VOXELS = (1.0, 3.0, 9.0, 27.0)
"""Sigmas of the Gaussians that fill a mask from its surroundings, each where the ones before do not
reach."""

_LEAST_SUPPORT = 0.05  # share of a Gaussian that must lie outside of the mask
_REACH_SIGMAS = 4.0  # where a Gaussian is cut off


def erased(
    image: Float[np.ndarray, "channel y x"], mask: Bool[np.ndarray, "y x"]
) -> Float[np.ndarray, "channel y x"]:
    """Return an image whose masked pixels are filled by blurring the surroundings of the mask.

    Each of them is the mean of the pixels outside of the mask, weighted by the narrowest Gaussian
    that finds enough of them; where none does, the image's mean outside of the mask.
    """
    filled = image.copy()
    missing = mask.copy()
    for sigma in SMOOTHING_VOXELS:
        if not missing.any():
            return filled
        window = _window(missing, margin=int(_REACH_SIGMAS * sigma + 0.5))
        outside = (~mask[window]).astype(np.float32)
        support = _blurred(outside, sigma)
        is_reached = missing[window] & (support > _LEAST_SUPPORT)
        for source, target in zip(image, filled, strict=True):
            surroundings = _blurred(source[window] * outside, sigma)
            target[window][is_reached] = surroundings[is_reached] / support[is_reached]
        missing[window] &= ~is_reached
    for source, target in zip(image, filled, strict=True):
        target[missing] = source[~mask].mean() if not mask.all() else 0.0
    return filled


def with_controls(
    image: Float[np.ndarray, "channel y x"],
    mask: Bool[np.ndarray, "y x"],
    body: Bool[np.ndarray, "y x"],
) -> Float[np.ndarray, "mask channel y x"]:
    """Return the image without the mask, then without each of its controls.

    Args:
        body: where controls may lie (`body_of`).
    """
    return np.stack([erased(image, each) for each in (mask, *control_masks(mask, body))])


def erasure_gain(logits: Sequence[float] | Float[np.ndarray, " mask"]) -> float:
    """Return how much further the logit falls without the mask than without its controls.

    The median of the controls counts: one may have hit another object of the same kind.

    Args:
        logits: of the images of `with_controls`.
    """
    without, *controls = logits
    return float(np.median(controls) - without)


def _blurred(values: Float[np.ndarray, "y x"], sigma: float) -> Float[np.ndarray, "y x"]:
    return ndimage.gaussian_filter(values, sigma, truncate=_REACH_SIGMAS)


def _window(mask: Bool[np.ndarray, "y x"], *, margin: int) -> tuple[slice, slice]:
    """Return the smallest box around a mask, and so much more: all that its pixels are made of."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
