"""From a raw dataset to preprocessed cases: check, measure, plan, preprocess."""

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from diffunet.api.raw_changes import warn_of_changes
from diffunet.arguments import (
    Dataset,
    check_planning,
    new_plans_path,
    plans_of,
    processes_of,
    workspace_of,
)
from diffunet.calls import from_python
from diffunet.data.raw.dataset import RawDataset, open_dataset
from diffunet.data.store.nnunet_files import refuse_nnunet_folder
from diffunet.errors import DatasetError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.jsonio import require_writable, write_json
from diffunet.locks import in_use
from diffunet.parallel import Progress, without_progress
from diffunet.parts import Part
from diffunet.plans import Plans
from diffunet.plans.edits import save_planned
from diffunet.workspace import (
    DATASET_FILE,
    DEFAULT_PLANS_NAME,
    FINGERPRINT_FILE,
    LABELS_FOLDER,
    SPLITS_FILE,
    STATE_FILE,
    Workspace,
)

logger = logging.getLogger(__name__)


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def alone_in_preprocessed(
    function: Callable[Parameters, Result],
) -> Callable[Parameters, Result]:
    """Hold the dataset, the first argument: meanwhile nothing else may plan or preprocess it."""

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        dataset: Any = args[0] if args else kwargs["dataset"]
        workspace: Any = kwargs.get("workspace")
        place = workspace_of(workspace)
        with in_use(place.preprocessed / place.raw_folder(dataset).name):
            return function(*args, **kwargs)

    return wrapped


@from_python
@alone_in_preprocessed
def plan_and_preprocess(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    configurations: Sequence[str] | None = None,
    checks_dataset: bool = True,
    extracts_anew: bool = False,
    preprocesses: bool = True,
    with_labels: bool = False,
    gpu_memory_gb: float = 8.0,
    target_spacing_mm: Sequence[float] | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> Plans:
    """Check a raw dataset, measure it, choose every parameter, and preprocess its training cases.

    Args:
        configurations: to preprocess; None for all that can be trained, see `preprocess`.
        extracts_anew: measure even if `dataset_fingerprint.json` is there.
        with_labels: also preprocess the masks of a dataset with image-level labels.
        target_spacing_mm: voxel size to train at, per file axis (z, y, x); None: the rule's.
        num_processes: None for as many as the machine can keep busy; 0: in this process.

    Raises:
        InUseError: another command plans or preprocesses the dataset.
        DatasetError: all faults of the dataset at once.
        WorkspaceError: there is no such dataset.
        UsageError: the name of the plans is that of another file.
    """
    check_planning(gpu_memory_gb, target_spacing_mm)
    place = workspace_of(workspace)
    new_plans_path(place.preprocessed / place.raw_folder(dataset).name, plans_name)
    shared: dict[str, Any] = {"num_processes": num_processes, "progress": progress}
    extract_fingerprint(
        dataset,
        workspace=place,
        checks_dataset=checks_dataset,
        extracts_anew=extracts_anew,
        **shared,
    )
    plans = plan_experiment(
        dataset,
        workspace=place,
        gpu_memory_gb=gpu_memory_gb,
        target_spacing_mm=target_spacing_mm,
        plans_name=plans_name,
    )
    if preprocesses:
        preprocess(
            dataset,
            workspace=place,
            configurations=configurations,
            plans_name=plans_name,
            with_labels=with_labels,
            **shared,
        )
    return plans


@from_python
def verify_dataset(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    checks_labels: bool | None = None,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> None:
    """Check a raw dataset, and log what is doubtful.

    Args:
        checks_labels: open label files; None: unless image-level labels are declared.

    Raises:
        DatasetError: all faults at once.
    """
    from diffunet.data.raw import integrity

    folder = workspace_of(workspace).raw_folder(dataset)
    report = integrity.verify_dataset(
        folder,
        num_processes=processes_of(num_processes),
        checks_labels=checks_labels,
        progress=progress,
    )
    for warning in report.warnings:
        logger.warning("%s", warning)
    report.raise_problems()
    masks = "with their masks" if report.checked_labels else "without their masks"
    if report.checked_labels and report.num_without_masks:
        masks += f", which {report.num_without_masks} training cases lack"
    logger.info("%s: %d cases checked, %s", folder.name, report.num_cases, masks)


@from_python
@alone_in_preprocessed
def extract_fingerprint(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    checks_dataset: bool = True,
    extracts_anew: bool = False,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> Fingerprint:
    """Measure the training cases into `preprocessed/DATASET/dataset_fingerprint.json`.

    An existing fingerprint of exactly these data is kept, unless `extracts_anew`.

    Raises:
        InUseError: another command plans or preprocesses the dataset.
        DatasetError: all faults of the dataset at once.
        WorkspaceError: there is no such dataset, or its preprocessed folder is nnU-Net's.
    """
    from diffunet.data.raw.dataset_state import DatasetState
    from diffunet.fingerprint.extract import extract_fingerprint as extract
    from diffunet.fingerprint.kept import kept_fingerprint

    place = workspace_of(workspace)
    raw_folder = place.raw_folder(dataset)
    folder = place.preprocessed / raw_folder.name
    refuse_nnunet_folder(folder)
    if checks_dataset:
        verify_dataset(dataset, workspace=place, num_processes=num_processes, progress=progress)
    raw = open_dataset(raw_folder)
    path = folder / FINGERPRINT_FILE
    if not extracts_anew:
        planned = DatasetState.load(folder / STATE_FILE)
        kept = kept_fingerprint(path, DatasetState.of(raw), planned=planned)
        if kept is not None:
            logger.info("%s exists and is kept; --clean measures again", path)
            return kept
    require_writable(path)
    fingerprint = extract(raw, num_processes=processes_of(num_processes), progress=progress)
    fingerprint.save(path)
    for warning in fingerprint.warnings:
        logger.warning("%s", warning)
    return fingerprint


@from_python
@alone_in_preprocessed
def plan_experiment(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    gpu_memory_gb: float = 8.0,
    target_spacing_mm: Sequence[float] | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
) -> Plans:
    """Choose every parameter from the fingerprint, and write `PLANS_NAME.json` with the reasons.

    Former plans are replaced only once the new ones are complete: planning that fails keeps them.

    Raises:
        InUseError: another command plans or preprocesses the dataset.
        DatasetError: the fingerprint is missing, or of other data; the splits are not valid.
        WorkspaceError: the preprocessed folder is nnU-Net's.
        UsageError: an argument is out of range.
    """
    from diffunet.data.raw.dataset_state import DatasetState
    from diffunet.data.raw.split_changes import settled_splits
    from diffunet.data.raw.splits import write_splits
    from diffunet.fingerprint.kept import load_current
    from diffunet.planning.experiment import plan_experiment as plan
    from diffunet.planning.former import keep_former_plans

    check_planning(gpu_memory_gb, target_spacing_mm)
    place = workspace_of(workspace)
    raw = open_dataset(place.raw_folder(dataset))
    folder = place.preprocessed / raw.name
    path = new_plans_path(folder, plans_name)
    refuse_nnunet_folder(folder)
    state, planned = DatasetState.of(raw), DatasetState.load(folder / STATE_FILE)
    plans = plan(
        load_current(folder / FINGERPRINT_FILE, state, planned=planned),
        raw.content,
        gpu_memory_gb=gpu_memory_gb,
        overwrite_target_spacing=None if target_spacing_mm is None else tuple(target_spacing_mm),
        plans_name=plans_name,
    )
    splits = settled_splits(
        raw, folder / SPLITS_FILE, known=planned.cases if planned is not None else ()
    )
    write_splits(folder / SPLITS_FILE, splits)
    write_json(folder / DATASET_FILE, raw.content)
    keep_former_plans(path, plans)
    save_planned(plans, path)
    state.save(folder / STATE_FILE)
    logger.info("%s", _plans_in_words(plans, path))
    return plans


@from_python
def preprocess(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    configurations: Sequence[str] | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    with_labels: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> None:
    """Preprocess the training cases; continues where an earlier run stopped.

    Args:
        configurations: None for all that can be trained. For image-level labels without
            `with_labels`, configurations that only learn from masks are left out.
        num_parts, part_id: do every `num_parts`-th group of cases, from `part_id` on, while other
            calls do the others; the last one to end completes the data.

    Raises:
        InUseError: another command plans or preprocesses the dataset, other than another part.
        DatasetError, PlansError: with the name of the case or the field.
        WorkspaceError: there are no plans, or the preprocessed folder is nnU-Net's.
    """
    part = Part(num_parts=num_parts, part_id=part_id)
    place = workspace_of(workspace)
    raw_folder = place.raw_folder(dataset)
    folder = place.preprocessed / raw_folder.name
    with part.holding(folder):
        _preprocess(
            open_dataset(raw_folder),
            folder,
            plans_name=plans_name,
            configurations=configurations,
            with_labels=with_labels,
            part=part,
            num_processes=processes_of(num_processes),
            progress=progress,
        )


def _preprocess(
    raw: RawDataset,
    folder: Path,
    *,
    plans_name: str,
    configurations: Sequence[str] | None,
    with_labels: bool,
    **others: Any,
) -> None:
    from diffunet.preprocessing.run import preprocess_dataset

    refuse_nnunet_folder(folder)
    plans = plans_of(folder, plans_name)
    if plans.dataset_name != raw.name:
        logger.warning(
            "the plans '%s' were made for %s and are now used for %s",
            plans_name,
            plans.dataset_name,
            raw.name,
        )
    warn_of_changes(
        raw,
        folder,
        remedy="diffunet_plan_and_preprocess measures and plans again, and puts new cases into "
        "folds",
    )
    write_what_is_missing(raw, folder)
    if with_labels:
        _warn_of_missing_masks(raw)
    has_masks = raw.image_labels is None or with_labels
    trainable = [
        name for name, each in plans.configurations.items() if has_masks or each.weak is not None
    ]
    chosen = tuple(configurations or trainable)
    preprocess_dataset(
        raw,
        plans,
        configurations=chosen,
        folder=folder,
        with_labels=with_labels,
        **others,
    )
    logger.info("%s: %s preprocessed into '%s'", raw.name, ", ".join(chosen), folder)


def _warn_of_missing_masks(raw: RawDataset) -> None:
    """Warn of cases whose masks are to be preprocessed and which have none.

    Raises:
        DatasetError: there are no masks at all.
    """
    from diffunet.data.raw.case_files import listing

    cases = [files.case for files in raw.training_cases]
    missing = [files.case for files in raw.training_cases if not files.labels]
    if missing and len(missing) == len(cases):
        raise DatasetError(
            f"'{raw.folder}': expected masks in {LABELS_FOLDER} (--with_labels), found none; add "
            "them, or leave the option out"
        )
    if missing:
        logger.warning(
            "%d of %d training cases have no mask (%s): no fold that holds one of them can be "
            "trained on masks",
            len(missing),
            len(cases),
            listing(missing),
        )


def write_what_is_missing(raw: RawDataset, folder: Path) -> None:
    """Write the files that a training needs besides plans, if these came from another dataset."""
    from diffunet.data.raw.split_changes import settled_splits
    from diffunet.data.raw.splits import write_splits

    if not (folder / SPLITS_FILE).is_file():
        write_splits(folder / SPLITS_FILE, settled_splits(raw, folder / SPLITS_FILE, known=()))
    if not (folder / DATASET_FILE).is_file():
        write_json(folder / DATASET_FILE, raw.content)


def _plans_in_words(plans: Plans, path: Path) -> str:
    name = plans.recommended_configuration
    chosen = plans.configurations[name]
    reasons = plans.reasons.get("configurations", {}).get(name, {})
    lines = [
        f"{plans.dataset_name}: method {plans.method}, configuration {name} "
        f"(of {', '.join(plans.configurations)}); every choice with its reason in '{path}'",
        f"  patch {list(chosen.patch_size)}, batch {chosen.training.batch_size}, "
        f"crop policy {chosen.crop.policy}, {chosen.training.num_iterations} iterations",
    ]
    if plans.method == "diffusion":
        reason = reasons.get("diffusion", {}).get("input_scale", "the default")
        lines.append(f"  input scale {chosen.diffusion.input_scale:.3g}: {reason}")
    return "\n".join(lines)
