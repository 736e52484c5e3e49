"""Check every file of a raw dataset, and report all faults at once."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from diffunet.data.image_io import (
    TIFF_FILE_ENDINGS,
    read_image,
    read_label_map,
)
from diffunet.data.raw.case_files import CaseFiles, Findings, listing
from diffunet.data.raw.dataset import RawDataset, scan_dataset
from diffunet.data.raw.gathered import gathered
from diffunet.data.raw.label_checks import (
    AlikeRaters,
    digest_of,
    grid_differences,
    joined,
    value_problems,
)
from diffunet.data.raw.patient_names import patients_in_names
from diffunet.data.store.case import LARGEST_INTENSITY
from diffunet.errors import DatasetError
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress, map_ordered, without_progress
from diffunet.workspace import LABELS_FOLDER, PATIENTS_FILE, SPLITS_FILE, TEST_LABELS_FOLDER

_VOXELS_AT_ONCE = 2**22
_OTHER_UNIT = 100.0  # voxels this many times as large as others were measured in another unit


@dataclass(frozen=True, kw_only=True)
class IntegrityReport:
    """What `verify_dataset` found.

    Attributes:
        problems: faults that must be mended before anything else can be done.
        warnings: things that are allowed, but may not be what the user meant.
        num_cases: how many cases were read.
        num_without_masks: training cases that have no masks.
        checked_labels: whether label files were opened.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    num_cases: int
    num_without_masks: int
    checked_labels: bool

    def raise_problems(self) -> None:
        """Raise a DatasetError of all problems, if there are any."""
        if self.problems:
            raise DatasetError(self.problems)


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """What holds for every case of a dataset."""

    num_channels: int
    labels: LabelScheme
    checks_labels: bool


@dataclass(frozen=True, kw_only=True)
class _CaseReport:
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


def verify_dataset(
    dataset: RawDataset | Path,
    *,
    num_processes: int,
    checks_labels: bool | None = None,
    progress: Progress = without_progress,
) -> IntegrityReport:
    """Read every file of a dataset and return all faults and doubts. Nothing is changed.

    Args:
        dataset: an opened dataset, or a folder, whose faults of form are then reported too.
        num_processes: 0 means "in this process".
        checks_labels: whether label files are opened; None means: unless image-level labels are
            declared, since weakly supervised training never opens them.
        progress: wraps the cases to show how far it is.
    """
    findings = Findings()
    opened = scan_dataset(dataset, findings=findings) if isinstance(dataset, Path) else dataset
    if opened is None:
        return IntegrityReport(
            problems=tuple(findings.problems),
            warnings=tuple(findings.warnings),
            num_cases=0,
            num_without_masks=0,
            checked_labels=False,
        )
    if checks_labels is None:
        checks_labels = "image_labels" not in opened.content
    expected = _Expected(
        num_channels=opened.num_channels, labels=opened.labels, checks_labels=checks_labels
    )
    cases = (*opened.training_cases, *opened.test_cases)
    summary = _Summary(opened, checks_labels=checks_labels, has_faults=bool(findings.problems))
    reports = map_ordered(
        partial(_check_case, expected=expected),
        cases,
        num_processes=num_processes,
        describe=lambda files: f"case '{files.case}'",
    )
    problems: list[tuple[str, str]] = []
    warnings: list[tuple[str, str]] = []
    for report in progress(reports, len(cases), "checking"):
        problems += [(report.case, text) for text in report.problems]
        warnings += [(report.case, text) for text in report.warnings]
        problems += [(report.case, text) for text in _slice_problems(opened, report)]
        summary.add(report)
    findings.problems.extend(gathered(problems))
    findings.warnings.extend(gathered(warnings))
    findings.problems.extend(summary.problems())
    findings.warnings.extend(summary.warnings())
    return IntegrityReport(
        problems=tuple(findings.problems),
        warnings=tuple(findings.warnings),
        num_cases=len(cases),
        num_without_masks=sum(not files.labels for files in opened.training_cases),
        checked_labels=checks_labels,
    )


class _Summary:
    """Findings over all cases together; a few bytes per case."""

    def __init__(self, dataset: RawDataset, *, checks_labels: bool, has_faults: bool):
        self._dataset = dataset
        self._checks_labels = checks_labels
        self._by_dimensions: dict[int, list[str]] = defaultdict(list)
        self._by_digest: dict[bytes, list[str]] = defaultdict(list)
        self._constant: list[str] = []
        self._without_spacing: list[str] = []
        self._voxel_mm: dict[str, float] = {}
        self._by_orientation: dict[str, list[str]] = defaultdict(list)
        self._training_cases = {files.case for files in dataset.training_cases}
        self._label_values: set[int] = set()
        self._has_faults = has_faults
        self._alike = {
            folder: AlikeRaters(folder) for folder in (LABELS_FOLDER, TEST_LABELS_FOLDER)
        }

    def add(self, report: _CaseReport) -> None:
        """Take in the report of one case."""
        self._has_faults |= bool(report.problems)
        if report.num_dimensions is None:
            return
        self._by_dimensions[report.num_dimensions].append(report.case)
        if report.digest is not None:
            self._by_digest[report.digest].append(report.case)
        if report.is_constant:
            self._constant.append(report.case)
        if report.num_dimensions == 3 and not report.has_spacing:
            self._without_spacing.append(report.case)
        elif report.has_spacing:
            self._voxel_mm[report.case] = report.voxel_mm
        if report.orientation is not None:
            self._by_orientation[report.orientation].append(report.case)
        is_training = report.case in self._training_cases
        if is_training:
            self._label_values |= report.label_values
        self._alike[LABELS_FOLDER if is_training else TEST_LABELS_FOLDER].add(report.marked)

    def problems(self) -> Iterator[str]:
        """Yield the faults."""
        if len(self._by_dimensions) > 1:
            fewer, more = sorted(self._by_dimensions.items(), key=lambda item: len(item[1]))
            yield (
                f"dataset: expected images of one kind, found {len(more[1])} with {more[0]} and "
                f"{len(fewer[1])} with {fewer[0]} spatial axes: {listing(fewer[1])}; remove or "
                "convert these"
            )

    def warnings(self) -> Iterator[str]:
        """Yield the doubts."""
        if self._constant:
            yield (
                f"{len(self._constant)} images have one value everywhere: {listing(self._constant)}"
            )
        twins = [cases for cases in self._by_digest.values() if len(cases) > 1]
        if twins:
            pairs = "; ".join(" = ".join(f"'{case}'" for case in cases) for cases in twins[:10])
            more = f"; and {len(twins) - 10} more" if len(twins) > 10 else ""
            yield f"{len(twins)} images occur more than once, with equal voxels: {pairs}{more}"
        divided = [c for c in twins if len({each in self._training_cases for each in c}) > 1]
        if divided:
            names = {case for cases in divided for case in cases if case in self._training_cases}
            yield (
                f"{len(divided)} images of imagesTr are in imagesTs too: {listing(names)}; scores "
                "on imagesTs will be too good"
            )
        if self._without_spacing:
            yield (
                f"{len(self._without_spacing)} volumes have no spacing, and 1 mm is used: "
                f"{listing(self._without_spacing)}; {_spacing_remedy(self._dataset.file_ending)}"
            )
        yield from _unit_warnings(self._voxel_mm)
        if len(self._by_orientation) > 1:
            counted = sorted(self._by_orientation.items(), key=lambda item: (-len(item[1]), item))
            most, *others = [f"{len(cases)} {name} ({listing(cases)})" for name, cases in counted]
            yield (
                "volumes have several orientations, in which x, y and z of the file point to "
                f"different sides of the patient: {most.partition(' (')[0]}, {', '.join(others)}; "
                "axes are used as they are in the file: bring all to one orientation"
            )
        if (doubt := self._patients_in_names()) is not None:
            yield doubt
        for alike in self._alike.values():
            yield from alike.warnings()
        # masks of faulty cases, or of other names, may not have been read
        if self._checks_labels and self._training_cases and not self._has_faults:
            scheme = self._dataset.labels
            absent = [
                f"'{name}' ({joined(values)})"
                for name, values in zip(scheme.names, scheme.values, strict=True)
                if not self._label_values.intersection(values)
            ]
            if len(absent) == 1:
                yield f"the label {absent[0]} is in no training label map"
            elif absent:
                yield f"{len(absent)} labels are in no training label map: {', '.join(absent)}"
            if self._label_values and 0 not in self._label_values:
                yield (
                    "no training label map has background (0), so that every voxel has a label: if "
                    f"{min(self._label_values)} means background in them, subtract 1 from all "
                    "integers"
                )

    def _patients_in_names(self) -> str | None:
        """Return the doubt whether each case is a patient; None where a file says who is."""
        folder = self._dataset.folder
        if (folder / PATIENTS_FILE).exists() or (folder / SPLITS_FILE).exists():
            return None
        return patients_in_names(self._training_cases)


def _spacing_remedy(file_ending: str) -> str:
    if file_ending.lower() in TIFF_FILE_ENDINGS:
        return (
            'write CASE.json with {"spacing": [z, y, x]} in mm beside them; where the pages of a '
            "file are images of their own, save each as an image CASE_0000.tif of its own"
        )
    return "write the size of a voxel in mm into the header of images and masks"


def _unit_warnings(voxel_mm: dict[str, float]) -> Iterator[str]:
    """Yield the cases whose voxels are so much larger or smaller that the unit must be another."""
    if not voxel_mm:
        return
    usual = float(np.median(list(voxel_mm.values())))
    odd = [
        case
        for case, size in voxel_mm.items()
        if abs(math.log(size / usual)) > math.log(_OTHER_UNIT)
    ]
    if odd:
        example = min(odd)
        yield (
            f"{len(odd)} volumes have voxels of another order of size than the others: "
            f"{listing(odd)}; '{example}' has sides of {voxel_mm[example]:g} mm, the median is "
            f"{usual:g} mm: if they are in metres or micrometres, correct their headers"
        )


def _check_case(files: CaseFiles, *, expected: _Expected) -> _CaseReport:
    """Read the files of one case."""
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
        return _CaseReport(case=files.case, problems=tuple(problems))
    is_constant = bool((image == image.flat[0]).all())
    return _CaseReport(
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


def _slice_problems(dataset: RawDataset, report: _CaseReport) -> Iterator[str]:
    """Yield the image-level labels of slices that the case does not have."""
    if dataset.image_labels is None or report.num_dimensions is None:
        return
    slices = dataset.image_labels.slices.get(report.case, ())
    if slices and report.num_dimensions == 2:
        yield (
            f"case '{report.case}': expected labels of the whole image, since it is "
            f"two-dimensional, found labels of slices in '{dataset.content['image_labels']}'; "
            "empty the column slice"
        )
    elif wrong := [index for index in slices if index >= report.num_slices]:
        yield (
            f"case '{report.case}': expected slices 0 to {report.num_slices - 1} (the first array "
            f"axis, z of a NIfTI volume) in '{dataset.content['image_labels']}', found "
            f"{joined(wrong)}; count from 0 along that axis"
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
