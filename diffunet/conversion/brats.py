"""BraTS 2017 to 2024: gliomas, meningiomas and metastases, four MR images each.

Releases differ in names, and in what the integers of a mask mean: up to 2021 the enhancing tumour
is 4, since 2023 it is 3. In 2024 the gliomas were operated on, and 4 is the resection cavity.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffunet.conversion.case import Conversion, ConvertedCase, SourceCase
from diffunet.conversion.formats import format_of
from diffunet.conversion.slices import as_wished
from diffunet.conversion.structures import Structures, choose_structures
from diffunet.conversion.tree import (
    files_below,
    folders_of,
    is_held_out,
    nothing_found,
    only_one,
    refuse_all,
    visible,
)
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes, chosen
from diffunet.data.image_io.nifti import FILE_ENDINGS as NIFTI_ENDINGS
from diffunet.errors import DatasetError

_OLD_NAME = re.compile(
    r"(brats1[789]_.+|brats20_(training|validation|testing)|brats2021)_\d+", re.IGNORECASE
)
_NEW_NAME = re.compile(r"(?P<release>brats-[a-z]+(-rt)?)-\d+-(?P<time>\d+)", re.IGNORECASE)
_LOOSE_FILE = re.compile(
    rf"({_OLD_NAME.pattern}_|{_NEW_NAME.pattern}-)[a-z0-9]+\.nii(\.gz)?", re.IGNORECASE
)
_CHANNELS = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"}  # old name: new one
_SAME_LABELS = ("brats-gli", "brats-ssa", "brats-men", "brats-met")
_FIRST_AFTER_SURGERY = 100
_REFERENCES = {
    **dict.fromkeys(
        ("BraTS17", "BraTS18", "BraTS19", "BraTS20"), "https://arxiv.org/abs/1811.02629"
    ),
    "BraTS2021": "https://arxiv.org/abs/2107.02314",
}


@dataclass(frozen=True, kw_only=True)
class _Name:
    """What the name of a case says.

    Attributes:
        release: in lower case, such as "brats2021" or "brats-gli".
        patient: who may have been imaged several times.
        is_after_surgery: a mask may show a resection cavity.
    """

    text: str
    release: str
    patient: str
    is_new: bool
    is_after_surgery: bool

    def file(self, what: str) -> str:
        """Return the name of a file without its ending."""
        return f"{self.text}-{_CHANNELS.get(what, what)}" if self.is_new else f"{self.text}_{what}"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A folder of a case, with its NIfTI files by their names in lower case without ending."""

    name: _Name
    folder: Path
    files: Mapping[str, Path]
    is_held_out: bool

    @property
    def mask(self) -> Path | None:
        """The file of the mask; 355 of 2020 has one of another name, W39_1998.09.19_Segm.nii."""
        expected = self.files.get(self.name.file("seg").lower())
        others = [path for stem, path in self.files.items() if "seg" in stem]
        return expected or (others[0] if len(others) == 1 else None)

    def image(self, channel: str) -> Path | None:
        return self.files.get(self.name.file(channel).lower())


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases of all folders below `source` that are named as one release names them.

    Raises:
        DatasetError: there are none, they are of several releases, or files are missing.
        UsageError: a channel or label is not known.
    """
    cases = [case for folder in folders_of(source) if (case := _case_in(folder, source))]
    release = _release_of(cases, source)
    channels = chosen(wishes.channels, tuple(_CHANNELS), what="channels")
    structures = _structures(cases, wishes)
    _require_files(cases, channels)
    described = {
        "name": release,
        **({"reference": _REFERENCES[release]} if release in _REFERENCES else {}),
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        **structures.description,
        "file_ending": ".nii.gz",
    }
    return Conversion(
        dataset_json=described,
        cases=tuple(_source_case(case, channels, structures, wishes) for case in cases),
        suggested_name=release,
        remarks=tuple(_remarks(cases)),
    )


def _case_in(folder: Path, source: Path) -> _Case | None:
    name = _name_of(folder.name)
    if name is None:
        return None
    files: dict[str, Path] = {}
    for path in visible(folder):
        ending = next((each for each in NIFTI_ENDINGS if path.name.lower().endswith(each)), None)
        if ending is not None:
            files.setdefault(path.name.lower().removesuffix(ending), _file_at(path))
    if not files and any(path.is_dir() for path in visible(folder)):
        return None  # unpacked one level deeper
    return _Case(name=name, folder=folder, files=files, is_held_out=is_held_out(folder, source))


def _file_at(path: Path) -> Path:
    """Return the file; some unpackers make a folder of its name with the file in it."""
    inside = visible(path) if path.is_dir() else []
    return inside[0] if len(inside) == 1 else path


def _name_of(text: str) -> _Name | None:
    if matched := _NEW_NAME.fullmatch(text):
        release = matched["release"].lower()
        return _Name(
            text=text,
            release=release,
            patient=text.rpartition("-")[0],
            is_new=True,
            is_after_surgery=(
                release == "brats-gli" and int(matched["time"]) >= _FIRST_AFTER_SURGERY
            ),
        )
    if not _OLD_NAME.fullmatch(text):
        return None
    release = text.partition("_")[0].lower()
    has_time = release in ("brats17", "brats18", "brats19")
    return _Name(
        text=text,
        release=release,
        patient=text.rpartition("_")[0] if has_time else text,
        is_new=False,
        is_after_surgery=False,
    )


def _release_of(cases: Sequence[_Case], source: Path) -> str:
    """Return the one release of all cases, as it is written."""
    if not cases:
        files = files_below(source)
        loose = [path for path in files if _LOOSE_FILE.fullmatch(path.name)]
        if loose:
            raise DatasetError(
                f"'{loose[0].parent}': expected {format_of('brats').layout}; found loose files, "
                f"such as '{loose[0].name}'; move the files of each case into a folder of its name"
            )
        raise nothing_found(source, files, layout=format_of("brats").layout)
    first = {case.name.release: case for case in cases}
    if len(first) > 1:
        names = ", ".join(f"'{case.folder}'" for case in first.values())
        raise DatasetError(
            f"'{source}': expected cases of one release, found {names}; later releases hold "
            "patients of earlier ones under other names: name the folder of one release"
        )
    release = next(iter(first))
    if release.startswith("brats-") and release not in _SAME_LABELS:
        raise DatasetError(
            f"'{source}': expected a release whose masks show necrosis (1), oedema (2) and "
            f"enhancing tumour (3), one of {', '.join(_SAME_LABELS)}, found {release}; it has "
            "other labels and is not known here"
        )
    kind = release.removeprefix("brats")
    return f"BraTS{kind.upper()}"


def _structures(cases: Sequence[_Case], wishes: Wishes) -> Structures:
    """Return the regions in nnU-Net's order; "tumour" is the whole tumour by P2's name."""
    enhancing = 3 if cases[0].name.is_new else 4
    whole = (1, 2, enhancing)
    regions = {
        "whole_tumour": whole,
        "tumour_core": (1, enhancing),
        "enhancing_tumour": (enhancing,),
    }
    if any(case.name.is_after_surgery for case in cases):
        regions["resection_cavity"] = (4,)
    known = {"tumour": whole, **regions}
    return choose_structures(known, wishes.labels, default=tuple(regions))


def _require_files(cases: Sequence[_Case], channels: Sequence[str]) -> None:
    folders: dict[str, list[Path]] = defaultdict(list)
    for case in cases:
        folders[case.name.text].append(case.folder)
    for name, found in folders.items():
        only_one(found, what=f"'{name}'")
    problems = []
    for case in cases:
        missing = [case.name.file(name) for name in channels if case.image(name) is None]
        if case.mask is None and not case.is_held_out:
            missing.append(case.name.file("seg"))
        problems += [f"'{case.folder}': expected {name}.nii.gz, found none" for name in missing]
    refuse_all(
        problems,
        remedy="add these files from the download, or take the folders out of it; cases without "
        "masks belong below a folder whose name says validation",
    )


def _source_case(
    case: _Case, channels: Sequence[str], structures: Structures, wishes: Wishes
) -> SourceCase:
    images = [path for name in channels if (path := case.image(name)) is not None]
    read = partial(_read, case.name, images, case.mask, structures, wishes)
    return SourceCase(name=case.name.text, read=read, is_test=case.is_held_out)


def _read(
    name: _Name, images: Sequence[Path], mask: Path | None, structures: Structures, wishes: Wishes
) -> Iterator[ConvertedCase]:
    volumes = read_volume(
        name.text,
        images,
        {} if mask is None else {"": mask},
        num_channels=len(images),
        rule=structures.label_map,
        patient=name.patient,
    )
    for volume in volumes:
        yield from as_wished(volume, wishes, structures.scheme)


def _remarks(cases: Sequence[_Case]) -> Iterator[str]:
    if num_held_out := sum(case.is_held_out for case in cases):
        yield f"cases of the validation part, which go to imagesTs: {num_held_out}"
    for case in cases:
        if case.mask is not None and not case.is_held_out:
            expected = case.name.file("seg")
            if expected.lower() not in case.files:
                yield f"'{case.mask}' is taken for {expected}.nii.gz"
