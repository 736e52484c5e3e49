"""Where the labels of a case are: a bounded, reproducible choice of voxels, for patch sampling."""

import numpy as np

from diffunet.labels import LabelScheme
from diffunet.randomness import numpy_generator

MAX_VOXELS_PER_LABEL = 10_000
_SLAB_VOXELS = 2**22


def foreground_locations(label_maps: np.ndarray, labels: LabelScheme, *, case: str) -> np.ndarray:
    """Return voxels that some rater gave a label, (n, 1 + dimensions) int32, rows sorted.

    The first column is the index of the label in `labels`, the others are the voxel. Of more than
    10,000 voxels per label as many are chosen, each set equally likely, as a function of `case`.

    Args:
        label_maps: (rater, *spatial) integers.
    """
    shape = label_maps.shape[1:]
    generator = numpy_generator("foreground locations", case)
    kept = [np.empty(0, np.int64) for _ in labels.values]
    keys = [np.empty(0) for _ in labels.values]
    plane_size = int(np.prod(shape[1:]))
    thickness = max(1, _SLAB_VOXELS // max(1, plane_size))
    for start in range(0, shape[0], thickness):
        slab = label_maps[:, start : start + thickness].reshape(len(label_maps), -1)
        inside = np.flatnonzero(slab.any(axis=0))
        values = slab[:, inside]
        for index, label_values in enumerate(labels.values):
            found = inside[np.isin(values, label_values).any(axis=0)] + start * plane_size
            kept[index] = np.concatenate([kept[index], found])
            # A uniform key per voxel; the smallest keys of all are a uniform choice.
            keys[index] = np.concatenate([keys[index], generator.random(found.size)])
            if kept[index].size > MAX_VOXELS_PER_LABEL:
                chosen = np.argpartition(keys[index], MAX_VOXELS_PER_LABEL)[:MAX_VOXELS_PER_LABEL]
                kept[index], keys[index] = kept[index][chosen], keys[index][chosen]
    rows = [
        np.stack([np.full(voxels.size, index), *np.unravel_index(np.sort(voxels), shape)], axis=1)
        for index, voxels in enumerate(kept)
    ]
    return np.concatenate(rows).astype(np.int32)
