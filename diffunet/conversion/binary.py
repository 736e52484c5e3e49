"""What the values of a mask mean; here, where there are two, however a program writes them."""

from typing import Protocol

import numpy as np

from diffunet.errors import DatasetError

_FOREGROUND = (1, 254, 255, 65535)
_MOST_SHOWN = 6


class MaskRule(Protocol):
    """Returns the labels of a mask's values, or raises a `DatasetError` that tells `where`."""

    def __call__(self, mask: np.ndarray, *, where: str) -> np.ndarray: ...


def binary_mask(mask: np.ndarray, *, where: str) -> np.ndarray:
    """Return 0 and 1, uint8, for a mask of 0 and one of 1, 254, 255 and 65535, of any dtype.

    Args:
        where: its file, or what else it was read from, for the message.

    Raises:
        DatasetError: it holds other values.
    """
    found = np.unique(mask)
    others = found[found != 0]
    if len(others) > 1 or not np.isin(others, _FOREGROUND).all():
        shown = ", ".join(f"{value:g}" for value in found[:_MOST_SHOWN])
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise DatasetError(
            f"{where}: expected a mask of 0 and 1, or of 0 and 255, found {shown}{more}; "
            "save it without smoothing, in a format without loss"
        )
    return (mask != 0).astype(np.uint8)


def one_label_mask(mask: np.ndarray, *, where: str, number: int, label: str) -> np.ndarray:
    """Return 0 and `number`, uint8, for a mask as `binary_mask` takes it.

    Args:
        number: of the label; 0 if `label` is none of the dataset's, and nothing may be marked.
        label: for the message.

    Raises:
        DatasetError: the mask holds other values, or marks what is no label.
    """
    marked = binary_mask(mask, where=where)
    if marked.any() and not number:
        raise DatasetError(
            f"{where}: expected an empty mask, since --labels does not name '{label}', found "
            "marked pixels; name the label, or take the image away"
        )
    return (marked * number).astype(np.uint8)
