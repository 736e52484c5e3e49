"""All training cases of a dataset into the stores of its configurations; continues where it was."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.case import CaseProperties
from diffunet.data.case_files import CaseFiles
from diffunet.data.dataset import RawDataset
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.image_labels import ImageLabels
from diffunet.data.store_writer import (
    IMAGE,
    MadeCase,
    StoredCases,
    hash_of,
    seal,
    stored_properties,
    unseal,
    write_group,
)
from diffunet.errors import PlansError
from diffunet.labels import LabelScheme
from diffunet.parallel import map_ordered
from diffunet.plans import Plans, PreprocessingPlan
from diffunet.preprocessing.case import preprocess_image, preprocess_labels
from diffunet.preprocessing.locations import foreground_locations

Progress = Callable[[Iterable[Any], int, str], Iterator[Any]]
"""Takes items, their number and a description; yields the items and shows how far it is."""

IMAGES, LABELS = "images", "labels"

# Raised whenever the same raw files and plan give other stored cases.
_PREPROCESSING_VERSION = 1
_CASES_PER_GROUP = 64
_GROUP_FILE_BYTES = 2**22
# A worker needs about a second to start; it should have more to do than that.
_FILE_BYTES_PER_PROCESS = 2**24


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """What is done to every case of a configuration."""

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
class _Case:
    """One case to be stored, and hashes of all that its stored image and labels depend on.

    Attributes:
        slice_image_labels: by slice index in file order.
        labels_source: None where its labels are not stored.
    """

    files: CaseFiles
    patient: str
    image_labels: tuple[int, ...] | None
    slice_image_labels: dict[int, tuple[int, ...]]
    image_source: str
    labels_source: str | None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Cases that are done together, and where some of them lie already."""

    cases: tuple[_Case, ...]
    stored_images: dict[str, str]
    stored_labels: dict[str, str]

    @property
    def name(self) -> str:
        first, last = self.cases[0].files.case, self.cases[-1].files.case
        return f"case '{first}'" if first == last else f"cases '{first}' to '{last}'"

    @property
    def num_file_bytes(self) -> int:
        return sum(_num_file_bytes(case) for case in self.cases)


@dataclass(frozen=True)
class _Places:
    """For each case where it was stored: the name of a shard, "" for files of its own."""

    images: dict[str, str]
    labels: dict[str, str]


def preprocess_dataset(
    dataset: RawDataset,
    plans: Plans,
    *,
    configurations: Sequence[str],
    folder: Path,
    num_processes: int,
    progress: Progress,
    with_labels: bool = False,
) -> None:
    """Preprocess the training cases for `configurations` into `folder/DATA_IDENTIFIER/`.

    What is there already, made from the same files with the same plan, is not made again; what
    belongs to no training case is removed. The stores `images` and `labels` can be opened once all
    of a configuration is done.

    Args:
        folder: of the preprocessed dataset.
        num_processes: at most; small datasets take fewer, and 0 means "in this process".
        with_labels: store label maps even where image-level labels are declared.

    Raises:
        DatasetError, DiffunetError: a faulty case, or a full disk; with the name of the case.
        PlansError: there is no such configuration, or two of the same data identifier differ.
    """
    for name in _distinct(plans, configurations):
        configuration = plans.configuration(name)
        num_slice_axes = len(plans.transpose_forward) - configuration.dimensions
        recipe = _Recipe(
            plan=configuration.preprocessing,
            transpose_forward=plans.transpose_forward,
            num_channels=dataset.num_channels,
            patch_size=(1,) * num_slice_axes + configuration.patch_size,
            labels=dataset.labels,
            folder=folder / configuration.data_identifier,
        )
        stores_labels = dataset.image_labels is None or with_labels
        cases = [
            _described(files, dataset, recipe=recipe, stores_labels=stores_labels)
            for files in dataset.training_cases
        ]
        _preprocess_cases(
            cases,
            recipe,
            num_processes=num_processes,
            progress=progress,
            description=f"preprocessing {name}",
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


def _described(
    files: CaseFiles, dataset: RawDataset, *, recipe: _Recipe, stores_labels: bool
) -> _Case:
    patient = dataset.patients.get(files.case, files.case)
    image_labels, slice_image_labels = _tags_of(files.case, dataset.image_labels)
    image_source = hash_of(
        {
            "version": _PREPROCESSING_VERSION,
            "plan": asdict(recipe.plan),
            "transpose_forward": recipe.transpose_forward,
            "files": [_fingerprint(path) for path in files.images],
            "patient": patient,
            "raters": sorted(files.labels),
            "image_labels": image_labels,
            "slice_image_labels": sorted(slice_image_labels.items()),
        }
    )
    labels_source = None
    if stores_labels and files.labels:
        labels_source = hash_of(
            {
                "image": image_source,
                "files": [(rater, _fingerprint(path)) for rater, path in _by_rater(files)],
                "labels": recipe.labels.values,
            }
        )
    return _Case(
        files=files,
        patient=patient,
        image_labels=image_labels,
        slice_image_labels=slice_image_labels,
        image_source=image_source,
        labels_source=labels_source,
    )


def _tags_of(
    case: str, image_labels: ImageLabels | None
) -> tuple[tuple[int, ...] | None, dict[int, tuple[int, ...]]]:
    if image_labels is None:
        return None, {}
    slices = image_labels.slices.get(case, ())
    tags = {index: image_labels.of(case, index) for index in slices}
    return image_labels.of(case), {index: tag for index, tag in tags.items() if tag is not None}


def _fingerprint(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns


def _preprocess_cases(
    cases: Sequence[_Case],
    recipe: _Recipe,
    *,
    num_processes: int,
    progress: Progress,
    description: str,
) -> None:
    images, labels = recipe.folder / IMAGES, recipe.folder / LABELS
    image_sources = {case.files.case: case.image_source for case in cases}
    label_sources = _label_sources(cases)
    done = _Places({}, {})
    missing = []
    stored_images, stored_labels = StoredCases.find(images), StoredCases.find(labels)
    for members in _grouped(cases, recipe):
        sources = {case.files.case: case.image_source for case in members}
        image_places = stored_images.of_group(sources)
        label_places = stored_labels.of_group(_label_sources(members))
        if image_places is not None and label_places is not None:
            done.images.update(image_places)
            done.labels.update(label_places)
            continue
        group = _Group(
            cases=tuple(members),
            stored_images=stored_images.of_cases(sources),
            stored_labels=stored_labels.of_cases(_label_sources(members)),
        )
        missing.append(group)
    if missing:
        unseal(images)
        unseal(labels)
    results = map_ordered(
        functools.partial(_preprocess_group, recipe=recipe),
        missing,
        num_processes=_worthwhile_processes(missing, num_processes),
        describe=lambda group: group.name,
    )
    num_cases = sum(len(group.cases) for group in missing)
    for places, _ in progress(_once_per_case(results), num_cases, description):
        done.images.update(places.images)
        done.labels.update(places.labels)
    seal(images, image_sources, done.images)
    if label_sources:
        seal(labels, label_sources, done.labels)


def _label_sources(cases: Iterable[_Case]) -> dict[str, str]:
    return {case.files.case: case.labels_source for case in cases if case.labels_source is not None}


def _once_per_case(results: Iterable[_Places]) -> Iterator[tuple[_Places, str]]:
    for places in results:
        for case in places.images:
            yield places, case


def _grouped(cases: Sequence[_Case], recipe: _Recipe) -> Iterator[list[_Case]]:
    """Yield groups: a volume each, or up to 64 pictures of together up to 4 MiB of files."""
    group: list[_Case] = []
    num_bytes = 0
    for case in cases:
        size = _num_file_bytes(case)
        is_full = len(group) == _CASES_PER_GROUP or num_bytes + size > _GROUP_FILE_BYTES
        if group and (is_full or recipe.is_volume):
            yield group
            group, num_bytes = [], 0
        group.append(case)
        num_bytes += size
    if group:
        yield group


def _num_file_bytes(case: _Case) -> int:
    return sum(path.stat().st_size for path in case.files.images)


def _worthwhile_processes(groups: Sequence[_Group], num_processes: int) -> int:
    """Return how many processes have enough to do; none where one alone would have."""
    num_bytes = sum(group.num_file_bytes for group in groups)
    worthwhile = min(num_processes, num_bytes // _FILE_BYTES_PER_PROCESS)
    return worthwhile if worthwhile > 1 else 0


def _preprocess_group(group: _Group, *, recipe: _Recipe) -> _Places:
    by_name = {case.files.case: case for case in group.cases}
    image_places = write_group(
        recipe.folder / IMAGES,
        {name: case.image_source for name, case in by_name.items()},
        stored=group.stored_images,
        make=lambda name: _made_image(by_name[name], recipe),
        is_packed=not recipe.is_volume,
    )
    label_sources = _label_sources(group.cases)
    if not label_sources:
        return _Places(image_places, {})
    properties = stored_properties(recipe.folder / IMAGES, image_places)
    label_places = write_group(
        recipe.folder / LABELS,
        label_sources,
        stored=group.stored_labels,
        make=lambda name: _made_labels(by_name[name], properties[name], recipe),
        is_packed=not recipe.is_volume,
    )
    return _Places(image_places, label_places)


def _made_image(case: _Case, recipe: _Recipe) -> MadeCase:
    image, geometry = read_image(case.files.images, num_channels=recipe.num_channels)
    stored, properties = preprocess_image(
        image,
        geometry.spacing_mm,
        plan=recipe.plan,
        transpose_forward=recipe.transpose_forward,
        case=case.files.case,
    )
    properties = replace(
        properties,
        patient=case.patient,
        raters=tuple(sorted(case.files.labels)),
        image_labels=case.image_labels,
        slice_image_labels=_stored_slice_labels(case, properties, recipe=recipe),
    )
    return MadeCase(
        properties=properties, arrays={IMAGE: stored}, patch_sizes={IMAGE: recipe.patch_size}
    )


def _stored_slice_labels(
    case: _Case, properties: CaseProperties, *, recipe: _Recipe
) -> tuple[tuple[int, ...] | None, ...]:
    """Return the tags by stored slice, for a configuration of slices; see `CaseProperties`."""
    if not case.slice_image_labels or len(recipe.plan.spacing_mm) == len(properties.shape):
        return ()
    if properties.transpose_forward[0] != 0:
        raise PlansError(
            f"transpose_forward: expected [0, 1, 2], since slices have image-level labels (case "
            f"'{case.files.case}'), found {list(properties.transpose_forward)}; set it so"
        )
    first = properties.crop_box.start[0]
    return tuple(case.slice_image_labels.get(first + index) for index in range(properties.shape[0]))


def _made_labels(case: _Case, properties: CaseProperties, recipe: _Recipe) -> MadeCase:
    label_maps = np.stack([read_label_map(path)[0] for _, path in _by_rater(case.files)])
    stored = preprocess_labels(label_maps, properties)
    locations = foreground_locations(stored, recipe.labels, case=case.files.case)
    arrays = {"labels": stored, "locations": locations}
    if not properties.is_on_original_grid:
        arrays["reference"] = label_maps.astype(stored.dtype)
    return MadeCase(properties=properties, arrays=arrays, patch_sizes={"labels": recipe.patch_size})


def _by_rater(files: CaseFiles) -> list[tuple[str, Path]]:
    return sorted(files.labels.items())
