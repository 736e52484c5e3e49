"""A raw dataset of nnU-Net v1: as v2, but for its dataset.json and the name of its folder."""

from functools import partial
from pathlib import Path

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.conversion.description import new_description, read_description, task_of
from diffunet.conversion.tree import subfolder, visible
from diffunet.conversion.volume import read_volume
from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io.nifti import FILE_ENDINGS as NIFTI_ENDINGS
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.errors import DatasetError
from diffunet.workspace import (
    IMAGES_FOLDER,
    LABELS_FOLDER,
    TEST_IMAGES_FOLDER,
    TEST_LABELS_FOLDER,
)


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the cases of imagesTr and imagesTs; the folders count, not the lists of dataset.json.

    Raises:
        DatasetError: it is no such folder, or a training case has no label map.
    """
    del wishes  # there is nothing to choose
    content = read_description(source)
    described = new_description(source, content)
    number, name = task_of(source)
    num_channels = len(described["channel_names"])
    cases, others = _cases(source, IMAGES_FOLDER, LABELS_FOLDER, num_channels=num_channels)
    if _ending_in(subfolder(source, TEST_IMAGES_FOLDER)):
        tested, _ = _cases(
            source, TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER, num_channels=num_channels, is_test=True
        )
        cases += tested
    remarks = [f"left out, since they have no image: {listing(others)}"] if others else []
    return Conversion(
        dataset_json=described,
        cases=tuple(cases),
        suggested_name=name,
        suggested_number=number,
        remarks=tuple(remarks),
    )


def _cases(
    source: Path, images: str, labels: str, *, num_channels: int, is_test: bool = False
) -> tuple[list[SourceCase], set[str]]:
    """Return the cases of a folder of images, and the label maps that belong to none of them."""
    folder, drawn = subfolder(source, images), subfolder(source, labels)
    masks = {
        path.name.removesuffix(ending): path
        for path in (visible(drawn) if drawn.is_dir() else [])
        if (ending := _ending_of(path))
    }
    found, missing = [], []
    ending = _ending_in(folder) or NIFTI_ENDINGS[0]
    for files in find_input_cases(folder, ending, num_channels):
        mask = masks.pop(files.case, None)
        if mask is None and not is_test:
            missing.append(files.case)
        read = partial(
            read_volume,
            files.case,
            files.images,
            {} if mask is None else {"": mask},
            num_channels=num_channels,
        )
        found.append(SourceCase(name=files.case, read=read, is_test=is_test))
    if missing:
        raise DatasetError(
            f"'{drawn}': expected a label map CASE{NIFTI_ENDINGS[0]} for each image, found none "
            f"for {len(missing)}, such as '{missing[0]}'; add them, or remove the images"
        )
    return found, {path.name for path in masks.values()}


def _ending_of(path: Path) -> str | None:
    return next((ending for ending in NIFTI_ENDINGS if path.name.endswith(ending)), None)


def _ending_in(folder: Path) -> str | None:
    """Return the ending of the images in a folder, which may have been unpacked; None without."""
    inside = visible(folder) if folder.is_dir() else []
    return next((each for each in NIFTI_ENDINGS if each in map(_ending_of, inside)), None)
