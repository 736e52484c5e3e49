"""From a map of saliency to a mask, by rules that need no reference mask.

The order is `smoothed_map`, `oriented_map`, `threshold_of`, `mask_of`. The rule "otsu_mean" takes
two passes over a set of images: the thresholds of the first go through `mean_threshold` and
`shared_threshold` before `mask_of`.

Maps are signed, in units of the image's (normalised) intensity or of a CAM, of shape (y, x) or
(slice, y, x); each slice is an image of its own. Several channels are added up before.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import ndimage

from diffunet.fingerprint.objects import label_components
from diffunet.labels import LabelScheme
from diffunet.plans import MaskPlan
from diffunet.wsss.masks.edges import smooth_within_edges

NUM_BINS = 256  # of Otsu's histogram, as in scikit-image
_ROUNDING = 1e-10  # candidates in a gap between the classes are equally good but for rounding


def smoothed_map(
    saliency: Float[np.ndarray, "*slice y x"],
    *,
    plan: MaskPlan,
    image: Float[np.ndarray, "channel *slice y x"] | None = None,
) -> Float[np.ndarray, "*slice y x"]:
    """Smooth a map within its slices, first everywhere, then up to edges; it stays signed.

    Args:
        image: normalised, what the map is of; only needed with `plan.edge_smoothing_voxels`.

    Raises:
        ValueError: it is needed and was not given.
    """
    smooth, sigma = saliency, plan.smoothing_voxels
    if sigma > 0:
        smooth = ndimage.gaussian_filter(smooth, (0,) * (saliency.ndim - 2) + (sigma, sigma))
    if plan.edge_smoothing_voxels == 0:
        return smooth
    if image is None:
        raise ValueError("smoothing up to edges (edge_smoothing_voxels) needs the image")
    return smooth_within_edges(
        smooth, image, sigma_voxels=plan.edge_smoothing_voxels, contrast=plan.edge_contrast
    )


def oriented_map(
    smooth: Float[np.ndarray, "*slice y x"], *, plan: MaskPlan
) -> Float[np.ndarray, "*slice y x"]:
    """Keep the part of a smoothed map that supports the label: values from 0.

    The sign comes after the smoothing, so that noise of either sign cancels before "absolute"
    removes signs. With "positive" and "negative", values of the other sign count against the label
    and become 0: a dark lesion beside a bright one must not pull a threshold below 0.
    """
    if plan.sign == "absolute":
        return np.abs(smooth)
    return np.maximum(smooth if plan.sign == "positive" else -smooth, 0)


def threshold_of(
    prepared: Float[np.ndarray, "*slice y x"],
    *,
    plan: MaskPlan,
    is_present: Bool[np.ndarray, "*slice"] | None = None,
) -> Float[np.ndarray, "*slice"]:
    """Return the threshold of each slice; NaN for slices that do not show the label.

    "otsu_mean" gives here, in its first pass, what "otsu" gives.

    Args:
        prepared: of `oriented_map`; a whole case, since "otsu_volume" pools its slices.
        is_present: which slices show the label; None: all. Otsu's rule would find a foreground in
            the others too.

    Raises:
        ValueError: the map of a present slice holds NaN or infinity.
    """
    slices = prepared.shape[:-2]
    shown = np.ones(slices, bool) if is_present is None else np.asarray(is_present, bool)
    thresholds = np.full(slices, np.nan)
    if not shown.any():
        return thresholds
    if plan.threshold == "fixed":
        thresholds[shown] = plan.threshold_value
    elif plan.threshold == "otsu_volume":
        thresholds[shown] = otsu_threshold(prepared[shown])
    else:
        rule = {
            "otsu_upper": upper_otsu_threshold,
            "maximum": lambda values: plan.maximum_share * float(values.max()),
        }.get(plan.threshold, otsu_threshold)
        thresholds[shown] = [rule(each) for each in prepared[shown]]
    return thresholds


def mean_threshold(thresholds: Iterable[Float[np.ndarray, "..."]]) -> float:
    """Return the mean over all slices of a set that show the label; NaN if none does.

    Args:
        thresholds: of `threshold_of`, one array per case, of any length.
    """
    pooled = np.concatenate([np.zeros(0), *(each.ravel() for each in thresholds)])
    shown = pooled[~np.isnan(pooled)]
    return float(shown.mean()) if shown.size else float("nan")


def shared_threshold(
    thresholds: Float[np.ndarray, "*slice"], mean: float
) -> Float[np.ndarray, "*slice"]:
    """Return `mean` for each slice that shows the label, NaN still for the others."""
    return np.where(np.isnan(thresholds), np.nan, mean)


def mask_of(
    prepared: Float[np.ndarray, "*slice y x"],
    thresholds: Float[np.ndarray, "*slice"],
    *,
    plan: MaskPlan,
) -> Bool[np.ndarray, "*slice y x"]:
    """Return where a map is above the threshold of its slice; nowhere where that is NaN."""
    mask = prepared > np.asarray(thresholds)[..., None, None]
    if plan.components == "largest":
        return largest_component(mask)
    return strongest_component(mask, prepared) if plan.components == "strongest" else mask


def largest_component(mask: Bool[np.ndarray, "*slice y x"]) -> Bool[np.ndarray, "*slice y x"]:
    """Keep of each slice the component of most pixels, the first in array order among equals.

    Pixels that touch at a corner are of one component.
    """
    kept = np.zeros_like(mask)
    for index in np.ndindex(mask.shape[:-2]):
        components, count = label_components(mask[index])
        if count:
            sizes = np.bincount(components.ravel())[1:]
            kept[index] = components == 1 + sizes.argmax()
    return kept


def strongest_component(
    mask: Bool[np.ndarray, "*slice y x"], prepared: Float[np.ndarray, "*slice y x"]
) -> Bool[np.ndarray, "*slice y x"]:
    """Keep of each slice the component that holds the largest value of the map within the mask.

    Pixels that touch at a corner are of one component.
    """
    kept = np.zeros_like(mask)
    for index in np.ndindex(mask.shape[:-2]):
        if mask[index].any():
            components, _ = label_components(mask[index])
            strongest = np.where(mask[index], prepared[index], -np.inf).argmax()
            kept[index] = components == components.flat[strongest]
    return kept


def otsu_threshold(values: Float[np.ndarray, "*shape"]) -> float:
    """Return Otsu's threshold; that of equal values is their value, so nothing is above it.

    The variance between the two classes is largest there (Otsu 1979), over a histogram of 256 bins.
    Equal to scikit-image's `threshold_otsu`: the centre of the upmost of the 256 bins of the lower
    class, the first among equally good ones.

    Raises:
        ValueError: there are no values, or NaN or infinity among them.
    """
    counts, centres = _histogram(values)
    if len(centres) == 1:
        return float(centres[0])
    offsets = centres - counts @ centres / counts.sum()
    below = np.cumsum(counts)[:-1]
    between = np.cumsum(counts * offsets)[:-1] ** 2 / (below * (counts.sum() - below))
    return float(centres[np.argmax(between >= (1 - _ROUNDING) * between.max())])


def upper_otsu_threshold(values: Float[np.ndarray, "*shape"]) -> float:
    """Return Otsu's threshold among the values above Otsu's threshold.

    Where few voxels hold an object, values are skewed, and the first threshold takes in several
    times its size (LGG: 3 to 5 times).

    Raises:
        ValueError: there are no values, or NaN or infinity among them.
    """
    first = otsu_threshold(values)
    above = values[values > first]
    return otsu_threshold(above) if above.size else first


def unsure_mask(
    prepared: Float[np.ndarray, "*slice y x"],
    thresholds: Float[np.ndarray, "*slice"],
    *,
    plan: MaskPlan,
) -> Bool[np.ndarray, "*slice y x"]:
    """Return the pixels whose side of the threshold is doubtful; none where that is NaN.

    A threshold t splits a slice into two classes of means m0 <= t < m1, the typical background and
    the typical foreground. A pixel is sure once it has gone the share u = `plan.unsure_share` of
    the way from t to the mean of its class: it is unsure in (t - u (t - m0), t + u (m1 - t)]. So u
    = 0 leaves no pixel unsure, and u = 1 all that are less typical than the mean of their class.
    The rule follows the units and the skew of a map, and works for every kind of threshold. Pixels
    above the threshold that `plan.components` drops are unsure too.
    """
    unsure = np.zeros(prepared.shape, bool)
    mask = mask_of(prepared, thresholds, plan=plan)
    for index in np.ndindex(prepared.shape[:-2]):
        threshold = float(np.asarray(thresholds)[index])
        if np.isnan(threshold):
            continue
        lower, upper = _unsure_bounds(prepared[index], threshold, share=plan.unsure_share)
        is_sure_foreground = mask[index] & (prepared[index] > upper)
        unsure[index] = (prepared[index] > lower) & ~is_sure_foreground
    return unsure


def pseudo_label_map(
    masks: Bool[np.ndarray, "label *spatial"],
    unsure: Bool[np.ndarray, "label *spatial"],
    *,
    labels: LabelScheme,
) -> Integer[np.ndarray, "*spatial"]:
    """Return the label map that a second stage learns from.

    Pixels that are unsure for any label hold the ignore label: they take part in no loss.

    Raises:
        ValueError: `labels` has no ignore label, and there are unsure pixels.
    """
    label_map = labels.label_map(masks)
    is_unsure = unsure.any(axis=0)
    if not is_unsure.any():
        return label_map
    if labels.ignore_value is None:
        raise ValueError(
            f"{np.count_nonzero(is_unsure)} unsure pixels need a label scheme with 'ignore', got "
            f"{labels.names} without it; add it, or set unsure_share to 0"
        )
    label_map[is_unsure] = labels.ignore_value
    return label_map


def _unsure_bounds(
    values: Float[np.ndarray, "y x"], threshold: float, *, share: float
) -> tuple[float, float]:
    is_above = values > threshold
    below_mean = values[~is_above].mean(dtype=np.float64) if not is_above.all() else threshold
    above_mean = values[is_above].mean(dtype=np.float64) if is_above.any() else threshold
    lower = threshold - share * (threshold - below_mean)
    return float(lower), float(threshold + share * (above_mean - threshold))


def _histogram(
    values: Float[np.ndarray, "*shape"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Return counts and centres of 256 bins from minimum to maximum; of one if these are equal.

    Not `numpy.histogram`, which refuses ranges of a few units in the last place, and is slower.
    """
    flat = np.asarray(values, np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all():
        raise ValueError(
            "a threshold needs finite values, got "
            f"{flat.size} values, {np.count_nonzero(~np.isfinite(flat))} of them not finite"
        )
    lowest, highest = flat.min(), flat.max()
    if lowest == highest:
        return np.array([float(flat.size)]), np.array([lowest])
    places = (flat - lowest) / (highest - lowest) * NUM_BINS
    bins = np.minimum(places.astype(np.intp), NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS).astype(np.float64)
    edges = np.linspace(lowest, highest, NUM_BINS + 1)
    return counts, (edges[:-1] + edges[1:]) / 2
