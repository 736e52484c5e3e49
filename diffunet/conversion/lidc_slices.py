"""LIDC-IDRI as slices in PNG: 128 x 128 pixels around each nodule, and four masks of each."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from diffunet.conversion.binary import binary_mask
from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.lidc_nodules import nodules
from diffunet.conversion.tree import refuse_all
from diffunet.conversion.volume import read_volume

_IMAGE = re.compile(r"(.+)/nodule-([0-9]+)/images/slice-([0-9]+)\.png", re.IGNORECASE)

_NUM_RATERS = 4


def images_among(files: Iterable[Path]) -> dict[Path, re.Match[str]]:
    """Return the files that are slices around a nodule, with what their places say of them."""
    matched = {path: _IMAGE.fullmatch("/".join(path.parts[-4:])) for path in files}
    return {path: match for path, match in matched.items() if match}


def scan(images: Mapping[Path, re.Match[str]]) -> Conversion:
    """Return a case for each of the images, as `images_among` returns them.

    Raises:
        DatasetError: slices lack a mask; the first are named.
    """
    cases, missing = [], []
    for image, match in images.items():
        patient, nodule, index = match.groups()
        name = f"{patient}_n{int(nodule):02d}_s{int(index):03d}"
        masks = {
            f"r{rater:02d}": image.parents[1] / f"mask-{rater}" / image.name
            for rater in range(_NUM_RATERS)
        }
        missing += [mask for mask in masks.values() if not mask.is_file()]
        read = partial(
            read_volume, name, [image], masks, num_channels=1, rule=binary_mask, patient=patient
        )
        cases.append(SourceCase(name=name, read=read))
    refuse_all(
        [f"'{path}': expected a mask, found none" for path in missing],
        remedy="unpack the download again, or remove these slices",
    )
    return nodules(
        cases,
        description="slices around lung nodules, min-max scaled, with the masks of four "
        "radiologists; made from LIDC-IDRI",
        channel="CT slice, min-max scaled",
        file_ending=".png",
        remarks=("raters are numbered anew in each nodule: r00 is not one radiologist",),
    )
