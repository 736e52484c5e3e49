"""A raw dataset of nnU-Net v1: as v2, but for its dataset.json and the name of its folder."""

from functools import partial
from pathlib import Path

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.description import new_description, read_description, task_of
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes
from diffunet.data.raw.case_files import find_input_cases
from diffunet.errors import DatasetError
from diffunet.workspace import (
    DATASET_FILE,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    TEST_IMAGES_FOLDER,
    TEST_LABELS_FOLDER,
)

_ENDING = ".nii.gz"


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases of imagesTr and imagesTs; the folders count, not the lists of dataset.json.

    Raises:
        DatasetError: it is no such folder, or a training case has no label map.
    """
    del wishes  # there is nothing to choose
    content = read_description(source)
    if "channel_names" in content:
        raise DatasetError(
            f"'{source / DATASET_FILE}' has 'channel_names', as nnU-Net v2 writes it: the folder "
            "is a raw dataset already; put it, or a link to it, into the raw folder as "
            "DatasetXXX_NAME"
        )
    described = new_description(source, content)
    number, name = task_of(source)
    num_channels = len(described["channel_names"])
    cases = _cases(source, IMAGES_FOLDER, LABELS_FOLDER, num_channels=num_channels)
    if (source / TEST_IMAGES_FOLDER).is_dir() and any((source / TEST_IMAGES_FOLDER).glob("*.gz")):
        cases += _cases(
            source, TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER, num_channels=num_channels, is_test=True
        )
    return Conversion(
        dataset_json=described,
        cases=tuple(cases),
        suggested_name=name,
        suggested_number=number,
    )


def _cases(
    source: Path, images: str, labels: str, *, num_channels: int, is_test: bool = False
) -> list[SourceCase]:
    found, missing = [], []
    for files in find_input_cases(source / images, _ENDING, num_channels):
        mask = source / labels / f"{files.case}{_ENDING}"
        if not mask.is_file() and not is_test:
            missing.append(files.case)
        masks = {"": mask} if mask.is_file() else {}
        read = partial(read_volume, files.case, files.images, masks, num_channels=num_channels)
        found.append(SourceCase(name=files.case, read=read, is_test=is_test))
    if missing:
        raise DatasetError(
            f"'{source / labels}': expected a label map CASE{_ENDING} for each image, found none "
            f"for {len(missing)}, such as '{missing[0]}'; add them, or remove the images"
        )
    return found
