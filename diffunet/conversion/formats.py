"""The one table of the formats that `diffunet_convert_dataset` reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from diffunet.conversion.case import Conversion
from diffunet.conversion.wishes import Wishes
from diffunet.errors import DatasetError, UsageError

Scan = Callable[[Path, Wishes], Conversion]
"""Finds the cases of a download, reading little, and raises `DatasetError` for what it is not."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A layout in which public data is downloaded.

    Attributes:
        summary: what it is, in a line, for `-h`.
        layout: the files that are expected, for error messages and the documentation.
        module: in this folder.
        function: of the module, a `Scan`.
        wishes: fields of `Wishes` that it knows.
    """

    summary: str
    layout: str
    module: str
    function: str = "scan"
    wishes: tuple[str, ...] = ()

    def scan(self, source: Path, wishes: Wishes) -> Conversion:
        """Return what the download at `source` holds.

        Raises:
            DatasetError: it has another layout, or nothing is there.
            UsageError: `wishes` names what is not there.
        """
        if not source.exists():
            raise DatasetError(
                f"'{source}': expected a download, found nothing there; correct the path"
            )
        scan: Scan = getattr(import_module(f"diffunet.conversion.{self.module}"), self.function)
        return scan(source, wishes)


FORMATS: Mapping[str, Format] = {
    "msd": Format(
        summary="a task of the Medical Segmentation Decathlon",
        layout="Task04_Hippocampus/ with dataset.json, imagesTr, labelsTr and imagesTs",
        module="decathlon",
    ),
    "nnunet_v1": Format(
        summary="a raw dataset of nnU-Net v1",
        layout="Task500_Name/ with dataset.json, imagesTr/CASE_0000.nii.gz and labelsTr",
        module="nnunet_v1",
    ),
    "brats": Format(
        summary="BraTS 2017 to 2024: gliomas (MR), as volumes, tagged volumes or slices",
        layout="folders like BraTS2021_00000 with BraTS2021_00000_flair.nii.gz, or "
        "BraTS-GLI-00000-000 with BraTS-GLI-00000-000-t2f.nii.gz",
        module="brats",
        wishes=("channels", "labels", "tags", "slices", "min_share"),
    ),
    "chaos": Format(
        summary="CHAOS: organs in abdominal MR and CT, as volumes, tagged volumes or slices",
        layout="Train_Sets/MR/1/T2SPIR and Train_Sets/CT/1, with DICOM_anon and Ground",
        module="chaos",
        wishes=("task", "channels", "labels", "tags", "slices", "min_share"),
    ),
    "lidc": Format(
        summary="LIDC-IDRI: CT in DICOM with readings in XML, PNG slices, or data_lidc.pickle",
        layout="LIDC-IDRI/LIDC-IDRI-0001/STUDY/SERIES/ with *.dcm and *.xml, or "
        "LIDC-IDRI-slices/LIDC-IDRI-0001/nodule-0/ with images and mask-0 to mask-3, or "
        "data_lidc.pickle",
        module="lidc",
    ),
    "chase": Format(
        summary="CHASE_DB1: photographs of the retina, two observers",
        layout="Image_01L.jpg, Image_01L_1stHO.png and Image_01L_2ndHO.png, and so on",
        module="retina_downloads",
        function="scan_chase",
    ),
    "drive": Format(
        summary="DRIVE: photographs of the retina, a second observer for the test part",
        layout=(
            "training/images/21_training.tif, training/1st_manual/21_manual1.gif, "
            "test/images/01_test.tif and so on; test/1st_manual and test/2nd_manual if there"
        ),
        module="retina_downloads",
        function="scan_drive",
    ),
    "stare": Format(
        summary="STARE: photographs of the retina, two observers",
        layout="im0001.ppm, im0001.ah.ppm and im0001.vk.ppm, and so on, each perhaps as .gz",
        module="retina_downloads",
        function="scan_stare",
    ),
    "qubiq": Format(
        summary="QUBIQ 2020 and 2021: brain, kidney, pancreas, prostate, two to seven observers",
        layout="kidney/Training/case01/ with image.nii.gz, task01_seg01.nii.gz and so on",
        module="qubiq",
        wishes=("task",),
    ),
    "observers": Format(
        summary="images of your own, with a folder of masks from each reader",
        layout="images/CASE.jpg, and READER/CASE.png in a folder for each reader",
        module="observers",
        wishes=("channels", "labels", "values"),
    ),
    "patterns": Format(
        summary="images of your own in any folders, with masks or with image-level labels",
        layout="images and masks in files that --images and --masks find",
        module="patterns",
        wishes=(
            "images",
            "masks",
            "image_labels",
            "blank",
            "uncertain",
            "test_list",
            "channels",
            "labels",
            "values",
        ),
    ),
}


def format_of(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UsageError: there is none.
    """
    if name not in FORMATS:
        raise UsageError(f"expected a format, one of {', '.join(FORMATS)}; got '{name}'")
    return FORMATS[name]
