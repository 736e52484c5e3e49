"""Measure every training case of a dataset, and sum up."""

from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.dataset_state import DatasetState
from diffunet.errors import DatasetError
from diffunet.fingerprint.accumulate import (
    INTENSITY_CAPACITY,
    ChannelAccumulator,
    GeometryAccumulator,
    LabelAccumulator,
    RaterAccumulator,
)
from diffunet.fingerprint.case import CaseMeasurement, CaseTask, measure_case
from diffunet.fingerprint.fingerprint import WHOLE, WINDOWS, Fingerprint
from diffunet.fingerprint.image_labels import ImageLabelAccumulator
from diffunet.fingerprint.traps import with_warnings
from diffunet.parallel import Progress, map_ordered, without_progress

_MOST_DRAWN = 50_000  # intensities per case and channel
_FEWEST_DRAWN = 500


def extract_fingerprint(
    dataset: RawDataset,
    *,
    num_processes: int,
    progress: Progress = without_progress,
) -> Fingerprint:
    """Return the fingerprint of the training cases.

    Memory grows with the number of cases only by their names. The result depends neither on the
    number of processes nor on the order in which they finish. Where the dataset declares
    image-level labels, no label map is opened.

    Args:
        num_processes: 0 means in this process.
        progress: wraps the iteration over the cases.

    Raises:
        DatasetError: there is no training case, a file cannot be read or holds NaN, shapes differ
            within a case, or images and volumes are mixed.
    """
    cases = dataset.training_cases
    if not cases:
        raise DatasetError(f"'{dataset.folder}' has no training cases; put images into imagesTr")
    is_weak = dataset.image_labels is not None
    num_drawn = min(_MOST_DRAWN, max(_FEWEST_DRAWN, INTENSITY_CAPACITY // len(cases)))
    tasks = [
        CaseTask(
            files=files,
            labels=dataset.labels,
            num_channels=dataset.num_channels,
            reads_masks=not is_weak,
            slices_first_axis=is_weak,
            num_drawn=num_drawn,
        )
        for files in cases
    ]
    accumulator = _Accumulator(dataset)
    measured = map_ordered(measure_case, tasks, num_processes=num_processes, describe=_case_of)
    for measurement in progress(measured, len(tasks), "fingerprint"):
        accumulator.add(measurement)
    return with_warnings(accumulator.fingerprint())


class _Accumulator:
    """All parts of a fingerprint in the making."""

    def __init__(self, dataset: RawDataset):
        self._dataset = dataset
        # taken before anything is measured, so that files that change meanwhile are measured again
        self._source = DatasetState.of(dataset).digest
        self._first: CaseMeasurement | None = None
        self._geometry = GeometryAccumulator()
        self._channels = [ChannelAccumulator(name) for name in dataset.channel_names]
        self._labels = {name: LabelAccumulator(name) for name in dataset.labels.names}
        self._raters = RaterAccumulator()
        self._patients = {
            files.case: dataset.patients.get(files.case, files.case)
            for files in dataset.training_cases
        }
        self._image_labels = (
            ImageLabelAccumulator(dataset.image_labels, patients=self._patients)
            if dataset.image_labels is not None
            else None
        )

    def add(self, case: CaseMeasurement) -> None:
        first = self._first = self._first or case
        if len(case.shape) != len(first.shape):
            raise DatasetError(
                f"case '{case.case}': expected {len(first.shape)} spatial axes as in case "
                f"'{first.case}', found the shape {case.shape}; put images and volumes into "
                "datasets of their own"
            )
        self._geometry.add(case)
        for accumulator, channel in zip(self._channels, case.channels, strict=True):
            accumulator.add(case.case, channel)
        if case.labels:
            self._raters.add(case.marked, case.labels, patient=self._patients[case.case])
        for accumulator, label in zip(self._labels.values(), case.labels, strict=False):
            accumulator.add(label)
        if self._image_labels is not None:
            self._image_labels.add(case)

    def fingerprint(self) -> Fingerprint:
        first = self._first
        if first is None:
            raise ValueError("no case was added")
        raters = self._raters.fingerprint()
        windows = [*map(str, WINDOWS), WHOLE]
        return Fingerprint(
            dataset_name=self._dataset.name,
            source=self._source,
            num_cases=len(self._patients),
            num_patients=len(set(self._patients.values())),
            dimensions=2 if len(first.shape) == 2 else 3,
            slice_axis=first.slice_axis,
            geometry=self._geometry.fingerprint(len(first.shape)),
            channels=tuple(
                channel.fingerprint(has_masks=raters is not None) for channel in self._channels
            ),
            labels=None
            if raters is None
            else {name: label.fingerprint(windows) for name, label in self._labels.items()},
            raters=raters,
            trivial_answers=self._raters.trivial_answers(),
            image_labels=self._image_labels.fingerprint() if self._image_labels else None,
        )


def _case_of(task: CaseTask) -> str:
    return f"case '{task.files.case}'"
