"""The image of a case to predict; doubts about it are logged with the case's name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from diffunet.data.image_io import ImageGeometry, read_image
from diffunet.data.raw.case_files import CaseFiles
from diffunet.errors import DatasetError

if TYPE_CHECKING:
    from diffunet.inference.model import TrainedModel

logger = logging.getLogger(__name__)

_NO_MEMORY = "can't allocate memory"  # in the words of torch, which has no class for it on a CPU


def read_case(files: CaseFiles, *, model: "TrainedModel") -> tuple[np.ndarray, ImageGeometry]:
    """Return the image (channel, *spatial) of a case, and its geometry.

    Raises:
        DatasetError: it cannot be read, or has other channels than the model was trained on.
    """
    image, geometry = read_image(files.images, num_channels=model.num_channels)
    for doubt in geometry.doubts:
        logger.warning("case '%s': %s", files.case, doubt)
    known = model.plans.orientations
    if known and geometry.orientation is not None and geometry.orientation not in known:
        logger.warning(
            "case '%s' lies in the orientation %s (the directions in which x, y and z of the file "
            "rise), the training volumes in %s; axes are used as they are in the file, so the "
            "model sees this case in an orientation that it was never trained on: reorient it "
            "to one of these",
            files.case,
            geometry.orientation,
            ", ".join(known),
        )
    return image, geometry


@contextmanager
def kept_problems(problems: list[str], *, case: str) -> Iterator[None]:
    """Add the fault of a case that cannot be predicted to `problems`, and go on with the others."""
    try:
        yield
    except DatasetError as error:
        problems.extend(error.problems)
    except (MemoryError, RuntimeError) as cause:
        if not isinstance(cause, MemoryError) and _NO_MEMORY not in str(cause):
            raise
        problems.append(
            f"case '{case}': there is not enough memory to predict it; check its shape and "
            "spacing, close other programs, or use a machine with more"
        )
