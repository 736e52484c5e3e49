"""P1's post-processing of samples, a trick of the metric: small ones become empty."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

from collections.abc import Iterable, Iterator

import numpy as np

from diffunet.evaluation.ambiguity import is_kept_by_rel_area


def emptied_by_rel_area(
    samples: Iterable[tuple[int, np.ndarray]], rel_area: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield samples again, each label empty where it has at most this share of its largest sample.

    All are held until the last is known, eight voxels in a byte.

    Args:
        samples: numbers and boolean masks (label, *spatial).
    """
    held: list[tuple[int, np.ndarray]] = []
    num_voxels: list[list[int]] = []
    length = 0
    for number, masks in samples:
        num_voxels.append([int(np.count_nonzero(mask)) for mask in masks])
        held.append((number, np.packbits(masks, axis=-1)))
        length = masks.shape[-1]
    areas = np.array(num_voxels, np.float64)
    is_kept = np.stack([is_kept_by_rel_area(column, rel_area) for column in areas.T], axis=1)
    for (number, packed), keeps in zip(held, is_kept, strict=True):
        masks = np.unpackbits(packed, axis=-1, count=length).view(bool)
        masks[~keeps] = False
        yield number, masks
