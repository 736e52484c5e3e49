"""Generated datasets to try the program on; see `synthetic`.

What they hold is known without numpy, since the help of a command tells it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Example:
    """A raw dataset that can be generated.

    Attributes:
        number, name: of the dataset, unless the user chooses others.
        summary: what it holds, in one line.
        write: fills a folder, from the folder and a seed.
        next_command: to go on with; {number} and {images} stand for the dataset's
            number and the folder of its test images.
    """

    number: int
    name: str
    summary: str
    write: Callable[[Path, int], None]
    next_command: str = "diffunet_plan_and_preprocess -d {number}"


def _several_raters(folder: Path, seed: int) -> None:
    from diffunet.data.synthetic import SceneFamily
    from diffunet.data.synthetic_dataset import write_ambiguous_dataset

    family = SceneFamily(size=(48, 48))
    write_ambiguous_dataset(folder, num_training=240, num_test=60, family=family, seed=seed)


def _volumes(folder: Path, seed: int) -> None:
    from diffunet.data.synthetic import SceneFamily
    from diffunet.data.synthetic_dataset import write_ambiguous_dataset

    family = SceneFamily(size=(24, 48, 48), radius=(0.12, 0.2), num_labels=2)
    write_ambiguous_dataset(
        folder, num_training=60, num_test=12, num_raters=2, family=family, seed=seed
    )


def _image_level_labels(folder: Path, seed: int) -> None:
    from diffunet.data.synthetic_dataset import write_tagged_dataset

    write_tagged_dataset(folder, num_training=240, num_test=40, size=(48, 48), seed=seed)


def _lung_nodules(folder: Path, seed: int) -> None:
    from diffunet.data.synthetic_dataset import write_lung_dataset

    write_lung_dataset(folder, num_training=24, num_test=12, seed=seed)


EXAMPLES = {
    "several_raters": Example(
        number=901,
        name="SeveralRaters",
        summary="300 images of 48 x 48 pixels with the masks of four raters",
        write=_several_raters,
    ),
    "volumes": Example(
        number=902,
        name="Volumes",
        summary="72 volumes of 24 x 48 x 48 voxels with two labels and two raters",
        write=_volumes,
    ),
    "image_level_labels": Example(
        number=903,
        name="ImageLevelLabels",
        summary="280 images of 48 x 48 pixels, of which it is known which show a lesion",
        write=_image_level_labels,
    ),
    "lung_nodules": Example(
        number=904,
        name="LungNodules",
        summary="36 drawings of CT slices, for the model that comes with diffunet",
        write=_lung_nodules,
        next_command="diffunet_predict -i {images} -o predictions --model lidc_nodules "
        "--save_samples",
    ),
}
"""By the word that the command takes."""
