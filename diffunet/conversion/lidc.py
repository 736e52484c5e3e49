"""LIDC-IDRI, in each of the three forms in which it is downloaded."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffunet.conversion import lidc_dicom, lidc_pickle, lidc_slices
from diffunet.conversion.case import Conversion
from diffunet.conversion.dicom_header import is_dicom
from diffunet.conversion.formats import format_of
from diffunet.conversion.tree import files_below, files_by_ending, nothing_found
from diffunet.conversion.wishes import Wishes
from diffunet.errors import DatasetError

# none, as on discs; of Siemens; the last part of a UID that is the name
_ENDING_THAT_MAY_BE_DICOM = re.compile(r"|\.(dicom|ima|img|[0-9]+)")
_INDEX = "DICOMDIR"  # of a disc


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases of the one form that lies at `source`, in any folder below.

    Raises:
        DatasetError: none lies there, or several, or it has faults.
    """
    del wishes  # there is nothing to choose
    files = files_by_ending(source)
    pickles = [path for ending in lidc_pickle.FILE_ENDINGS for path in files[ending]]
    images = lidc_slices.images_among(files[".png"])
    slices = _dicom_files(files)
    forms = {"pickles": pickles, "PNG slices": list(images), "DICOM files": slices}
    found = [f"{name} ('{there[0].relative_to(source)}')" for name, there in forms.items() if there]
    layout = format_of("lidc").layout
    if not found:
        raise nothing_found(source, files_below(source), layout=layout)
    if len(found) > 1:
        raise DatasetError(
            f"'{source}': expected {layout}; found {' and '.join(found)}; name the folder of one "
            "of them, or take the others out of it"
        )
    if pickles:
        return lidc_pickle.scan(pickles)
    if images:
        return lidc_slices.scan(images)
    return lidc_dicom.scan(source, slices, files[".xml"])


def _dicom_files(files: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Return files that end in .dcm, and those without a telling ending that are DICOM."""
    others = [
        path
        for ending, found in files.items()
        if _ENDING_THAT_MAY_BE_DICOM.fullmatch(ending)
        for path in found
        if is_dicom(path)
    ]
    return sorted(path for path in (*files[".dcm"], *others) if path.stem.upper() != _INDEX)
