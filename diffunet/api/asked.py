"""Which folds are to be trained, where, and by which plans: asked for, or of a begun training."""

import glob
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from diffunet.arguments import labels_of, plans_of
from diffunet.durations import in_words
from diffunet.errors import DatasetError, DiffunetError, UsageError
from diffunet.jsonio import as_json, read_json
from diffunet.methods import METHODS
from diffunet.names import is_fold, require_fold
from diffunet.planning.cost import measure_work
from diffunet.planning.sizes import may_be_resized, with_size
from diffunet.planning.training import fit_to_iterations
from diffunet.plans import ResolvedPlans
from diffunet.plans.differences import differences
from diffunet.plans.edits import edited_fields, knows_edits
from diffunet.plans.presets import Size
from diffunet.plans.settings import value_at, without_size
from diffunet.training.begun import BegunTraining, begun_training
from diffunet.training.state import BEST, FINAL, LATEST
from diffunet.workspace import (
    DEFAULT_PLANS_NAME,
    RESOLVED_PLANS_FILE,
    SPLITS_FILE,
    Workspace,
)

logger = logging.getLogger(__name__)

ALL_FOLDS = "all_folds"


@dataclass(frozen=True, kw_only=True)
class AskedTraining:
    """What a user says of a training; None where nothing is said.

    Attributes:
        settings: of `--set`, a size among them.
        is_small_by_default: there is no GPU, so that a training of which nothing is said is a
            laptop's.
    """

    place: Workspace
    dataset: str
    configuration: str | None
    method: str | None
    plans_name: str
    settings: Sequence[str]
    seed: int | None
    is_small_by_default: bool = False

    def planned(self, fold: str = "") -> tuple[ResolvedPlans, Path]:
        """Return the plans of the dataset with the settings, and the folder of their model.

        Args:
            fold: that is trained by them; what was trained of it before says nothing.
        """
        preprocessed = self.place.preprocessed / self.dataset
        plans = plans_of(preprocessed, self.plans_name)
        path = preprocessed / f"{self.plans_name}.json"
        size, settings = without_size(self.settings)
        resolved = plans.resolve(
            self.configuration,
            method=self.method,
            settings=settings,
            edited=edited_fields(path, configuration=self.configuration),
        )
        folder = self.place.model_folder(
            self.dataset,
            method=resolved.method,
            plans=self.plans_name,
            configuration=resolved.configuration_name,
        )
        reason = "Chosen by the user."
        if size is None:
            size, reason = self._usual_size(resolved, folder, fold)
        if size != "default":
            own = plans.resolve(self.configuration, method=self.method).configuration
            resolved = with_size(
                resolved,
                size,
                labels=labels_of(preprocessed),
                input_scale=own.diffusion.input_scale,
            )
            resolved = replace(resolved, reasons={**resolved.reasons, "size": reason})
        return fit_to_iterations(resolved), folder

    def _usual_size(self, plans: ResolvedPlans, folder: Path, fold: str) -> tuple[Size, str]:
        """Return the size of a training of which the user says none, and why.

        Args:
            plans: as planned.
            folder: of the model, whose folds should fit together.
            fold: that is trained.
        """
        others = _plans_of_folds(folder, but=fold)
        sizes: dict[str, Size] = {name: each.size for name, each in others.items()}
        if len(set(sizes.values())) == 1:
            other, size = next(iter(sizes.items()))
            return size, f"As {other} of the same model."
        preprocessed = self.place.preprocessed / self.dataset
        knows = knows_edits(preprocessed / f"{self.plans_name}.json")
        if not (self.is_small_by_default and knows and may_be_resized(plans)):
            return "default", "As planned."
        work = measure_work(plans, labels_of(preprocessed))
        return "laptop", (
            "Without a GPU, the planned training would take an estimated "
            f"{in_words(work.of_training(plans.configuration))} on two cores, and nothing was said "
            "of its size or length; --preset default trains as planned."
        )

    def begun_folders(self, fold: str, *, only_validates: bool) -> list[Path]:
        """Return the model folders that hold a training of `fold` and agree with what is said.

        Those that hold plans alone, since it ended before it saved weights, count if there are no
        others.
        """
        names = (FINAL, LATEST, BEST) if only_validates else (LATEST,)
        plans = "*" if self.plans_name == DEFAULT_PLANS_NAME else glob.escape(self.plans_name)
        parts = [glob.escape(each) if each else "*" for each in (self.method, self.configuration)]
        pattern = f"{parts[0]}__{plans}__{parts[1]}/fold_{fold}"
        found = sorted((self.place.results / self.dataset).glob(pattern))
        begun = [each.parent for each in found if any((each / name).exists() for name in names)]
        if begun or only_validates:
            return begun
        return [each.parent for each in found if (each / RESOLVED_PLANS_FILE).is_file()]


@dataclass(frozen=True, kw_only=True)
class PlannedFold:
    """A fold that is to be trained.

    Attributes:
        is_begun: there are weights to go on with.
        is_finished: and nothing is left to do.
    """

    fold: str
    folder: Path
    plans: ResolvedPlans
    seed: int
    is_begun: bool
    is_finished: bool


def folds_of(asked: int | str | Sequence[int | str], preprocessed_folder: Path) -> tuple[str, ...]:
    """Return the names of folds; of "all_folds" those that the splits have.

    Raises:
        UsageError: one is none, or named twice.
        DatasetError: "all_folds", and there are no splits.
    """
    if asked == ALL_FOLDS or list(asked if isinstance(asked, Sequence) else []) == [ALL_FOLDS]:
        again = f"write it with diffunet_plan_and_preprocess -d {preprocessed_folder.name}"
        splits = read_json(preprocessed_folder / SPLITS_FILE, DatasetError, remedy=again)
        if not isinstance(splits, list) or not splits:
            raise DatasetError(
                f"'{preprocessed_folder / SPLITS_FILE}' has no folds; train with the fold 'all'"
            )
        return tuple(str(number) for number in range(len(splits)))
    given = [asked] if isinstance(asked, int | str) else list(asked)
    names = tuple(require_fold(each, error=UsageError) for each in given)
    if not names or len(set(names)) < len(names):
        raise UsageError(f"expected folds, each once, got {', '.join(names) or 'none'}")
    return names


def plan_fold(
    asked: AskedTraining, fold: str, *, goes_on: bool, only_validates: bool = False
) -> PlannedFold:
    """Return how a fold is to be trained.

    Args:
        goes_on: by the plans and the seed that it began with, if it has begun.
        only_validates: it goes on with its final validation alone.

    Raises:
        UsageError: several trainings of the fold have begun, and none is the recommended one.
        PlansError, WorkspaceError, CheckpointError: plans or checkpoints cannot be read.
    """
    begun = asked.begun_folders(fold, only_validates=only_validates) if goes_on else []
    if len(begun) == 1:
        model_folder, resolved = begun[0], None
    else:
        resolved, model_folder = asked.planned(fold)
        if begun and model_folder not in begun:
            listing = ", ".join(path.name for path in begun)
            raise UsageError(
                f"fold {fold} was trained as {listing}; say with -m, -p and -c which to go on with"
            )
    folder = model_folder / f"fold_{fold}"
    training = begun_training(folder, only_validates=only_validates)
    if training is None or not goes_on:
        resolved = resolved or asked.planned(fold)[0]
        seed = 0 if asked.seed is None else asked.seed
        is_finished = training is not None and training.is_finished
        _warn_of_unlike_folds(model_folder, fold, resolved)
    else:
        size, settings = without_size(asked.settings)
        if size not in (None, training.plans.size):
            raise UsageError(
                f"the training of fold {fold} began with the preset {training.plans.size}, and "
                f"cannot go on with {size}; leave the preset out, or train anew in another folder"
            )
        resolved = training.plans.with_settings(settings)
        seed = training.seed if asked.seed is None else asked.seed
        if not training.has_weights:
            _begin_again(training, fold)
        is_same = as_json(resolved)["configuration"] == as_json(training.plans)["configuration"]
        is_finished = training.is_finished and is_same and seed == training.seed
        _warn_of_other_plans(asked, training.plans)
    return PlannedFold(
        fold=fold,
        folder=folder,
        plans=resolved,
        seed=seed,
        is_begun=training is not None and training.has_weights,
        is_finished=is_finished,
    )


def _begin_again(training: BegunTraining, fold: str) -> None:
    """Say that a training starts once more as it began, since it has saved no weights.

    Raises:
        UsageError: it began from weights that are not at hand now.
    """
    if training.pretrained_weights:
        raise UsageError(
            f"the training of fold {fold} began from '{training.pretrained_weights}' and has saved "
            "no weights of its own; train it again without --c, and with -pretrained_weights"
        )
    logger.info("fold %s has saved no weights yet; it keeps the plans that it began with", fold)


def refuse_interrupted(planned: Sequence[PlannedFold]) -> None:
    """Check that none of several folds was left in the midst of its training.

    Raises:
        UsageError: some were.
    """
    names = [each.fold for each in planned if each.is_begun and not each.is_finished]
    if names:
        raise UsageError(
            f"the training of fold {', '.join(names)} was interrupted; continue it, and train the "
            "others, with --c, or remove its folder"
        )


def _plans_of_folds(folder: Path, *, but: str) -> dict[str, ResolvedPlans]:
    """Return the plans of a model's folds but one; those that cannot be read are left out."""
    plans: dict[str, ResolvedPlans] = {}
    for file in sorted(folder.glob(f"fold_*/{RESOLVED_PLANS_FILE}")):
        name = file.parent.name.removeprefix("fold_")
        if name == but or not is_fold(name):
            continue
        try:
            plans[file.parent.name] = ResolvedPlans.load(file)
        except DiffunetError as cause:
            logger.warning("another fold of the same model cannot be read: %s", cause)
    return plans


def _warn_of_unlike_folds(folder: Path, fold: str, plans: ResolvedPlans) -> None:
    """Say that a fold that begins cannot predict together with others of its model."""
    fields = METHODS[plans.method].weight_fields
    for name, other in _plans_of_folds(folder, but=fold).items():
        unlike = [
            field
            for field in fields
            if attrgetter(field)(plans.configuration) != attrgetter(field)(other.configuration)
        ]
        if unlike:
            logger.warning(
                "fold %s is to be trained with another %s than %s of the same model, and cannot "
                "predict together with it: train all folds alike",
                fold,
                " and ".join(unlike),
                name,
            )


def _warn_of_other_plans(asked: AskedTraining, own: ResolvedPlans) -> None:
    """Say that the dataset's plans are not what a training began with; it keeps its own."""
    folder = asked.place.preprocessed / asked.dataset
    content = as_json(own.configuration)
    users = {path: value_at(content, path) for path in own.set_by_user}
    settings = [
        f"{path}={json.dumps(value)}"
        for path, value in users.items()
        if value is not None and not isinstance(value, dict)
    ]
    try:
        plans = plans_of(folder, own.plans_name)
        now = plans.resolve(own.configuration_name, method=own.method, settings=settings)
        planned = plans.resolve(own.configuration_name, method=own.method).configuration
        now = with_size(
            now, own.size, labels=labels_of(folder), input_scale=planned.diffusion.input_scale
        )
    except DiffunetError:
        return
    now = fit_to_iterations(now).configuration
    changed = differences(as_json(own.configuration), as_json(now))
    names = [name for name in changed if not own.is_set_by_user(name)]
    if names:
        logger.warning(
            "the plans '%s' have changed since this training began (%s); it goes on with its own",
            own.plans_name,
            ", ".join(names),
        )
