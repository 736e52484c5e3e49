"""All training cases of a dataset into the stores of its configurations; continues where it was."""

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.image_io.geometry import in_words
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.dataset_state import DatasetState
from diffunet.data.store.case import CaseProperties, FilePlace
from diffunet.data.store.store_writer import (
    IMAGE,
    MadeCase,
    StoredCases,
    seal,
    stored_properties,
    unseal,
    write_group,
)
from diffunet.errors import PlansError, WorkspaceError
from diffunet.labels import LabelScheme
from diffunet.names import require_names_on
from diffunet.parallel import Progress, map_ordered
from diffunet.parts import ALL, Part
from diffunet.plans import Plans
from diffunet.preprocessing.case import preprocess_image, preprocess_labels
from diffunet.preprocessing.jobs import (
    Job,
    JobGroup,
    Recipe,
    grouped,
    image_sources,
    job_of,
    label_sources,
)
from diffunet.preprocessing.locations import foreground_locations
from diffunet.preprocessing.recipe import recipe_of
from diffunet.workspace import DATASET_FILE

logger = logging.getLogger(__name__)

IMAGES, LABELS = "images", "labels"

# A worker needs about a second to start; it should have more to do than that.
_FILE_BYTES_PER_PROCESS = 2**24

LostLabels = dict[str, list[set[str]]]
"""By case, and for each of its masks: names of labels that preprocessing lost."""

_MOST_LABELS_TOLD = 3
_NUM_LABEL_VALUES = 2**16  # that a label map may hold


@dataclass(frozen=True)
class _Places:
    """For each case where it was stored: the name of a shard, "" for files of its own.

    Attributes:
        lost_labels: by case, of each mask the names of labels that no voxel of it has any more on
            the stored grid, though its file has them.
    """

    images: dict[str, str]
    labels: dict[str, str]
    lost_labels: LostLabels = field(default_factory=dict)


def preprocess_dataset(
    dataset: RawDataset,
    plans: Plans,
    *,
    configurations: Sequence[str],
    folder: Path,
    num_processes: int,
    progress: Progress,
    with_labels: bool = False,
    part: Part = ALL,
) -> None:
    """Preprocess the training cases for `configurations` into `folder/DATA_IDENTIFIER/`.

    What is there already, made from the same files with the same plan, is not made again; what
    belongs to no training case is removed. The stores `images` and `labels` can be opened once all
    of a configuration is done.

    Args:
        folder: of the preprocessed dataset.
        num_processes: at most; small datasets take fewer, and 0 means "in this process".
        with_labels: store label maps even where image-level labels are declared.
        part: of the cases, where several jobs share the work; the last one to end completes the
            stores.

    Raises:
        DatasetError, DiffunetError: a faulty case, or a full disk; with the name of the case.
        PlansError: there is no such configuration, two of the same data identifier differ, or the
            dataset has other channels.
        WorkspaceError: the disk does not take the name of a case, or tell two of them apart.
    """
    cases = [files.case for files in dataset.training_cases]
    require_names_on(folder, cases, what="cases", error=WorkspaceError)
    names = _distinct(plans, configurations)
    _check_channels(plans, names, dataset)
    data = DatasetState.of(dataset).digest
    for name in names:
        configuration = plans.configuration(name)
        num_slice_axes = len(plans.transpose_forward) - configuration.dimensions
        recipe = Recipe(
            plan=configuration.preprocessing,
            transpose_forward=plans.transpose_forward,
            num_channels=dataset.num_channels,
            patch_size=(1,) * num_slice_axes + configuration.patch_size,
            labels=dataset.labels,
            folder=folder / configuration.data_identifier,
        )
        stores_labels = dataset.image_labels is None or with_labels
        jobs = [
            job_of(files, dataset, recipe=recipe, stores_labels=stores_labels)
            for files in dataset.training_cases
        ]
        _preprocess_jobs(
            jobs,
            recipe,
            num_processes=num_processes,
            progress=progress,
            description=f"preprocessing {name}",
            data=data,
            part=part,
        )


def _check_channels(plans: Plans, configurations: Sequence[str], dataset: RawDataset) -> None:
    for name in configurations:
        num_planned = len(plans.configuration(name).preprocessing.normalization)
        if num_planned != dataset.num_channels:
            raise PlansError(
                f"the plans '{plans.plans_name}' are for {num_planned} channels, found "
                f"{dataset.num_channels} in '{dataset.folder / DATASET_FILE}' "
                f"({', '.join(dataset.channel_names)}); run diffunet_plan_and_preprocess: it "
                "measures and plans anew"
            )


def _distinct(plans: Plans, configurations: Sequence[str]) -> list[str]:
    """Return one configuration per data identifier, having checked that the others are alike."""
    first: dict[str, str] = {}
    for name in configurations:
        configuration = plans.configuration(name)
        other_name = first.setdefault(configuration.data_identifier, name)
        if plans.configuration(other_name).preprocessing != configuration.preprocessing:
            raise PlansError(
                f"configurations.{name}.data_identifier: '{configuration.data_identifier}' is also "
                f"that of '{other_name}', but their 'preprocessing' differs; give one another name"
            )
    return list(first.values())


def _preprocess_jobs(
    jobs: Sequence[Job],
    recipe: Recipe,
    *,
    num_processes: int,
    progress: Progress,
    description: str,
    data: str,
    part: Part,
) -> None:
    groups = _found_groups(jobs, recipe)
    missing = [group for group in part.of(groups) if not group.is_done]
    if missing:
        unseal(recipe.folder / IMAGES)
        unseal(recipe.folder / LABELS)
    results = map_ordered(
        functools.partial(_preprocess_group, recipe=recipe),
        missing,
        num_processes=_worthwhile_processes(missing, num_processes),
        describe=lambda group: group.name,
    )
    num_cases = sum(len(group.jobs) for group in missing)
    places = [
        _Places(group.stored_images, group.stored_labels) for group in groups if group.is_done
    ]
    places += progress(_once_per_case(results), num_cases, description)
    lost_labels = {case: names for each in places for case, names in each.lost_labels.items()}
    _warn_of_lost_labels(lost_labels, recipe)
    if not part.is_all:
        groups = _found_groups(jobs, recipe, checks=False)
        num_left = sum(len(group.jobs) for group in groups if not group.is_done)
        if num_left:
            logger.info(
                "%s: part %d of %d is done, and %d cases of other parts are not; the last part to "
                "end completes '%s'; so does a run without -num_parts",
                description,
                part.part_id,
                part.num_parts,
                num_left,
                recipe.folder,
            )
            return
        places = [_Places(group.stored_images, group.stored_labels) for group in groups]
    _seal(jobs, places, recipe, data=data)


def _found_groups(jobs: Sequence[Job], recipe: Recipe, *, checks: bool = True) -> list[JobGroup]:
    """Return the jobs in groups, with what is stored already."""
    stored_images = StoredCases.find(recipe.folder / IMAGES, checks=checks)
    stored_labels = StoredCases.find(recipe.folder / LABELS, checks=checks)
    return [
        JobGroup(
            jobs=members,
            stored_images=stored_images.of_group(image_sources(members)),
            stored_labels=stored_labels.of_group(label_sources(members)),
        )
        for members in grouped(jobs, is_volume=recipe.is_volume)
    ]


def _seal(jobs: Sequence[Job], places: Iterable[_Places], recipe: Recipe, *, data: str) -> None:
    """Declare both stores complete."""
    image_places: dict[str, str] = {}
    label_places: dict[str, str] = {}
    for each in places:
        image_places |= each.images
        label_places |= each.labels
    made = functools.partial(
        recipe_of, recipe.plan, transpose_forward=recipe.transpose_forward, data=data
    )
    seal(recipe.folder / IMAGES, image_sources(jobs), image_places, recipe=made(labels=None))
    if label_places:
        labels = recipe.folder / LABELS
        seal(labels, label_sources(jobs), label_places, recipe=made(labels=recipe.labels))


def _once_per_case(results: Iterable[_Places]) -> Iterator[_Places]:
    """Yield the places of a group as often as it has cases, so that progress counts cases."""
    for places in results:
        for _ in places.images:
            yield places


def _worthwhile_processes(groups: Sequence[JobGroup], num_processes: int) -> int:
    """Return how many processes have enough to do; none where one alone would have."""
    num_bytes = sum(job.num_file_bytes for group in groups for job in group.jobs)
    worthwhile = min(num_processes, num_bytes // _FILE_BYTES_PER_PROCESS)
    return worthwhile if worthwhile > 1 else 0


def _preprocess_group(group: JobGroup, *, recipe: Recipe) -> _Places:
    by_case = {job.files.case: job for job in group.jobs}
    image_places = write_group(
        recipe.folder / IMAGES,
        image_sources(group.jobs),
        stored=group.stored_images,
        make=lambda case: _made_image(by_case[case], recipe),
        is_packed=not recipe.is_volume,
    )
    sources = label_sources(group.jobs)
    if not sources:
        return _Places(image_places, {})
    properties = stored_properties(recipe.folder / IMAGES, image_places)
    lost_labels: LostLabels = {}
    label_places = write_group(
        recipe.folder / LABELS,
        sources,
        stored=group.stored_labels,
        make=lambda case: _made_labels(
            by_case[case], properties[case], recipe=recipe, lost_labels=lost_labels
        ),
        is_packed=not recipe.is_volume,
    )
    return _Places(image_places, label_places, lost_labels)


def _made_image(job: Job, recipe: Recipe) -> MadeCase:
    image, geometry = read_image(job.files.images, num_channels=recipe.num_channels)
    stored, properties = preprocess_image(
        image,
        geometry.spacing_mm,
        plan=recipe.plan,
        transpose_forward=recipe.transpose_forward,
        case=job.files.case,
    )
    properties = replace(
        properties,
        patient=job.patient,
        raters=tuple(sorted(job.files.labels)),
        image_labels=job.image_labels,
        slice_image_labels=_stored_slice_labels(job, properties, recipe=recipe),
        place=FilePlace.of(geometry),
    )
    return MadeCase(
        properties=properties, arrays={IMAGE: stored}, patch_sizes={IMAGE: recipe.patch_size}
    )


def _stored_slice_labels(
    job: Job, properties: CaseProperties, *, recipe: Recipe
) -> tuple[tuple[int, ...] | None, ...]:
    """Return the tags by stored slice; () where a configuration does not work by slices."""
    if not job.slice_image_labels or len(recipe.plan.spacing_mm) == len(properties.shape):
        return ()
    if properties.transpose_forward[0] != 0:
        raise PlansError(
            f"transpose_forward: expected [0, 1, 2], since slices have image-level labels (case "
            f"'{job.files.case}'), found {list(properties.transpose_forward)}; set it so"
        )
    first = properties.crop_box.start[0]
    return tuple(job.slice_image_labels.get(first + index) for index in range(properties.shape[0]))


def _made_labels(
    job: Job,
    properties: CaseProperties,
    *,
    recipe: Recipe,
    lost_labels: LostLabels,
) -> MadeCase:
    label_maps = [read_label_map(job.files.labels[rater])[0] for rater in properties.raters]
    stored = preprocess_labels(label_maps, properties)
    locations = foreground_locations(stored, recipe.labels, case=job.files.case)
    lost_labels[job.files.case] = [
        _lost(label_map, of_rater, recipe.labels)
        for label_map, of_rater in zip(label_maps, stored, strict=True)
    ]
    arrays = {"labels": stored, "locations": locations}
    if not properties.is_on_original_grid:
        arrays["reference"] = np.stack(label_maps).astype(stored.dtype)
    return MadeCase(properties=properties, arrays=arrays, patch_sizes={"labels": recipe.patch_size})


def _lost(label_map: np.ndarray, stored: np.ndarray, labels: LabelScheme) -> set[str]:
    """Return the names of labels that the file of a mask has, and the stored one has not."""
    missing = _missing(stored, range(len(labels.names)), labels)
    gone = missing - _missing(label_map, missing, labels)
    return {labels.names[index] for index in gone}


def _missing(label_map: np.ndarray, of: Iterable[int], labels: LabelScheme) -> set[int]:
    """Return which of some labels no voxel has; one pass, however many they are."""
    wanted = set(of)
    if not wanted:
        return wanted
    is_there = np.zeros(_NUM_LABEL_VALUES, bool)
    for part in label_map:
        is_there[part] = True
    return {index for index in wanted if not is_there[list(labels.values[index])].any()}


def _warn_of_lost_labels(lost_labels: LostLabels, recipe: Recipe) -> None:
    """Say of which labels masks are too small for the spacing, so that training sees none there."""
    num_masks = sum(map(len, lost_labels.values()))
    found: list[tuple[int, str]] = []
    for name in recipe.labels.names:
        numbers = {case: sum(name in lost for lost in each) for case, each in lost_labels.items()}
        cases = sorted(case for case, number in numbers.items() if number)
        if cases:
            number = sum(numbers.values())
            where = f"of {len(cases)} of the preprocessed cases (e.g. {', '.join(cases[:3])})"
            found.append(
                (number, f"'{name}' has no voxel left in {number} of {num_masks} masks, {where}")
            )
    found.sort(key=lambda each: -each[0])
    if not found:
        return
    texts = [text for _, text in found[:_MOST_LABELS_TOLD]]
    if len(found) > len(texts):
        texts.append(f"and the like of {len(found) - len(texts)} more")
    logger.warning(
        "label %s: too small for a spacing of %s mm, or where the image is 0 all around; training "
        "takes it for absent there, as if who drew the mask had seen nothing; plan with a finer "
        "spacing (-overwrite_target_spacing), look at the masks, or accept it",
        "; ".join(texts),
        in_words(recipe.plan.spacing_mm),
    )
