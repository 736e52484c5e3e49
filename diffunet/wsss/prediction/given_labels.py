"""What a table says about the cases to predict."""

from collections.abc import Sequence
from pathlib import Path

from diffunet.data.image_io import read_input
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.image_labels import ImageLabels, read_given_labels
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.model import TrainedModel
from diffunet.wsss.prediction.presence import GivenTags


def read_given_table(path: Path, cases: Sequence[CaseFiles], *, model: TrainedModel) -> ImageLabels:
    """Return what a table says about cases to predict.

    Raises:
        UsageError: there is no such file.
        DatasetError: all that is wrong with the table.
    """
    if not path.is_file():
        raise UsageError(f"--image_labels '{path}': expected a table, found no such file")
    images = {files.case: files.images for files in cases}

    def num_slices(case: str) -> int | None:
        try:
            image, _ = read_input(images[case], num_channels=model.num_channels)
        except DatasetError:
            return None  # said when the case is to be predicted
        return image.shape[1] if image.ndim == 4 else 0

    return read_given_labels(
        path, label_names=model.labels.names, cases=images, num_slices=num_slices
    )


def given_of_case(given: ImageLabels | None, case: str) -> GivenTags:
    """Return what a table says about one case; nothing without a table, or a line."""
    if given is None:
        return {}
    indices = (None, *given.slices.get(case, ()))
    known = {index: given.of(case, index) for index in indices}
    return {index: tags for index, tags in known.items() if tags is not None}
