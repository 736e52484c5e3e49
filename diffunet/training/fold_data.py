"""What one fold trains and validates on."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces
from diffunet.data.raw.case_files import listing
from diffunet.data.raw.splits import Split, load_splits
from diffunet.data.store.case import CaseProperties
from diffunet.data.store.case_store import MANIFEST, CaseStore
from diffunet.errors import DatasetError, WorkspaceError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.fingerprint.traps import seem_to_be_people
from diffunet.inference.compute import Compute
from diffunet.jsonio import hash_of
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS, Supervision, methods_that_learn_from
from diffunet.names import require_fold
from diffunet.plans import AugmentationPlan, ResolvedPlans
from diffunet.preprocessing.recipe import check_recipe, warn_of_other_data
from diffunet.training.model_folder import preprocessed_description
from diffunet.workspace import FINGERPRINT_FILE, SPLITS_FILE

logger = logging.getLogger(__name__)

IMAGES, LABELS = "images", "labels"


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """The stores and the split of a fold.

    Attributes:
        label_maps: None for a method that learns from image-level labels: never opened.
        patients: of every case.
        labels: of the dataset.
        dataset_content: of `dataset.json`.
        compute: where validation runs the networks; in float32, as prediction does by default.
    """

    plans: ResolvedPlans
    images: CaseStore
    label_maps: CaseStore | None
    split: Split
    patients: dict[str, str]
    labels: LabelScheme
    dataset_content: dict[str, Any]
    compute: Compute

    @property
    def num_channels(self) -> int:
        """Of an image."""
        return len(self.plans.configuration.preprocessing.normalization)

    def build_model(self) -> nn.Module:
        """Return the model that learns from the fold, with random weights."""
        return METHODS[self.plans.method].build_model(
            self.plans.configuration, num_image_channels=self.num_channels, labels=self.labels
        )

    def training_patches(
        self, augmentation: AugmentationPlan, *, seed: int, all_raters: bool
    ) -> PatchSampler:
        """Return what draws patches of the training cases, and changes them at random.

        Args:
            augmentation: all of it; what a GPU does to whole batches is left to it.
            all_raters: read the masks of all of them, not of the one that is drawn.
        """
        configuration = self.plans.configuration
        if self.compute.device.type == "cuda":
            augmentation = augmentation.before_batching()
        places = PatchPlaces(
            self.images,
            self.label_maps,
            cases=self.split.train,
            configuration=dataclasses.replace(configuration, augmentation=augmentation),
            batch_size=configuration.training.batch_size,
            seed=seed,
        )
        return PatchSampler(places, all_raters=all_raters)

    def content(self) -> dict[str, str]:
        """Return for each case of the fold digits that tell what is trained or validated on.

        They depend on the stored values and on the role of the case, not on when or from which
        files it was made.
        """
        stores = [store for store in (self.images, self.label_maps) if store is not None]
        return {
            case: hash_of([part, *(store.content_of(case) for store in stores)])
            for part, cases in (("train", self.split.train), ("val", self.split.val))
            for case in cases
        }


def open_fold(
    plans: ResolvedPlans,
    preprocessed_folder: Path,
    *,
    fold: str,
    device: torch.device,
) -> FoldData:
    """Open the preprocessed data of a fold.

    Raises:
        WorkspaceError: some of it is missing, or was made with other settings than the plans'.
        DatasetError: `dataset.json` or the splits are not valid, or there is no such fold.
    """
    configuration = plans.configuration
    has_masks = METHODS[plans.method].learns_from == "masks"
    if not has_masks:
        _require_weak_plan(plans)
    content = preprocessed_description(preprocessed_folder)
    labels = LabelScheme.from_dataset_json(content)
    folder = preprocessed_folder / configuration.data_identifier
    images = CaseStore(folder / IMAGES)
    check_recipe(images, plans, labels=None)
    warn_of_other_data(images, preprocessed_folder)
    properties = {case: images.properties(case) for case in images.cases}
    label_maps = None
    if has_masks:
        label_maps = _label_maps(folder / LABELS, content, method=plans.method)
        check_recipe(label_maps, plans, labels=labels)
    else:
        _check_tags(properties, plans)
    patients = {case: each.patient for case, each in properties.items()}
    split = split_of(fold, preprocessed_folder / SPLITS_FILE, patients, store=images.folder)
    if label_maps is not None:
        _require_masks(label_maps, split, fold=fold)
        _warn_of_unseen_labels(label_maps, split.train, labels, fold=fold)
    else:
        _warn_of_one_kind(properties, split, labels, fold=fold, dimensions=configuration.dimensions)
    if configuration.diffusion.conditions_on_rater and plans.method == "diffusion":
        _warn_of_nameless_raters(preprocessed_folder)
        seen = {rater for case in split.train for rater in properties[case].raters}
        _warn_of_unseen_raters(configuration.diffusion.rater_names, seen, fold=fold)
    return FoldData(
        plans=plans,
        images=images,
        label_maps=label_maps,
        split=split,
        patients=patients,
        labels=labels,
        dataset_content=content,
        compute=Compute(device=device),
    )


def split_of(fold: str, splits_file: Path, patients: Mapping[str, str], *, store: Path) -> Split:
    """Return the cases of a fold; "all" trains on every case and validates on none.

    Args:
        patients: of every preprocessed case.
        store: the folder they lie in, for messages.

    Raises:
        DatasetError: there is no such fold, or the file of splits is not valid.
    """
    if fold == "all":
        return Split(train=tuple(patients), val=())
    splits = load_splits(
        splits_file,
        cases=patients,
        patients=patients,
        whose=f"cases that are preprocessed in '{store}'",
        remedy=(
            "run diffunet_plan_and_preprocess again: it preprocesses added cases, and takes "
            "removed ones out of the folds"
        ),
    )
    if not splits:
        raise DatasetError(
            f"there is no fold '{fold}': '{splits_file}' has no folds, as for a dataset of one "
            "patient; train with the fold 'all'"
        )
    if int(require_fold(fold, error=DatasetError)) >= len(splits):
        raise DatasetError(
            f"there is no fold '{fold}' in '{splits_file}', which has the folds 0 to "
            f"{len(splits) - 1}; choose one of them, or 'all' to train on every case"
        )
    return splits[int(fold)]


def _label_maps(folder: Path, dataset_content: Mapping[str, Any], *, method: str) -> CaseStore:
    if "image_labels" in dataset_content and not (folder / MANIFEST).is_file():
        raise WorkspaceError(
            f"the method '{method}' learns from masks, but this dataset has image-level labels, "
            f"and its masks were not preprocessed ('{folder}' is missing); run "
            f"diffunet_preprocess with --with_labels, or train with {_flags('image_labels')}"
        )
    return CaseStore(folder)


def _require_masks(label_maps: CaseStore, split: Split, *, fold: str) -> None:
    """Check that every case of a fold has masks: with image-level labels some may have none.

    Raises:
        WorkspaceError: some have none.
    """
    cases = (*split.train, *split.val)
    missing = [case for case in cases if case not in label_maps]
    if missing:
        raise WorkspaceError(
            f"fold {fold}: expected masks of its {len(cases)} cases, found none of "
            f"{len(missing)} in '{label_maps.folder}': {listing(missing)}; draw them and run "
            "diffunet_preprocess again, make a dataset of the cases that have masks, or train "
            f"with {_flags('image_labels')}"
        )


def _require_weak_plan(plans: ResolvedPlans) -> None:
    if plans.configuration.weak is not None:
        return
    if plans.configuration.dimensions == 3:
        raise WorkspaceError(
            f"the method '{plans.method}' learns from image-level labels slice by slice, found the "
            f"configuration '{plans.configuration_name}' of three-dimensional patches; "
            f"train with -c 2d, or with {_flags('masks')}"
        )
    raise WorkspaceError(
        f"the method '{plans.method}' learns from image-level labels, but the plans "
        f"'{plans.plans_name}' have none; declare 'image_labels' in dataset.json, then run "
        f"diffunet_plan_and_preprocess again, or train with {_flags('masks')}"
    )


def _warn_of_nameless_raters(preprocessed_folder: Path) -> None:
    """Warn where nothing in the masks shows that a rater's number means one person."""
    path = preprocessed_folder / FINGERPRINT_FILE
    if not path.exists():
        return
    raters = Fingerprint.load(path).raters
    if raters is not None and raters.habits is not None and not seem_to_be_people(raters.habits):
        logger.warning(
            "diffusion.conditions_on_rater is set, but no rater's number marks more or less than "
            "others throughout (p = %.2g): if you do not know that each number means the same "
            "person in all cases, leave it off; --rater would then change nothing",
            raters.habits.p_value,
        )


def _warn_of_unseen_labels(
    label_maps: CaseStore, cases: Sequence[str], labels: LabelScheme, *, fold: str
) -> None:
    """Warn of labels that nobody marked in any training case: they cannot be learned."""
    unseen = set(range(len(labels.names)))
    for case in cases:
        locations = np.asarray(label_maps.array(case, "locations")[:])
        unseen.difference_update(locations[:, 0].tolist())
        if not unseen:
            return
    names = ", ".join(f"'{labels.names[index]}'" for index in sorted(unseen))
    logger.warning(
        "fold %s: nobody marked %s in any of the %d training cases, so it cannot be learned; add "
        "cases that show it, or write splits_final.json so that each fold trains on some",
        fold,
        names,
        len(cases),
    )


def _warn_of_one_kind(
    properties: Mapping[str, CaseProperties],
    split: Split,
    labels: LabelScheme,
    *,
    fold: str,
    dimensions: int,
) -> None:
    """Warn of labels that all or none of the training images show: they cannot be learned."""
    shown = {
        properties[case].tags_of(index)
        for case in split.train
        for index in properties[case].tagged_images(dimensions)
    }
    columns = zip(*(tags for tags in shown if tags is not None), strict=True)
    for name, values in zip(labels.names, columns, strict=False):
        if len(set(values)) == 1:
            logger.warning(
                "fold %s: expected training images with and without '%s', found that %s shows it, "
                "so it cannot be learned; write splits_final.json so that each fold trains on "
                "both kinds, or train another fold",
                fold,
                name,
                "each of them" if values[0] else "none of them",
            )


def _warn_of_unseen_raters(told: Sequence[str], seen: Collection[str], *, fold: str) -> None:
    """Warn of raters who drew no training case: nothing is learned of them."""
    if unseen := [rater for rater in told if rater not in seen]:
        logger.warning(
            "fold %s: the raters %s drew none of the training cases, so --rater would draw as "
            "nobody for them; write splits_final.json so that each fold trains on cases of each",
            fold,
            ", ".join(unseen),
        )


def _flags(supervision: Supervision) -> str:
    """Return the flags for methods that learn from the given kind of labels."""
    return " or ".join(f"-m {name}" for name in methods_that_learn_from(supervision))


def _check_tags(properties: Mapping[str, CaseProperties], plans: ResolvedPlans) -> None:
    dimensions = plans.configuration.dimensions
    if not any(each.tagged_images(dimensions) for each in properties.values()):
        raise WorkspaceError(
            f"the method '{plans.method}' learns from image-level labels, but none of the "
            f"{len(properties)} preprocessed cases has one for an image of {dimensions} "
            "dimensions; declare 'image_labels' in dataset.json and run "
            "diffunet_plan_and_preprocess again, or choose another configuration (-c)"
        )
