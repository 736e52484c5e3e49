"""Check the files of one case: voxels, masks, and whether they lie on one grid."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.label_checks import digest_of, grid_differences, value_problems
from diffunet.data.store.case import LARGEST_INTENSITY
from diffunet.errors import DatasetError
from diffunet.labels import LabelScheme

_VOXELS_AT_ONCE = 2**22


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What holds for every case of a dataset."""

    num_channels: int
    labels: LabelScheme
    checks_labels: bool


@dataclass(frozen=True, kw_only=True)
class CaseReport:
    """What one case holds; all of a bounded size.

    Attributes:
        num_dimensions: None where the images cannot be read.
        digest: of the image's voxels; None where they all have one value, `is_constant`.
        voxel_mm: the side of a cube as large as a voxel.
        marked: of several raters, the digest of each mask that marks anything.
    """

    case: str
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    num_dimensions: int | None = None
    num_slices: int = 0
    digest: bytes | None = None
    is_constant: bool = False
    has_spacing: bool = True
    voxel_mm: float = 1.0
    orientation: str | None = None
    label_values: frozenset[int] = frozenset()
    marked: dict[str, bytes] = field(default_factory=dict[str, bytes])


def check_case(files: CaseFiles, *, expected: Expected) -> CaseReport:
    """Read the files of one case, and report all that is wrong or doubtful in them."""
    where = f"case '{files.case}': "
    problems: list[str] = []
    warnings: list[str] = []
    values: set[int] = set()
    marked: dict[str, bytes] = {}
    is_one_of_several = len(files.labels) > 1
    image, geometry = None, None
    try:
        image, geometry = read_image(files.images, num_channels=expected.num_channels)
        warnings += [where + text for text in geometry.doubts]
        problems += [where + text for text in _voxel_problems(image, files)]
    except DatasetError as error:
        problems += [where + text for text in error.problems]
    for rater, path in files.labels.items() if expected.checks_labels else ():
        try:
            label_map, of_label = read_label_map(path)
        except DatasetError as error:
            problems += [where + text for text in error.problems]
            continue
        name = f"label of rater {rater}" if is_one_of_several else "label"
        warnings += [where + text for text in of_label.doubts]
        found = _values_of(label_map)
        values |= found
        if is_one_of_several and found != {0}:
            marked[rater] = digest_of(label_map)
        problems += [
            where + text
            for text in value_problems(
                found, path.name, expected.labels, must_be_annotated=is_one_of_several
            )
        ]
        if geometry is not None:
            faults, doubts = grid_differences(name, of_label, geometry)
            problems += [where + text for text in faults]
            warnings += [where + text for text in doubts]
    if image is None or geometry is None:
        return CaseReport(case=files.case, problems=tuple(problems))
    is_constant = bool((image == image.flat[0]).all())
    return CaseReport(
        case=files.case,
        problems=tuple(problems),
        warnings=tuple(warnings),
        num_dimensions=geometry.num_dimensions,
        num_slices=geometry.shape[0],
        digest=None if is_constant else _digest(image),
        is_constant=is_constant,
        has_spacing=geometry.has_spacing,
        voxel_mm=math.prod(geometry.spacing_mm) ** (1 / geometry.num_dimensions),
        orientation=geometry.orientation,
        label_values=frozenset(values),
        marked=marked,
    )


def _voxel_problems(image: np.ndarray, files: CaseFiles) -> Iterator[str]:
    if image.dtype.itemsize < 4:
        return
    for channel, voxels in enumerate(image):
        path = files.images[min(channel, len(files.images) - 1)]
        where = f"in '{path.name}', channel {channel}"
        count = voxels.size - np.count_nonzero(np.isfinite(voxels))
        if count:
            yield (
                f"expected finite numbers {where}, found {count} NaN or infinite voxels; replace "
                "them, for example by the value of air"
            )
            continue
        lowest, highest = float(voxels.min()), float(voxels.max())
        if not -LARGEST_INTENSITY <= lowest <= highest <= LARGEST_INTENSITY:
            extreme = lowest if -lowest > highest else highest
            yield (
                f"expected numbers up to {LARGEST_INTENSITY:g} {where}, found {extreme:g}; it "
                "stands for 'no value': replace it, for example by the value of air"
            )


def _values_of(label_map: np.ndarray) -> set[int]:
    """Return the values in a label map, a bounded number of voxels at a time."""
    flat = label_map.reshape(-1)
    values: set[int] = set()
    for start in range(0, flat.size, _VOXELS_AT_ONCE):
        part = flat[start : start + _VOXELS_AT_ONCE]
        if part.dtype == np.uint8:
            values.update(np.flatnonzero(np.bincount(part, minlength=256)).tolist())
        else:
            values.update(np.unique(part).tolist())
    return values


def _digest(image: np.ndarray) -> bytes:
    content = hashlib.blake2b(repr((image.shape, image.dtype.str)).encode(), digest_size=16)
    content.update(image.data)
    return content.digest()
