"""The cases to preprocess, in groups, with hashes of everything that they depend on."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.dataset_state import case_state, tags_of
from diffunet.data.store.store_writer import is_complete
from diffunet.jsonio import hash_of
from diffunet.labels import LabelScheme
from diffunet.plans import PreprocessingPlan

# Raised whenever the same raw files and plan give other stored values; a note about them that a
# training does not depend on (`CaseProperties.place`) raises it not.
_PREPROCESSING_VERSION = 1
_CASES_PER_GROUP = 64
_GROUP_FILE_BYTES = 2**22


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to every case of a configuration.

    Attributes:
        patch_size: one value per axis of an image, 1 along the axis that a 2d configuration slices.
        folder: of the two stores.
    """

    plan: PreprocessingPlan
    transpose_forward: tuple[int, ...]
    num_channels: int
    patch_size: tuple[int, ...]
    labels: LabelScheme
    folder: Path

    @property
    def is_volume(self) -> bool:
        return len(self.transpose_forward) > 2


@dataclass(frozen=True, kw_only=True)
class Job:
    """One case to be stored, and hashes of all that its stored image and labels depend on.

    Attributes:
        num_file_bytes: of the image.
        slice_image_labels: by slice index in file order.
        labels_source: None where its labels are not stored.
    """

    files: CaseFiles
    num_file_bytes: int
    patient: str
    image_labels: tuple[int, ...] | None
    slice_image_labels: dict[int, tuple[int, ...]]
    image_source: str
    labels_source: str | None


@dataclass(frozen=True, kw_only=True)
class JobGroup:
    """Cases that are done together, and where some of them lie already."""

    jobs: tuple[Job, ...]
    stored_images: dict[str, str]
    stored_labels: dict[str, str]

    @property
    def name(self) -> str:
        first, last = self.jobs[0].files.case, self.jobs[-1].files.case
        return f"case '{first}'" if first == last else f"cases '{first}' to '{last}'"

    @property
    def is_done(self) -> bool:
        has_images = is_complete(image_sources(self.jobs), self.stored_images)
        return has_images and is_complete(label_sources(self.jobs), self.stored_labels)


def job_of(files: CaseFiles, dataset: RawDataset, *, recipe: Recipe, stores_labels: bool) -> Job:
    """Return the job of a case; reads only size, time and ends of its files.

    Raises:
        DatasetError: a file cannot be read.
    """
    patient = dataset.patients.get(files.case, files.case)
    image_labels, slice_image_labels = tags_of(files.case, dataset.image_labels)
    state = case_state(files, dataset, with_masks=stores_labels)
    masks = state.pop("masks", None)
    image_source = hash_of(
        {
            "version": _PREPROCESSING_VERSION,
            "plan": asdict(recipe.plan),
            "transpose_forward": recipe.transpose_forward,
            "state": state,
        }
    )
    labels_source = None
    if masks:
        labels_source = hash_of(
            {"image": image_source, "files": masks, "labels": recipe.labels.values}
        )
    return Job(
        files=files,
        num_file_bytes=sum(path.stat().st_size for path in files.images),
        patient=patient,
        image_labels=image_labels,
        slice_image_labels=slice_image_labels,
        image_source=image_source,
        labels_source=labels_source,
    )


def image_sources(jobs: Iterable[Job]) -> dict[str, str]:
    """Return case to hash of all that its stored image depends on."""
    return {job.files.case: job.image_source for job in jobs}


def label_sources(jobs: Iterable[Job]) -> dict[str, str]:
    """Return case to hash of all that its stored labels depend on, where they are stored."""
    return {job.files.case: job.labels_source for job in jobs if job.labels_source is not None}


def grouped(jobs: Iterable[Job], *, is_volume: bool) -> Iterator[tuple[Job, ...]]:
    """Yield groups: a volume each, or up to 64 pictures of together up to 4 MiB of files."""
    group: list[Job] = []
    num_bytes = 0
    for job in jobs:
        num_bytes += job.num_file_bytes
        is_full = len(group) == _CASES_PER_GROUP or num_bytes > _GROUP_FILE_BYTES
        if group and (is_full or is_volume):
            yield tuple(group)
            group, num_bytes = [], job.num_file_bytes
        group.append(job)
    if group:
        yield tuple(group)
