"""Photographs with masks that people drew on them, whatever their formats."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from diffunet.conversion.binary import MaskRule
from diffunet.conversion.case import ConvertedCase
from diffunet.data.image_io.images import without_equal_colours
from diffunet.data.image_io.photograph import LOSSY_ENDINGS, read_photograph
from diffunet.errors import DatasetError

COLOURS = ("red", "green", "blue")

_BLACK, _WHITE = 64, 192  # JPEG of any usual quality moves 0 and 255 by less than a quarter


def read_photographed(
    name: str,
    image: Path,
    masks: Mapping[str, Path],
    *,
    rule: MaskRule,
    is_colour: bool = True,
    patient: str = "",
) -> Iterator[ConvertedCase]:
    """Yield the one case of a photograph, upright, and of the masks drawn on it.

    Args:
        masks: rater to file.
        is_colour: of the dataset: a grey photograph then gets three equal channels.

    Raises:
        DatasetError: a file cannot be read, or is not what it should be.
    """
    photograph, geometry = read_photograph(image)
    num_channels = len(COLOURS) if is_colour else 1
    if not is_colour:
        photograph = without_equal_colours(photograph)
    depth = "8 bits" if is_colour else "8 or 16 bits"
    kinds = (np.uint8,) if is_colour else (np.uint8, np.uint16)
    is_fitting = len(photograph) in (1, num_channels) and photograph.dtype in kinds
    if geometry.num_dimensions != 2 or not is_fitting:
        raise DatasetError(
            f"'{image}': expected a {'colour' if is_colour else 'grey'} photograph of {depth}, "
            f"found {len(photograph)} channel(s) of {photograph.dtype}, {geometry.shape}; save it "
            "like the others, or take it out"
        )
    shape = (num_channels, *geometry.shape)
    read = {rater: _drawn(path, geometry.shape, image) for rater, path in masks.items()}
    yield ConvertedCase(
        name=name,
        image=np.ascontiguousarray(np.broadcast_to(photograph, shape)),
        geometry=geometry,
        masks={rater: rule(mask, where=f"'{masks[rater]}'") for rater, mask in read.items()},
        patient=patient,
    )


def require_lossless(path: Path) -> None:
    """Check that the file of a mask has a format that keeps values.

    Raises:
        DatasetError: it has not.
    """
    if path.name.lower().endswith(LOSSY_ENDINGS):
        raise DatasetError(
            f"'{path}': expected a mask in a format without loss, such as PNG, found a JPEG, which "
            "blurs the values at every edge; use the mask as it was first saved"
        )


def _drawn(path: Path, shape: tuple[int, ...], image: Path) -> np.ndarray:
    """Return (y, x): the grey values, or the indices of a palette that has colours."""
    mask, geometry = read_photograph(path)
    if geometry.shape != shape:
        raise DatasetError(
            f"'{path}': expected the size of '{image.name}', {_size(shape)} pixels, found "
            f"{_size(geometry.shape)}; take both from one download"
        )
    if path.name.lower().endswith(LOSSY_ENDINGS):
        return _black_and_white(mask, path)
    if (mask == mask[:1]).all():
        return mask[0]
    indices, _ = read_photograph(path, is_label=True)
    if len(indices) > 1:
        raise DatasetError(
            f"'{path}': expected a grey mask, found colours; save one label as one grey value"
        )
    return indices[0]


def _black_and_white(mask: np.ndarray, path: Path) -> np.ndarray:
    """Return the 0 and 255 that were saved as a JPEG, which added ripples at the edges.

    A mask of small numbers (0 and 1) would come out black, so black has to be 0 where nothing is
    white.
    """
    is_white = mask >= _WHITE
    is_unclear = (mask >= _BLACK) & ~is_white
    if is_unclear.any() or (mask.any() and not is_white.any()) or (is_white != is_white[0]).any():
        value = mask[is_unclear].flat[0] if is_unclear.any() else mask.max()
        raise DatasetError(
            f"'{path}': expected a mask in a format without loss, such as PNG, or black and white "
            f"saved as JPEG, found a JPEG with values such as {value}; use the mask as it was "
            "first saved"
        )
    return np.where(is_white[0], np.uint8(255), np.uint8(0))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in reversed(shape))
