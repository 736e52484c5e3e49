"""QUBIQ 2020 and 2021: structures in MR and CT, each outlined by two to seven people.

Its files have their axes in several ways: a slice is (x, y) or (x, y, 1), the four sequences of the
brain tumours are (x, y, 4), and the volumes of 2021 are (slice, y, x).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from diffunet.conversion.binary import binary_mask
from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.formats import format_of
from diffunet.conversion.tree import files_below, is_held_out, nothing_found, only_one
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io import ImageGeometry, grid_difference, read_image, read_label_map
from diffunet.data.raw.case_files import listing
from diffunet.errors import DatasetError, UsageError

_CHANNELS = {
    "brain-growth": ("MRI",),
    "brain-tumor": ("MRI 1", "MRI 2", "MRI 3", "MRI 4"),
    "kidney": ("CT",),
    "pancreas": ("CT",),
    "pancreatic-lesion": ("CT",),
    "prostate": ("MRI",),
}
_IMAGE = re.compile(r"image\.nii(\.gz)?", re.IGNORECASE)
_MASK = re.compile(r"(?:task(?P<task>[0-9]+)_)?seg(?P<rater>[0-9]+)\.nii(\.gz)?", re.IGNORECASE)
_SCAN_OF_PATIENT = re.compile(r"(?P<patient>case[0-9]+)-[0-9]+", re.IGNORECASE)
_REFERENCE = "Li et al. 2024, arXiv:2405.18435"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A folder with an image.

    Attributes:
        masks: task, such as "task01", to rater to file.
    """

    structure: str
    image: Path
    masks: Mapping[str, Mapping[str, Path]]
    is_held_out: bool

    @property
    def name(self) -> str:
        return self.image.parent.name


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases of one structure, with the masks of one of its tasks.

    Raises:
        DatasetError: there are none, masks of training cases are missing, or a case is there twice.
        UsageError: the download has several tasks, and `wishes` names none of them.
    """
    files = files_below(source)
    cases = list(_cases(files, source))
    if not cases:
        raise nothing_found(source, files, layout=format_of("qubiq").layout)
    structure, task = _chosen(cases, wishes.task)
    cases = [case for case in cases if case.structure == structure]
    _check(cases, task)
    has_several = len({each for case in cases for each in case.masks}) > 1
    label = structure.replace("-", " ")
    return Conversion(
        dataset_json={
            "description": f"QUBIQ, {structure}, {task}; r00: seg01, r01: seg02, and so on",
            "reference": _REFERENCE,
            "channel_names": {str(index): name for index, name in enumerate(_CHANNELS[structure])},
            "labels": {"background": 0, f"{label} {task}" if has_several else label: 1},
            "file_ending": ".nii.gz",
            "raters": True,
        },
        cases=tuple(_source_case(case, task) for case in cases),
        suggested_name=f"QUBIQ-{structure}{f'-{task}' if has_several else ''}",
        remarks=(
            f"{structure}, {task}: {len(cases)} cases; those of Validation and Testing "
            f"({sum(case.is_held_out for case in cases)}) go to imagesTs",
            *_without_structure(files, source),
        ),
    )


def _cases(files: Sequence[Path], source: Path) -> Iterator[_Case]:
    masks: dict[Path, dict[str, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    images: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if matched := _MASK.fullmatch(path.name):
            task, rater = int(matched["task"] or 1), int(matched["rater"]) - 1
            masks[path.parent][f"task{task:02d}"][f"r{rater:02d}"] = path
        elif _IMAGE.fullmatch(path.name):
            images[path.parent].append(path)
    for folder, found in images.items():
        if structure := _structure_of(folder):
            yield _Case(
                structure=structure,
                image=only_one(found, what=f"the image of '{folder}'"),
                masks=masks[folder],
                is_held_out=is_held_out(folder, source),
            )


def _without_structure(files: Sequence[Path], source: Path) -> Iterator[str]:
    """Yield which images lie in no folder of a structure."""
    folders = [path.parent for path in files if _IMAGE.fullmatch(path.name)]
    if unknown := [folder for folder in folders if _structure_of(folder) is None]:
        yield (
            f"left out, since they lie in no folder called {', '.join(_CHANNELS)}: {len(unknown)} "
            f"cases, such as '{unknown[0].relative_to(source)}'"
        )


def _structure_of(folder: Path) -> str | None:
    """Return the structure that names the nearest of the folders around a case."""
    names = (each.name.lower().replace("_", "-") for each in folder.parents)
    return next((name for name in names if name in _CHANNELS), None)


def _chosen(cases: Sequence[_Case], asked: str | None) -> tuple[str, str]:
    """Return the structure and the task that `asked` names, or that are the only ones."""
    known = sorted({(case.structure, task) for case in cases for task in case.masks})
    full = [f"{structure}/{task}" for structure, task in known]
    words = "" if asked is None else asked.lower().replace("_", "-")
    found = [
        each
        for each, name in zip(known, full, strict=True)
        if asked is None or words in (name, *each)
    ]
    if len(found) != 1:
        got = "none" if asked is None else f"'{asked}'"
        known_ones = f"one of {', '.join(full)}" if full else "a download with masks, found none"
        raise UsageError(f"--task: expected {known_ones}; got {got}")
    return found[0]


def _check(cases: Sequence[_Case], task: str) -> None:
    by_name: dict[str, list[Path]] = defaultdict(list)
    for case in cases:
        by_name[case.name].append(case.image.parent)
    for name, folders in by_name.items():
        only_one(folders, what=f"'{name}'")
    unmasked = [case.name for case in cases if task not in case.masks and not case.is_held_out]
    if unmasked:
        raise DatasetError(
            f"expected a mask {task}_seg01.nii.gz beside the image of each training case, found "
            f"none for {listing(unmasked)}; copy them from the download"
        )


def _source_case(case: _Case, task: str) -> SourceCase:
    of_patient = _SCAN_OF_PATIENT.fullmatch(case.name)
    read = partial(
        _read,
        case.name,
        case.image,
        dict(case.masks.get(task, {})),
        num_channels=len(_CHANNELS[case.structure]),
        patient=of_patient["patient"] if of_patient else case.name,
    )
    return SourceCase(name=case.name, read=read, is_test=case.is_held_out)


def _read(
    name: str, image: Path, masks: Mapping[str, Path], *, num_channels: int, patient: str
) -> Iterator[ConvertedCase]:
    array, geometry = _arranged(*read_image([image]), num_channels=num_channels)
    if len(array) != num_channels:
        raise DatasetError(
            f"'{image}': expected {num_channels} image(s) of one slice, found the shape "
            f"{array.shape}; copy the file again"
        )
    labels: dict[str, np.ndarray] = {}
    remarks: list[str] = []
    for rater, path in masks.items():
        mask, grid = read_label_map(path)
        (drawn, *_), grid = _arranged(mask[None], grid, num_channels=1)
        if grid.shape != geometry.shape:
            raise DatasetError(
                f"'{path}': expected the shape {geometry.shape} of its image, found {grid.shape}; "
                "copy both again from one download"
            )
        if found := grid_difference(grid, geometry, attributes=("spacing",)):
            remarks.append(
                f"'{path.name}' has the spacing {found.found} in its header; that of its image "
                f"counts, {found.expected}"
            )
        labels[rater] = binary_mask(drawn, where=f"'{path}'")
    yield ConvertedCase(
        name=name,
        image=array,
        geometry=geometry,
        masks=labels,
        patient=patient,
        remarks=tuple(remarks),
    )


def _arranged(
    array: np.ndarray, geometry: ImageGeometry, *, num_channels: int
) -> tuple[np.ndarray, ImageGeometry]:
    """Return (channel, y, x), or (channel, z, y, x) with z across the slices of a volume."""
    if num_channels > 1 and geometry.shape[0] == num_channels and len(array) == 1:
        array, geometry = array[0], _without_axis(geometry, 0)
    while geometry.num_dimensions > 2 and 1 in geometry.shape:
        axis = geometry.shape.index(1)
        array, geometry = array.squeeze(1 + axis), _without_axis(geometry, axis)
    if geometry.num_dimensions == 3:
        across = int(np.argmin(geometry.shape))
        order = (across, *(axis for axis in range(3) if axis != across))
        if across:
            array = np.ascontiguousarray(array.transpose(0, *(1 + axis for axis in order)))
            geometry = _with_axes(geometry, order)
    return array, geometry


def _without_axis(geometry: ImageGeometry, axis: int) -> ImageGeometry:
    """Return the grid of a slice, which keeps its pixel spacing, not its place."""
    shape = tuple(size for index, size in enumerate(geometry.shape) if index != axis)
    spacing = tuple(size for index, size in enumerate(geometry.spacing_mm) if index != axis)
    return replace(
        geometry, shape=shape, spacing_mm=spacing, origin=None, direction=None, nifti_header=None
    )


def _with_axes(geometry: ImageGeometry, order: Sequence[int]) -> ImageGeometry:
    """Return the grid of a volume whose array axes were brought into another order.

    Voxels keep their places in the patient.
    """
    direction = geometry.direction
    if direction is not None:
        columns = np.reshape(direction, (3, 3))[:, ::-1]  # of the array's axes, not of the file's
        direction = tuple(columns[:, list(order)][:, ::-1].ravel().tolist())
    return replace(
        geometry,
        shape=tuple(geometry.shape[axis] for axis in order),
        spacing_mm=tuple(geometry.spacing_mm[axis] for axis in order),
        direction=direction,
        nifti_header=None,
    )
