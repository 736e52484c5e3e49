"""A raw dataset of generated images; see `synthetic`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.data.synthetic import Scene, SceneFamily, scene_of_case
from diffunet.data.synthetic_lung import lung_scene, render_lung
from diffunet.errors import DatasetError
from diffunet.jsonio import read_object, write_json, write_text
from diffunet.randomness import numpy_generator
from diffunet.records import record_from_json
from diffunet.workspace import DATASET_FILE, PATIENTS_FILE

FAMILY_FILE = "known_truth.json"
"""In the folder of the dataset: the family of its scenes and their seed."""

IMAGE_LABELS_FILE = "image_labels.csv"

_LABEL_NAMES = ("lesion", "dark lesion")


def write_ambiguous_dataset(
    folder: Path,
    *,
    num_training: int,
    num_test: int,
    num_raters: int = 4,
    family: SceneFamily | None = None,
    channel: str = "generated image",
    seed: int = 0,
) -> None:
    """Write a raw dataset with several raters into `folder`: PNG images, or NIfTI volumes.

    Two neighbouring cases each belong to one patient.

    Args:
        channel: its name, which decides how images are normalised. Grey values mean the same in
            every image, as those of "CT" do.
    """
    family = family or SceneFamily()
    _write_rated(
        folder,
        scenes={
            case: scene_of_case(case, family, seed=seed)
            for case in _cases_of_parts(num_training, num_test)
        },
        render=Scene.render,
        num_training=num_training,
        num_raters=num_raters,
        seed=seed,
        channel=channel,
        labels=_LABEL_NAMES[: family.num_labels],
    )
    write_json(folder / FAMILY_FILE, _KnownTruth(family=family, seed=seed))


def write_lung_dataset(
    folder: Path, *, num_training: int, num_test: int, num_raters: int = 4, seed: int = 0
) -> None:
    """Write a raw dataset of PNG images into `folder` that look like CT around a lung nodule.

    Two neighbouring cases each belong to one patient.
    """
    cases = _cases_of_parts(num_training, num_test)
    _write_rated(
        folder,
        scenes={case: lung_scene(case, seed=seed) for case in cases},
        render=render_lung,
        num_training=num_training,
        num_raters=num_raters,
        seed=seed,
        channel="generated CT slice",
        labels=["nodule"],
    )


def write_tagged_dataset(
    folder: Path,
    *,
    num_training: int,
    num_test: int,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
) -> None:
    """Write a raw dataset of PNG images into `folder` of which it is known which show a lesion.

    About half of them do. Masks are written for test images alone: to the rim of the lesion's halo.
    Two neighbouring cases each belong to one patient.
    """
    family = SceneFamily(
        size=size, num_lesions=(0, 1), radius=(0.1, 0.16), presence=(0.5, 0.9), halo=(0.8, 1.0)
    )
    geometry = ImageGeometry(shape=size, spacing_mm=(1.0, 1.0), has_spacing=False)
    rows = [f"case,{_LABEL_NAMES[0]}"]
    cases = _cases_of_parts(num_training, num_test)
    for case, part in cases.items():
        scene = scene_of_case(case, family, seed=seed)
        image = scene.render(numpy_generator(seed, "drawing", case))
        write_label_map(folder / f"images{part}" / f"{case}_0000.png", image, geometry)
        if part == "Tr":
            rows.append(f"{case},{len(scene.lesions)}")
        else:
            write_label_map(folder / "labelsTs" / f"{case}.png", scene.outcomes()[-1], geometry)
    _write_patients(folder, list(cases))
    write_text(folder / IMAGE_LABELS_FILE, "\n".join(rows) + "\n")
    content = {
        "channel_names": {"0": "generated image"},
        "labels": {"background": 0, _LABEL_NAMES[0]: 1},
        "image_labels": IMAGE_LABELS_FILE,
        "numTraining": num_training,
        "file_ending": ".png",
    }
    write_json(folder / DATASET_FILE, content)


def read_family(folder: Path) -> tuple[SceneFamily, int]:
    """Return the family and the seed of a dataset that `write_ambiguous_dataset` wrote.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    path = folder / FAMILY_FILE
    content = read_object(path, DatasetError)
    known = record_from_json(_KnownTruth, content, where=str(path), error=DatasetError)
    return known.family, known.seed


def _cases_of_parts(num_training: int, num_test: int) -> dict[str, str]:
    """Return "Tr" or "Ts" of each case."""
    return {
        f"synthetic{index:04d}": "Tr" if index < num_training else "Ts"
        for index in range(num_training + num_test)
    }


def _write_rated(
    folder: Path,
    *,
    scenes: Mapping[str, Scene],
    render: Callable[[Scene, np.random.Generator], np.ndarray],
    num_training: int,
    num_raters: int,
    seed: int,
    channel: str,
    labels: Sequence[str],
) -> None:
    """Write images and the masks of raters: PNG files, or NIfTI volumes where scenes are 3D.

    Args:
        scenes: of each case; the first `num_training` are for training.
        render: makes the image of a scene.
    """
    size = next(iter(scenes.values())).family.size
    ending, is_volume = (".png", False) if len(size) == 2 else (".nii.gz", True)
    geometry = ImageGeometry(shape=size, spacing_mm=(1.0,) * len(size), has_spacing=is_volume)
    for index, (case, scene) in enumerate(scenes.items()):
        part = "Tr" if index < num_training else "Ts"
        generator = numpy_generator(seed, "drawing", case)
        image, outcomes = render(scene, generator), scene.outcomes()
        write_label_map(folder / f"images{part}" / f"{case}_0000{ending}", image, geometry)
        for rater in range(num_raters):
            path = folder / f"labels{part}" / f"{case}_r{rater:02d}{ending}"
            write_label_map(path, outcomes[scene.draw(rater, generator)], geometry)
    _write_patients(folder, list(scenes))
    content = {
        "channel_names": {"0": channel},
        "labels": {"background": 0, **{name: 1 + index for index, name in enumerate(labels)}},
        "raters": True,
        "numTraining": num_training,
        "file_ending": ending,
    }
    write_json(folder / DATASET_FILE, content)


def _write_patients(folder: Path, cases: list[str]) -> None:
    rows = [f"{case},patient{index // 2:04d}" for index, case in enumerate(cases)]
    write_text(folder / PATIENTS_FILE, "\n".join(["case,patient", *rows]) + "\n")


@dataclass(frozen=True, kw_only=True)
class _KnownTruth:
    family: SceneFamily
    seed: int
