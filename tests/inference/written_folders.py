"""Folders of predictions as `diffunet_predict` leaves them, with masks that a test chooses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.image_io import ImageGeometry, read_label_map, write_label_map
from diffunet.data.raw.case_files import CaseFiles
from diffunet.inference.fuse import Votes
from diffunet.inference.output import OutputFolder
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from tests.inference.models import dataset_content

NONE = "0000"


@dataclass(frozen=True)
class Model:
    """What a folder tells of the model that wrote it."""

    dataset_content: dict[str, Any]

    @property
    def labels(self) -> LabelScheme:
        return LabelScheme.from_dataset_json(self.dataset_content)

    @property
    def file_ending(self) -> str:
        return self.dataset_content["file_ending"]

    def sign(self, folder: Path) -> None:
        write_json(folder / "plans.resolved.json", {})


def label_map(text: str) -> np.ndarray:
    """Return "0110 2000" as a label map of two rows, "01 00/11 00" as one of two slices."""
    slices = [[[int(digit) for digit in row] for row in part.split()] for part in text.split("/")]
    return np.array(slices if len(slices) > 1 else slices[0], np.uint8)


def geometry_of(
    array: np.ndarray, *, spacing_mm: Sequence[float] = (), origin: Sequence[float] = ()
) -> ImageGeometry:
    return ImageGeometry(
        shape=array.shape,
        spacing_mm=tuple(spacing_mm) or (1.0,) * array.ndim,
        has_spacing=bool(spacing_mm),
        origin=tuple(origin) or None,
        direction=tuple(np.eye(array.ndim).ravel().tolist()) if origin else None,
    )


def write_predictions(
    folder: Path,
    cases: Mapping[str, Sequence[str]],
    *,
    method: str = "diffusion",
    saves_samples: bool = True,
    content: dict[str, Any] | None = None,
    spacing_mm: Sequence[float] = (),
    origin: Sequence[float] = (),
) -> Path:
    """Write the samples of cases, and what they have in common."""
    model = Model(content or dataset_content())
    settings = {"dataset": "Dataset999_Small", "method": method, "model": folder.name}
    output = OutputFolder(folder, model=model, settings=settings)
    output.begin(is_alone=True)
    for case, texts in cases.items():
        output.begin_case(CaseFiles(case=case, images=()))
        maps = [label_map(text) for text in texts]
        geometry = geometry_of(maps[0], spacing_mm=spacing_mm, origin=origin)
        masks = [model.labels.masks(each) for each in maps]
        votes = Votes.none_of(
            masks[0].shape, num_samples=len(masks), is_exclusive=not model.labels.is_regions
        )
        for number, each in enumerate(masks):
            votes.add(each)
            if saves_samples:
                output.write_sample(case, number, each, geometry)
        output.write_maps(case, votes, geometry, has_probabilities=False)
        output.write_record(case, {"seconds": 1.0, "volumes": {}}, geometry)
    output.gather()
    return folder


def write_references(
    folder: Path, cases: Mapping[str, Sequence[str]], *, file_ending: str = ".png"
) -> Path:
    """Write label maps, one per rater; of a single rater without its name."""
    for case, texts in cases.items():
        for rater, text in enumerate(texts):
            name = case if len(texts) == 1 else f"{case}_r{rater:02d}"
            array = label_map(text)
            write_label_map(folder / f"{name}{file_ending}", array, geometry_of(array))
    return folder


def read_text(path: Path) -> str:
    """Return a label map as `label_map` takes it."""
    array = read_label_map(path)[0]
    slices = array if array.ndim == 3 else array[None]
    return "/".join(" ".join("".join(map(str, row)) for row in part) for part in slices)


def samples_in(folder: Path, case: str) -> list[str]:
    """Return the samples of a case, in their order."""
    return [read_text(path) for path in sorted((folder / "samples").glob(f"{case}_s*"))]
