"""Volumes whose axial slices have image-level labels, or become images of their own."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from diffunet.conversion.case import ConvertedCase, Shares
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io import ImageGeometry
from diffunet.data.image_io.geometry import is_orthonormal
from diffunet.labels import LabelScheme

_FEWEST_DIGITS = 3


def as_wished(case: ConvertedCase, wishes: Wishes, scheme: LabelScheme) -> Iterator[ConvertedCase]:
    """Yield a volume as it is, with shares of its slices (`tags`), or its slices (`slices`).

    A slice is what lies at one index of the first array axis. With several raters its shares are
    their average; without masks there are none.
    Slices are named so that their sorted names are their order; they keep the volume's patient.
    """
    if not wishes.slices and not wishes.tags:
        yield case
        return
    shares = _shares_of_slices(case.masks, scheme)
    if not wishes.slices:
        yield replace(case, shares=shares)
        return
    geometry = _slice_geometry(case.geometry)
    num_slices = case.geometry.shape[0]
    num_digits = max(_FEWEST_DIGITS, len(str(num_slices - 1)))
    for index in range(num_slices):
        yield ConvertedCase(
            name=f"{case.name}_z{index:0{num_digits}d}",
            image=case.image[:, index],
            geometry=geometry,
            masks={rater: mask[index] for rater, mask in case.masks.items()},
            shares={None: shares[index]} if shares else {},
            patient=case.patient or case.name,
        )


def _shares_of_slices(
    masks: Mapping[str, np.ndarray], scheme: LabelScheme
) -> dict[int | None, Shares]:
    if not masks:
        return {}
    shares = np.mean([scheme.masks(mask).mean(axis=(2, 3)) for mask in masks.values()], axis=0)
    return {
        index: dict(zip(scheme.names, of_slice.tolist(), strict=True))
        for index, of_slice in enumerate(shares.T)
    }


def _slice_geometry(geometry: ImageGeometry) -> ImageGeometry:
    """Return the plane's; its place is left out where the slice is tilted against x and y."""
    shape, spacing_mm = geometry.shape[1:], geometry.spacing_mm[1:]
    flat = ImageGeometry(shape=shape, spacing_mm=spacing_mm, has_spacing=geometry.has_spacing)
    if geometry.direction is None or geometry.origin is None:
        return flat
    direction = np.reshape(geometry.direction, (3, 3))[:2, :2]
    if not is_orthonormal(direction):
        return flat
    return replace(
        flat, origin=geometry.origin[:2], direction=tuple(float(each) for each in direction.flat)
    )
