"""The masks of all labels of a case from their maps, on the grid of its files; what is unsure."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from diffunet.plans import MaskPlan
from diffunet.wsss.masks.pseudo_masks import (
    mask_of,
    mean_threshold,
    oriented_map,
    shared_threshold,
    unsure_mask,
)


def label_masks(
    saliency: Float[np.ndarray, "label *spatial"],
    thresholds: Float[np.ndarray, "slice label"],
    *,
    plan: MaskPlan,
    slice_axis: int | None,
    is_exclusive: bool,
) -> Bool[np.ndarray, "label *spatial"]:
    """Return where each label's map is above its threshold.

    Exclusive labels that overlap: the label whose map exceeds its threshold most (all maps of a
    case are in the same units), the first among equals.

    Args:
        saliency: smoothed and signed.
        thresholds: NaN for a label that a slice does not show.
        slice_axis: spatial axis along which the slices of a volume lie; None for an image.
    """
    margins = [
        _margin(of_label, thresholds[:, label], plan=plan, slice_axis=slice_axis)
        for label, of_label in enumerate(saliency)
    ]
    masks = np.stack([mask for mask, _ in margins])
    if not is_exclusive:
        return masks
    best = np.full(masks.shape[1:], -np.inf, saliency.dtype)
    for label, (mask, margin) in enumerate(margins):
        wins = mask & (margin > best)
        masks[:label, wins] = False
        masks[label] = wins
        best[wins] = margin[wins]
    return masks


def unsure_masks(
    saliency: Float[np.ndarray, "label *spatial"],
    thresholds: Float[np.ndarray, "slice label"],
    *,
    plan: MaskPlan,
    slice_axis: int | None,
    is_exclusive: bool,
) -> Bool[np.ndarray, "label *spatial"]:
    """Return where each label's map is so near to its threshold that its side is unsure.

    Where several exclusive labels are above their thresholds, each of them is unsure: the one that
    `label_masks` chooses is a guess.

    The maps are on the grid of the masks, not on that of training, and so are the means of the two
    sides that `unsure_mask` uses. The arguments are those of `label_masks`.
    """
    unsure = np.empty(saliency.shape, bool)
    claimed = np.empty(saliency.shape, bool)
    for label, of_label in enumerate(saliency):
        slices = _in_slices(oriented_map(of_label, plan=plan), slice_axis)
        of_slices = unsure_mask(slices, thresholds[:, label], plan=plan)
        unsure[label] = _in_place(of_slices, slice_axis)
        mask = mask_of(slices, thresholds[:, label], plan=plan)
        claimed[label] = _in_place(mask, slice_axis)
    if is_exclusive:
        unsure |= claimed & (np.count_nonzero(claimed, axis=0) > 1)
    return unsure


def shown_without_mask(
    masks: Bool[np.ndarray, "label *spatial"],
    is_present: Bool[np.ndarray, "slice label"],
    *,
    is_by_slice: bool,
    known: Mapping[int | None, Sequence[int]],
    slice_axis: int | None,
) -> Bool[np.ndarray, "slice label"]:
    """Return which slices show a label without having a mask of it: no voxel of them is known.

    If cases were decided as a whole, these are all slices of a case without any mask.

    Args:
        masks: of labels that may overlap: one that is contested has a mask.
        is_present: the decision.
        is_by_slice: slices were decided each for itself.
        known: slice, or None for the case, to 0 or 1 per label; says that a label is there also
            where preprocessing found nothing to look at.
    """
    axes = tuple(axis for axis in range(1, masks.ndim) if axis - 1 != slice_axis)
    has_mask = masks.any(axis=axes).reshape(len(masks), -1).T
    is_shown = is_present.copy()
    if None in known and not is_by_slice:
        is_shown |= np.asarray(known[None], bool)
    for index, tags in known.items():
        if index is not None:
            is_shown[index] |= np.asarray(tags, bool)
    if is_by_slice:
        return is_shown & ~has_mask
    is_lost = is_shown.any(axis=0) & ~has_mask.any(axis=0)
    return np.broadcast_to(is_lost, is_present.shape)


def shared_thresholds(
    thresholds: Float[np.ndarray, "slice label"], *, all_thresholds: Iterable[np.ndarray]
) -> Float[np.ndarray, "slice label"]:
    """Return for each label the mean threshold of a set (the rule "otsu_mean"), NaN where absent.

    Args:
        all_thresholds: (slice, label) of each case of the set.
    """
    cases = list(all_thresholds)
    means = [
        mean_threshold(each[:, label] for each in cases) for label in range(thresholds.shape[1])
    ]
    columns = [shared_threshold(thresholds[:, label], mean) for label, mean in enumerate(means)]
    return np.stack(columns, axis=1)


def _margin(
    saliency: Float[np.ndarray, "*spatial"],
    thresholds: Float[np.ndarray, " slice"],
    *,
    plan: MaskPlan,
    slice_axis: int | None,
) -> tuple[Bool[np.ndarray, "*spatial"], Float[np.ndarray, "*spatial"]]:
    """Return the mask of one label, and by how much the map exceeds its threshold."""
    slices = _in_slices(oriented_map(saliency, plan=plan), slice_axis)
    mask = mask_of(slices, thresholds, plan=plan)
    margin = slices - thresholds.astype(saliency.dtype)[:, None, None]
    return _in_place(mask, slice_axis), _in_place(margin, slice_axis)


def _in_slices(values: np.ndarray, slice_axis: int | None) -> np.ndarray:
    """Return (*spatial) as (slice, y, x)."""
    return values[None] if slice_axis is None else np.moveaxis(values, slice_axis, 0)


def _in_place(slices: np.ndarray, slice_axis: int | None) -> np.ndarray:
    """Return (slice, y, x) as (*spatial)."""
    return slices[0] if slice_axis is None else np.moveaxis(slices, 0, slice_axis)
