"""The test cases of a raw dataset, cut into slices."""

from collections.abc import Iterator
from dataclasses import dataclass

import answers_without_learning as answers
import numpy as np

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import CaseFiles, RawDataset
from diffunet.errors import UsageError
from diffunet.evaluation.baselines import majority


@dataclass(frozen=True, kw_only=True)
class OpenedCase:
    """A test case.

    Attributes:
        images: (slice, y, x); one slice of a 2D case.
        references, ignored: (label, slice, y, x) and (slice, y, x), bool.
        positions: (slice,) in [0, 1].
    """

    case: str
    patient: str
    is_volume: bool
    spacing_mm: tuple[float, ...]
    images: np.ndarray
    references: np.ndarray
    ignored: np.ndarray
    positions: np.ndarray


def scored_cases(dataset: RawDataset) -> list[CaseFiles]:
    """Return the test cases that have masks."""
    return [files for files in dataset.test_cases if files.labels]


def opened_cases(dataset: RawDataset, *, channel: int) -> Iterator[OpenedCase]:
    """Yield the test cases that have masks; positions are among all test cases of a patient."""
    labels = dataset.labels
    num_slices = {
        files.case: len(read_slices(files, channel=channel)[0]) for files in dataset.test_cases
    }
    places = answers.relative_positions(num_slices, dataset.patients)
    for files in scored_cases(dataset):
        images, spacing_mm, is_volume = read_slices(files, channel=channel)
        maps = np.stack([read_label_map(path)[0] for path in files.labels.values()])
        maps = maps.reshape(len(maps), *images.shape)
        masks = np.stack([labels.masks(each) for each in maps])
        yield OpenedCase(
            case=files.case,
            patient=dataset.patients[files.case],
            is_volume=is_volume,
            spacing_mm=spacing_mm,
            images=images,
            references=np.stack([majority(masks[:, index]) for index in range(masks.shape[1])]),
            ignored=np.asarray(labels.ignored(maps).any(axis=0)),
            positions=places[files.case],
        )


def read_slices(files: CaseFiles, *, channel: int) -> tuple[np.ndarray, tuple[float, ...], bool]:
    """Return the slices (slice, y, x) of one channel, the spacing, and whether it is a volume."""
    image, geometry = read_image(files.images)
    if not 0 <= channel < len(image):
        raise UsageError(
            f"case '{files.case}': expected --channel from 0 to {len(image) - 1}, found {channel}"
        )
    is_volume = geometry.num_dimensions == 3
    slices = image[channel] if is_volume else image[channel][None]
    return slices.astype(np.float32), geometry.spacing_mm, is_volume
