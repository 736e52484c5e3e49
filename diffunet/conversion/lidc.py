"""LIDC-IDRI, in each of the three forms in which it is downloaded."""

from pathlib import Path

from diffunet.conversion import lidc_dicom, lidc_pickle, lidc_slices
from diffunet.conversion.case import Conversion
from diffunet.conversion.dicom_header import dicom_among
from diffunet.conversion.formats import format_of
from diffunet.conversion.tree import files_below, files_by_ending, nothing_found
from diffunet.conversion.wishes import Wishes
from diffunet.errors import DatasetError


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases of the one form that lies at `source`, in any folder below.

    Raises:
        DatasetError: none lies there, or several, or it has faults.
    """
    del wishes  # there is nothing to choose
    files = files_by_ending(source)
    pickles = [path for ending in lidc_pickle.FILE_ENDINGS for path in files[ending]]
    images = lidc_slices.images_among(files[".png"])
    slices = dicom_among(path for found in files.values() for path in found)
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
