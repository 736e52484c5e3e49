"""CHAOS: organs of healthy abdomens in MR and CT, DICOM slices with a PNG mask for each.

In CT files are numbered from head to feet, in MR from feet to head; z of a volume rises. So a mask
belongs to the slice with its number among the files, never to that with its number along z.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.dicom import Series, read_series
from diffunet.conversion.dicom_header import dicom_among
from diffunet.conversion.slices import as_wished
from diffunet.conversion.structures import Structures, choose_structures
from diffunet.conversion.tree import (
    files_below,
    folders_of,
    is_held_out,
    nothing_found,
    refuse_all,
    subfolder,
    visible,
)
from diffunet.conversion.wishes import Wishes, chosen
from diffunet.data.image_io import grid_difference, read_label_map
from diffunet.errors import DatasetError, UsageError

# of a PNG: (55, 70] and so on, as the challenge's page says; written are 63, 126, 189 and 252
_RIGHT_KIDNEY, _LEFT_KIDNEY = range(111, 136), range(176, 201)
_MR_ORGANS = {
    "liver": range(56, 71),
    "right_kidney": _RIGHT_KIDNEY,
    "left_kidney": _LEFT_KIDNEY,
    "spleen": range(241, 256),
}
_MASK_ENDING = ".png"
_CT_ORGANS = {"liver": (1, 255)}  # PNG of 1 bit, and of 8


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A sequence or modality, which makes a dataset of its own.

    Attributes:
        part: the folder of its patients.
        sequence: folder of a patient that holds DICOM_anon and Ground; "" for the patient's own.
        channels: name to its folder in DICOM_anon, "" for DICOM_anon itself.
        organs: name to its values in a PNG.
        groups: as `organs`, of several; not taken unless asked for.
    """

    part: str
    sequence: str
    channels: Mapping[str, str]
    organs: Mapping[str, Sequence[int]]
    groups: Mapping[str, Sequence[int]]


_MR = {
    "part": "MR",
    "organs": _MR_ORGANS,
    "groups": {"kidney": (*_RIGHT_KIDNEY, *_LEFT_KIDNEY)},
}
_TASKS = {
    "mr_t1": _Task(
        sequence="T1DUAL", channels={"in_phase": "InPhase", "out_phase": "OutPhase"}, **_MR
    ),
    "mr_t2": _Task(sequence="T2SPIR", channels={"T2_SPIR": ""}, **_MR),
    "ct": _Task(part="CT", sequence="", channels={"CT": ""}, organs=_CT_ORGANS, groups={}),
}


@dataclass(frozen=True, kw_only=True)
class _Patient:
    """The files of a patient for one task; `slices` has those of each channel."""

    name: str
    folder: Path
    slices: tuple[tuple[Path, ...], ...]
    masks: tuple[Path, ...]
    is_held_out: bool


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the patients of a task, of all folders below `source`.

    Raises:
        DatasetError: there are none, or files are missing.
        UsageError: no task is named, or a channel or label is not known.
    """
    task = _TASKS.get((wishes.task or "").lower())
    if task is None:
        raise UsageError(
            f"--task: expected {', '.join(_TASKS)}, since CHAOS holds different patients and "
            f"labels for MR and CT; got {wishes.task or 'none'}"
        )
    channels = chosen(wishes.channels, tuple(task.channels), what="channels")
    structures = choose_structures(
        {**task.groups, **task.organs}, wishes.labels, default=tuple(task.organs)
    )
    patients = [
        patient
        for folder in folders_of(source)
        if (patient := _patient_in(folder, source, task, channels))
    ]
    _require_files(patients, channels, task, source)
    return Conversion(
        dataset_json={
            "name": "CHAOS",
            "reference": "https://doi.org/10.5281/zenodo.3431873",
            "licence": "CC BY-NC-SA 4.0",
            "channel_names": {str(index): name for index, name in enumerate(channels)},
            **structures.description,
            "file_ending": ".nii.gz",
        },
        cases=tuple(
            SourceCase(
                name=patient.name,
                read=partial(_read, patient, structures, wishes),
                is_test=patient.is_held_out,
            )
            for patient in patients
        ),
        suggested_name=f"CHAOS_{(wishes.task or '').upper()}",
    )


def _patient_in(
    folder: Path, source: Path, task: _Task, channels: Sequence[str]
) -> _Patient | None:
    """Return the patient whose DICOM_anon lies in `folder`."""
    images = subfolder(folder, "DICOM_anon")
    is_sequence = folder.name.lower() in [each.sequence.lower() for each in _TASKS.values()]
    is_of_task = folder.name.lower() == task.sequence.lower() if task.sequence else not is_sequence
    if not images.is_dir() or not is_of_task:
        return None
    number = folder.parent.name if task.sequence else folder.name
    folders = [
        subfolder(images, name) if (name := task.channels[each]) else images for each in channels
    ]
    return _Patient(
        name=f"{task.part}_{number.zfill(2)}",
        folder=folder,
        slices=tuple(tuple(dicom_among(_inside(each))) for each in folders),
        masks=tuple(
            path
            for path in _inside(subfolder(folder, "Ground"))
            if path.suffix.lower() == _MASK_ENDING
        ),
        is_held_out=is_held_out(folder, source),
    )


def _inside(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_file()] if folder.is_dir() else []


def _require_files(
    patients: Sequence[_Patient], channels: Sequence[str], task: _Task, source: Path
) -> None:
    if not patients:
        place = "/".join(each for each in (task.part, "1", task.sequence, "DICOM_anon") if each)
        raise nothing_found(source, files_below(source), layout=f"Train_Sets/{place} with *.dcm")
    problems = []
    for patient in patients:
        counts = [len(each) for each in patient.slices]
        for channel, count in zip(channels, counts, strict=True):
            if not count or count != counts[0]:
                wanted = counts[0] or "some"
                problems.append(
                    f"'{patient.folder}': expected {wanted} DICOM files of {channel}, found {count}"
                )
        num_masks = len(patient.masks)
        if counts[0] and num_masks != counts[0] and (num_masks or not patient.is_held_out):
            problems.append(
                f"'{patient.folder}': expected {counts[0]} masks in Ground, one for each slice, "
                f"found {num_masks}"
            )
    refuse_all(problems, remedy="copy these folders again, or take them out of the download")


def _read(patient: _Patient, structures: Structures, wishes: Wishes) -> Iterator[ConvertedCase]:
    channels = [read_series(files, has_one_uid=False) for files in patient.slices]
    _require_same_places(patient, channels)
    masks = {}
    if patient.masks:
        masks[""] = _label_map(patient, channels, structures)
    volume = ConvertedCase(
        name=patient.name,
        image=np.stack([each.voxels for each in channels]),
        geometry=channels[0].geometry,
        masks=masks,
    )
    yield from as_wished(volume, wishes, structures.scheme)


def _require_same_places(patient: _Patient, channels: Sequence[Series]) -> None:
    """Check that no slice was left out, and that voxels of all channels lie at the same places."""
    first = channels[0]
    for each, files in zip(channels, patient.slices, strict=True):
        if each.remarks:
            raise DatasetError(
                f"'{files[0].parent}': expected slices at different places: "
                f"{'; '.join(each.remarks)}; copy the folder again"
            )
        found = grid_difference(
            each.geometry,
            first.geometry,
            attributes=("shape", "spacing", "origin", "direction"),
        )
        if found is not None:
            raise DatasetError(
                f"'{files[0].parent}': expected the {found.what} {found.expected} of "
                f"'{first.files[0].parent.name}', found {found.found}; copy both folders again"
            )


def _label_map(patient: _Patient, channels: Sequence[Series], structures: Structures) -> np.ndarray:
    shape = channels[0].voxels.shape[1:]
    planes = []
    for path in masks_along_z(channels[0].files, patient.masks):
        stored, _ = read_label_map(path)
        if stored.shape != shape:
            raise DatasetError(
                f"'{path}': expected the shape {shape} of its slice, found {stored.shape}; copy "
                "the file again"
            )
        planes.append(structures.label_map(stored, where=f"'{path}'"))
    return np.stack(planes)


def masks_along_z(slices: Sequence[Path], masks: Sequence[Path]) -> list[Path]:
    """Return the mask of each slice: both count alike, if not from the same number.

    Args:
        slices: in any order, as that along z.
        masks: as many as slices, in any order.
    """
    numbered = sorted(slices, key=_numbers_in)
    of_slice = dict(zip(numbered, sorted(masks, key=_numbers_in), strict=True))
    return [of_slice[path] for path in slices]


def _numbers_in(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.stem))
