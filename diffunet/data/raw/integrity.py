"""Check every file of a raw dataset, and report all faults at once."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diffunet.data.image_io import TIFF_FILE_ENDINGS
from diffunet.data.raw.case_checks import CaseReport, Expected, check_case
from diffunet.data.raw.case_files import Findings, listing
from diffunet.data.raw.dataset import RawDataset, scan_dataset
from diffunet.data.raw.gathered import gathered
from diffunet.data.raw.label_checks import AlikeRaters, joined
from diffunet.data.raw.patient_names import patients_in_names
from diffunet.errors import DatasetError
from diffunet.parallel import Progress, map_ordered, without_progress
from diffunet.workspace import LABELS_FOLDER, PATIENTS_FILE, SPLITS_FILE, TEST_LABELS_FOLDER

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
    expected = Expected(
        num_channels=opened.num_channels, labels=opened.labels, checks_labels=checks_labels
    )
    cases = (*opened.training_cases, *opened.test_cases)
    summary = _Summary(opened, checks_labels=checks_labels, has_faults=bool(findings.problems))
    reports = map_ordered(
        partial(check_case, expected=expected),
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

    def add(self, report: CaseReport) -> None:
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


def _slice_problems(dataset: RawDataset, report: CaseReport) -> Iterator[str]:
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
