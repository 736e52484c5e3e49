"""Keep the largest connected components of masks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from diffunet.fingerprint.objects import label_components
from diffunet.geometry import Box
from diffunet.labels import LabelScheme


def largest_component(mask: Bool[np.ndarray, "*spatial"]) -> Bool[np.ndarray, "*spatial"]:
    """Return the largest component of a mask; of several that are as large, all.

    Voxels that touch at a corner are of one component.
    """
    box = Box.of_mask(mask)
    if box is None:
        return mask
    components, count = label_components(mask[box.slices])
    if count == 1:
        return mask
    sizes = np.bincount(components.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    kept = np.zeros(mask.shape, bool)
    kept[box.slices] = (sizes == sizes.max())[components]
    return kept


def keep_largest(
    masks: Bool[np.ndarray, "label *spatial"], names: Sequence[str], *, labels: LabelScheme
) -> Bool[np.ndarray, "label *spatial"]:
    """Return masks without what lies outside the largest component of some labels together.

    It is taken from these labels, and from the regions that lie within one of them; a region that
    one of them lies within keeps it.

    Args:
        names: of the labels whose union counts.
    """
    chosen = [labels.names.index(name) for name in names]
    union: Bool[np.ndarray, "*spatial"] = np.any(masks[chosen], axis=0)
    removed = union & ~largest_component(union)
    if not removed.any():
        return masks
    values = [set(labels.values[index]) for index in chosen]
    within = [any(set(each) <= of_chosen for of_chosen in values) for each in labels.values]
    cleaned = masks.copy()
    cleaned[np.array(within)] &= ~removed
    return cleaned
