"""What a format finds in a download: cases that can be read one by one, and what they are about."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffunet.data.image_io import ImageGeometry
from diffunet.data.raw.splits import Split

Shares = Mapping[str, float]
"""Name of a label to the share of the voxels that show it, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class ConvertedCase:
    """The voxels of a case, as they will be written.

    Attributes:
        name: a file name, without channel and ending.
        image: (channel, *spatial), spatial (y, x) or (z, y, x), in the dtype to store.
        masks: rater, such as "r00", to label map (*spatial); the key "" where there is one rater;
            empty where the case has none.
        shares: index of the slice, or None for the whole case, to its shares, from which its
            image-level labels come; empty where the dataset has masks alone.
        patient: "" where each case is a patient of its own.
        remarks: what the user should know about how the case was understood.
    """

    name: str
    image: np.ndarray
    geometry: ImageGeometry
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    shares: Mapping[int | None, Shares] = field(default_factory=dict)
    patient: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """A case, or a volume that becomes several, that was found in a download and not yet read.

    Attributes:
        name: unlike that of every other one.
        read: returns what it holds, one after the other; can be pickled, since worker processes
            call it. It raises `DatasetError` for a file that is not what it should be.
        is_test: whether it goes into imagesTs, and its masks into labelsTs.
    """

    name: str
    read: Callable[[], Iterable[ConvertedCase]]
    is_test: bool = False


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """All that a format found in a download; nothing is written yet.

    Attributes:
        dataset_json: of the raw dataset, without `numTraining`, which is counted.
        suggested_name: of the dataset, behind its number: "LIDC".
        suggested_number: that the download bears itself; None where it has none.
        is_colour: an image is one file of red, green and blue, 8 bits each; otherwise each channel
            has a file.
        splits: folds that the download comes with; empty where folds should be made.
        remarks: what the user should know about how the data was understood.
    """

    dataset_json: Mapping[str, Any]
    cases: tuple[SourceCase, ...]
    suggested_name: str
    suggested_number: int | None = None
    is_colour: bool = False
    splits: tuple[Split, ...] = ()
    remarks: tuple[str, ...] = ()
