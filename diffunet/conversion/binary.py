"""Masks of two values, however a program writes what is not background."""

import numpy as np

from diffunet.errors import DatasetError

_FOREGROUND = (1, 254, 255)


def binary_mask(mask: np.ndarray, *, where: str) -> np.ndarray:
    """Return 0 and 1, uint8, for a mask of 0 and one of 1, 254 and 255, of any dtype.

    Args:
        where: its file, or what else it was read from, for the message.

    Raises:
        DatasetError: it holds other values.
    """
    found = np.unique(mask)
    others = found[found != 0]
    if len(others) > 1 or not np.isin(others, _FOREGROUND).all():
        raise DatasetError(
            f"{where}: expected a mask of 0 and 1, or of 0 and 255, found "
            f"{', '.join(f'{value:g}' for value in found[:6])}; copy it again, or is it an image?"
        )
    return (mask != 0).astype(np.uint8)
