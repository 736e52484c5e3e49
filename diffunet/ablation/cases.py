"""The cases that every variant of a sweep is predicted and scored on: the same for all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, final

import numpy as np
import torch

from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, read_label_map
from diffunet.data.raw.case_files import CaseFiles, Findings
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.data.raw.label_files import labels_by_case
from diffunet.data.raw.tables import read_rows
from diffunet.data.store.case_store import MANIFEST, CaseStore
from diffunet.errors import DatasetError, UsageError, WorkspaceError
from diffunet.inference.model import TrainedModel
from diffunet.inference.prepared import PreparedImage, read_case, stored_image
from diffunet.jsonio import hash_of
from diffunet.labels import LabelScheme
from diffunet.plans import ResolvedPlans
from diffunet.training.final_validation import (
    References,
    any_ignored,
    rater_masks,
    stored_references,
)
from diffunet.training.fold_data import IMAGES, LABELS, open_fold
from diffunet.training.validation import spread_over_patients
from diffunet.workspace import PATIENTS_FILE, TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER

CaseKind = Literal["validation", "test"]


class ScoredCases(Protocol):
    """Images, and the masks that raters drew of them.

    Attributes:
        kind: which part of the dataset.
        names: in the order in which they are predicted: any beginning has as many patients as can
            be.
        patients: of each of them.
        sources: digits that tell the files of each from any others; empty where a sweep's base,
            which may not change, has them.
    """

    @property
    def kind(self) -> CaseKind: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def patients(self) -> Mapping[str, str]: ...

    @property
    def sources(self) -> Mapping[str, str]: ...

    def image(self, case: str, model: TrainedModel) -> tuple[PreparedImage, ImageGeometry]:
        """Return an image as a model sees it, and the grid of its file."""
        ...

    def references(self, case: str, labels: LabelScheme) -> References:
        """Return the raters' masks on the grid of the file."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class ValidationCases:
    """Validation cases of a fold, from the preprocessed data."""

    folder: Path
    names: tuple[str, ...]
    patients: Mapping[str, str]
    label_maps: CaseStore
    sources: Mapping[str, str] = field(default_factory=dict)
    kind: CaseKind = "validation"

    @classmethod
    def of_fold(
        cls, plans: ResolvedPlans, preprocessed: Path, *, fold: str, num_cases: int | None
    ) -> "ValidationCases":
        """Return the first cases of the final validation.

        Args:
            num_cases: None for as many as the final validation takes.

        Raises:
            UsageError: the fold has none.
            WorkspaceError: their masks were not preprocessed.
        """
        data = open_fold(plans, preprocessed, fold=fold, device=torch.device("cpu"))
        if not data.split.val:
            raise UsageError(
                f"expected validation cases to compare the variants on, found none in the fold "
                f"'{fold}'; take a fold that has some, such as 0"
            )
        configuration = plans.configuration
        labels = preprocessed / configuration.data_identifier / LABELS
        if not (labels / MANIFEST).is_file():
            raise WorkspaceError(
                f"expected masks to score the variants by, found none in '{labels}'; run "
                "diffunet_preprocess with --with_labels, if the dataset has masks"
            )
        label_maps = CaseStore(labels)
        names = spread_over_patients(data.split.val, data.patients)
        wanted = num_cases or configuration.training.num_final_validation_cases
        return cls(
            folder=preprocessed,
            names=tuple(name for name in names if name in label_maps)[:wanted],
            patients=data.patients,
            label_maps=label_maps,
        )

    def image(self, case: str, model: TrainedModel) -> tuple[PreparedImage, ImageGeometry]:
        """Return a preprocessed image."""
        images = CaseStore(self.folder / model.configuration.data_identifier / IMAGES)
        return stored_image(images, case), images.properties(case).original_geometry

    def references(self, case: str, labels: LabelScheme) -> References:
        """Return the masks that were preprocessed."""
        return stored_references(self.label_maps, case, labels=labels)


@final
@dataclass(frozen=True, kw_only=True)
class HeldOutCases:
    """Cases of `imagesTs` and `labelsTs`, from the raw data."""

    folder: Path
    names: tuple[str, ...]
    patients: Mapping[str, str]
    images: Mapping[str, CaseFiles]
    masks: Mapping[str, tuple[Path, ...]]
    sources: Mapping[str, str]
    kind: CaseKind = "test"

    @classmethod
    def of_raw(
        cls,
        folder: Path,
        *,
        file_ending: str,
        num_channels: int,
        has_raters: bool,
        num_cases: int | None,
    ) -> "HeldOutCases":
        """Return the cases that have both images and masks, of which no voxel is read yet.

        Args:
            num_cases: None for all.

        Raises:
            DatasetError: all that is wrong with the names, or there is no such case.
        """
        found = find_input_cases(folder / TEST_IMAGES_FOLDER, file_ending, num_channels)
        findings = Findings()
        labels = folder / TEST_LABELS_FOLDER
        if not labels.is_dir():
            raise DatasetError(f"'{labels}': expected masks to score the variants by, found none")
        masks = labels_by_case(labels, file_ending, has_raters=has_raters, findings=findings)
        images = {each.case: each for each in found if each.case in masks}
        if not images:
            findings.problems.append(f"'{labels}': expected masks of '{TEST_IMAGES_FOLDER}'")
        if findings.problems:
            raise DatasetError(findings.problems)
        table = folder / PATIENTS_FILE
        rows = read_rows(table, columns=("case", "patient")) if table.is_file() else ()
        known = {row["case"]: row["patient"] for _, row in rows}
        patients = {case: known.get(case, case) for case in images}
        names = spread_over_patients(list(images), patients, name="test cases")[:num_cases]
        files = {case: (*images[case].images, *masks[case].values()) for case in names}
        return cls(
            folder=folder,
            names=names,
            patients=patients,
            images=images,
            masks={case: tuple(masks[case].values()) for case in images},
            sources={
                case: hash_of([FileState.of(path, has_time=False).digest for path in paths])
                for case, paths in files.items()
            },
        )

    def image(self, case: str, model: TrainedModel) -> tuple[PreparedImage, ImageGeometry]:
        """Read and preprocess an image."""
        return read_case(self.images[case], model=model)

    def references(self, case: str, labels: LabelScheme) -> References:
        """Read the masks of all raters."""
        maps, geometries = zip(*map(read_label_map, self.masks[case]), strict=True)
        if len({each.shape for each in maps}) > 1:
            raise DatasetError(f"case '{case}': the masks of its raters have different shapes")
        label_maps = np.stack(maps)
        return References(
            masks=rater_masks(label_maps, labels),
            ignored=any_ignored(label_maps, labels),
            spacing_mm=geometries[0].spacing_mm,
        )
