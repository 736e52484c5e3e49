"""Volumes that a download holds as files which diffunet reads itself."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from diffunet.conversion.binary import MaskRule
from diffunet.conversion.case import ConvertedCase
from diffunet.data.image_io import (
    ImageGeometry,
    grid_difference,
    read_image,
    read_label_map,
    turned_axes,
)
from diffunet.errors import DatasetError

_PLACES = ("origin", "direction")


def read_volume(
    name: str,
    images: Sequence[Path],
    masks: Mapping[str, Path],
    *,
    num_channels: int,
    rule: MaskRule | None = None,
    patient: str = "",
) -> Iterator[ConvertedCase]:
    """Yield the one case that some image files and their label maps hold.

    Args:
        masks: rater, "" where there is one, to file.
        rule: what the values of the masks mean; None where they are labels already.

    Raises:
        DatasetError: a file cannot be read, or they do not fit each other.
    """
    image, geometry = read_image(images, num_channels=num_channels)
    read: dict[str, np.ndarray] = {}
    remarks: list[str] = []
    for rater, path in masks.items():
        read[rater], doubts = _read_mask_of(path, geometry, images[0])
        remarks += doubts
    if rule is not None:
        read = {rater: rule(mask, where=f"'{masks[rater]}'") for rater, mask in read.items()}
    yield ConvertedCase(
        name=name,
        image=image,
        geometry=geometry,
        masks=read,
        patient=patient,
        remarks=tuple(remarks),
    )


def _read_mask_of(path: Path, geometry: ImageGeometry, image: Path) -> tuple[np.ndarray, list[str]]:
    """Return the label map at `path`, and doubts whether it lies on the grid of the file `image`.

    A label map in another orientation is turned to the image's.

    Raises:
        DatasetError: it does not, or cannot be read, or holds negative numbers.
    """
    mask, grid = read_label_map(path)
    if mask.min(initial=0) < 0:
        raise DatasetError(
            f"'{path}': expected labels from 0, found {mask.min()}; copy the file again"
        )
    if (turn := turned_axes(grid, geometry)) is not None:
        backwards = tuple(axis for axis, (_, is_backwards) in enumerate(turn) if is_backwards)
        turned = np.flip(np.transpose(mask, [axis for axis, _ in turn]), backwards)
        mask = np.ascontiguousarray(turned)
        return mask, [
            f"'{path.name}' lies in the orientation {grid.orientation}, its image in "
            f"{geometry.orientation}: it was turned to its image"
        ]
    found = grid_difference(grid, geometry, attributes=("shape", "spacing"))
    if found is not None:
        raise DatasetError(
            f"'{path}': expected the {found.what} {found.expected} of '{image.name}', found "
            f"{found.found}; copy both files again from one download"
        )
    places = [grid_difference(grid, geometry, attributes=(name,)) for name in _PLACES]
    return mask, [
        f"'{path.name}' has the {doubt.what} {doubt.found}, its image {doubt.expected}; voxels are "
        "taken to match by index, and the image's counts: overlay both"
        for doubt in places
        if doubt is not None
    ]
