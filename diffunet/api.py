"""The Python API: each function does what the command of the same name does.

A dataset is named by its number, its name or its path. Where no workspace is given, it is
`./diffunet_workspace`. Progress is shown by whatever `progress` does; by default nothing.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from diffunet.arguments import (
    Dataset,
    check_planning,
    dataset_content_of,
    model_folder_of,
    new_plans_path,
    new_summary_path,
    patients_of,
    plans_of,
    processes_of,
    resolve_device,
    splits_of,
    workspace_of,
)
from diffunet.data.raw.dataset import RawDataset, open_dataset
from diffunet.data.store.nnunet_files import refuse_nnunet_folder
from diffunet.errors import UsageError, WorkspaceError
from diffunet.fingerprint.fingerprint import Fingerprint
from diffunet.jsonio import require_writable, write_json
from diffunet.labels import LabelScheme
from diffunet.locks import in_use
from diffunet.methods import method_of_saliency
from diffunet.names import require_fold
from diffunet.parallel import Progress, without_progress
from diffunet.plans import Plans, SaliencyMethod
from diffunet.plans.edits import edited_fields, save_planned
from diffunet.workspace import (
    DATASET_FILE,
    DEFAULT_PLANS_NAME,
    FINGERPRINT_FILE,
    PATIENTS_FILE,
    SPLITS_FILE,
    STATE_FILE,
    SUMMARY_FILE,
    Workspace,
    bare_name,
)

logger = logging.getLogger(__name__)


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _alone_in_preprocessed(
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


@_alone_in_preprocessed
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
    masks = "with" if report.checked_labels else "without"
    logger.info("%s: %d cases checked, %s their masks", folder.name, report.num_cases, masks)


@_alone_in_preprocessed
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


@_alone_in_preprocessed
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


@_alone_in_preprocessed
def preprocess(
    dataset: Dataset,
    *,
    workspace: Workspace | Path | None = None,
    configurations: Sequence[str] | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    with_labels: bool = False,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> None:
    """Preprocess the training cases; continues where an earlier run stopped.

    Args:
        configurations: None for all that can be trained. For image-level labels without
            `with_labels`, configurations that only learn from masks are left out.

    Raises:
        InUseError: another command plans or preprocesses the dataset.
        DatasetError, PlansError: with the name of the case or the field.
        WorkspaceError: there are no plans, or the preprocessed folder is nnU-Net's.
    """
    from diffunet.preprocessing.run import preprocess_dataset

    place = workspace_of(workspace)
    raw = open_dataset(place.raw_folder(dataset))
    folder = place.preprocessed / raw.name
    refuse_nnunet_folder(folder)
    plans = plans_of(folder, plans_name)
    if plans.dataset_name != raw.name:
        logger.warning(
            "the plans '%s' were made for %s and are now used for %s",
            plans_name,
            plans.dataset_name,
            raw.name,
        )
    _warn_of_changes(raw, folder)
    _write_what_is_missing(raw, folder)
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
        num_processes=processes_of(num_processes),
        progress=progress,
        with_labels=with_labels,
    )
    logger.info("%s: %s preprocessed into '%s'", raw.name, ", ".join(chosen), folder)


def train(
    dataset: Dataset,
    fold: int | str,
    *,
    workspace: Workspace | Path | None = None,
    configuration: str | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    settings: Sequence[str] = (),
    seed: int = 0,
    continues: bool = False,
    only_validates: bool = False,
    validates_all_cases: bool = False,
    pretrained_weights: Path | None = None,
    device: str = "auto",
    compiles: bool = False,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> Path:
    """Train one fold, validate it, and return its folder.

    Args:
        fold: 0, 1, ... or "all".
        configuration, method: None for what the plans recommend.
        settings: "path.to.field=value", relative to the configuration.
        continues: go on from the latest checkpoint, if there is one.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        PlansError, UsageError, WorkspaceError, CheckpointError: before any work is done.
        KeyboardInterrupt: it was asked to stop (SIGINT, SIGTERM, SIGHUP), and has saved
            the iterations that are done.
    """
    import torch

    from diffunet.training.fold import FoldOptions, train_fold

    place = workspace_of(workspace)
    name_of_fold = require_fold(fold, error=UsageError)
    preprocessed = place.preprocessed_folder(dataset)
    plans = plans_of(preprocessed, plans_name)
    edited = edited_fields(preprocessed / f"{plans_name}.json", configuration=configuration)
    resolved = plans.resolve(configuration, method=method, settings=settings, edited=edited)
    fold_folder = (
        place.model_folder(
            preprocessed.name,
            method=resolved.method,
            plans=plans_name,
            configuration=resolved.configuration_name,
        )
        / f"fold_{name_of_fold}"
    )
    result = train_fold(
        resolved,
        preprocessed_folder=preprocessed,
        fold_folder=fold_folder,
        fold=name_of_fold,
        seed=seed,
        device=torch.device(resolve_device(device)),
        options=FoldOptions(
            num_processes=processes_of(num_processes),
            continues=continues,
            pretrained_weights=pretrained_weights,
            compiles=compiles,
            only_validates=only_validates,
            validates_all_cases=validates_all_cases,
        ),
        progress=progress,
    )
    if not result.is_finished:
        raise KeyboardInterrupt
    return fold_folder


def predict(
    input: Path | str,
    output: Path | str,
    *,
    model: Path | str | None = None,
    dataset: Dataset | None = None,
    workspace: Workspace | Path | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    checkpoint: Literal["final", "best", "latest"] = "final",
    num_samples: int | None = None,
    num_steps: int | None = None,
    sampler: str | None = None,
    tile_step_size: float | None = None,
    saliency: SaliencyMethod | None = None,
    image_labels: Path | str | None = None,
    seed: int = 0,
    saves_probabilities: bool = False,
    saves_samples: bool = False,
    continues: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    progress: Progress = without_progress,
) -> Path:
    """Draw segmentations for every case of a folder, or for one file, and return the output.

    Args:
        input: folder of `CASE_0000.ext` files, or one image file.
        output: folder; a file for the consensus alone if `input` is a file and this has its ending.
        model: folder of a trained model; needs no workspace.
        dataset: instead of `model`, with `method`, `plans_name` and `configuration`.
        method: None for the one that makes `saliency`, or else the plans' own.
        folds: None for all that are trained.
        num_samples: per case, over all folds together; like all options of samples, only for models
            that draw them.
        saliency: what the masks of a model of "cdm" or "classifier" are made from; None for what
            its plans chose.
        image_labels: a table like `image_labels.csv`, for such a model: what the cases to predict
            show, instead of what the classifier finds.
        precision: of the networks. "float32" is exact; the others are faster on a GPU, for models
            that draw samples or are supervised.

    Raises:
        UsageError, WorkspaceError, CheckpointError, DatasetError: before any work is done.
    """
    import torch

    from diffunet.inference.compute import Compute
    from diffunet.inference.model import load_model
    from diffunet.inference.options import FolderRun, PredictionOptions
    from diffunet.inference.run import predict_path

    if (model is None) == (dataset is None):
        raise UsageError("give either a model folder (--model) or a dataset (-d)")
    if method is None and saliency is not None:
        method = method_of_saliency(saliency)
    folder = (
        Path(model)
        if model is not None
        else model_folder_of(workspace_of(workspace), dataset, method, plans_name, configuration)
    )
    compute = Compute(device=torch.device(resolve_device(device)), precision=precision)
    trained = load_model(folder, folds=folds, checkpoint=checkpoint, device=compute.device)
    predict_path(
        trained,
        input=Path(input),
        output=Path(output),
        compute=compute,
        options=PredictionOptions(
            num_samples=num_samples,
            num_steps=num_steps,
            sampler=sampler,
            tile_step_size=tile_step_size,
            saliency=saliency,
            image_labels=None if image_labels is None else Path(image_labels),
            saves_probabilities=saves_probabilities,
            saves_samples=saves_samples,
            seed=seed,
        ),
        run=FolderRun(continues=continues, num_parts=num_parts, part_id=part_id),
        progress=progress,
    )
    return Path(output)


def pseudo_label(
    dataset: Dataset,
    new_dataset: int | str,
    *,
    workspace: Workspace | Path | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    saliency: SaliencyMethod | None = None,
    seed: int = 0,
    continues: bool = False,
    device: str = "auto",
    progress: Progress = without_progress,
) -> Path:
    """Make a raw dataset of pseudo-masks, for a second stage, and return its folder.

    Its images are those of `dataset`. A trained weak model makes its labels from these images and
    their image-level labels; `labelsTr` of `dataset` is never opened.

    Args:
        dataset: declares image-level labels.
        new_dataset: a number (503 is Dataset503_NAMEPseudo), or a whole name.
        method: "cdm" or "classifier"; None for the one that makes `saliency`, or else the plans'.
        folds: None for all that are trained. Each case is labelled by the folds that were validated
            on it, or by all of them if there is none.
        saliency: what masks are made from; None for what the plans chose.
        continues: go on with a dataset that is not whole.

    Raises:
        UsageError, WorkspaceError, CheckpointError, DatasetError: before any work is done; the last
            also at the end, for images that cannot be read.
    """
    import torch

    from diffunet.inference.compute import Compute
    from diffunet.wsss.second_stage.make import make_pseudo_dataset, require_tags

    place = workspace_of(workspace)
    raw = open_dataset(place.raw_folder(dataset))
    require_tags(raw)
    name = place.new_dataset_name(new_dataset, default=f"{bare_name(raw.name)}Pseudo")
    is_known = name in place.known_datasets()
    if method is None and saliency is not None:
        method = method_of_saliency(saliency)
    with in_use(place.raw / name):
        if is_known and not continues:
            raise WorkspaceError(
                f"there is a dataset '{name}' already in {place}; continue it (--continue), or "
                "choose another number or name"
            )
        return make_pseudo_dataset(
            raw,
            place.raw / name,
            model_folder=model_folder_of(place, dataset, method, plans_name, configuration),
            folds=folds,
            splits=splits_of(place, raw),
            saliency=saliency,
            seed=seed,
            compute=Compute(device=torch.device(resolve_device(device))),
            continues=continues,
            progress=progress,
        )


def evaluate(
    reference: Path | str,
    prediction: Path | str,
    *,
    dataset_json: Path | None = None,
    patients_csv: Path | None = None,
    output: Path | None = None,
    by_slice: bool = False,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> dict[str, Any]:
    """Score predictions against references, log a table, and return the summary.

    Args:
        reference: folder of masks, such as `labelsTs`.
        prediction: output folder of `predict`, or masks of another program.
        dataset_json: None: the one in `prediction`, else the one beside `reference`.
        patients_csv: None: the one beside `reference`, if any.
        output: summary file; None: `summary.json` in `prediction`.
        by_slice: score positive and healthy slices apart as well, as block `slices`, by label
            (`diffunet.evaluation.slice_scores.summarise_slices`).

    Raises:
        DatasetError: all that is wrong with the two folders, at once.
        UsageError: there is no dataset.json, or the summary would replace another file.
        WriteError: the summary cannot be written.
    """
    from diffunet.evaluation.folder import evaluate_folders
    from diffunet.evaluation.slice_folder import score_slice_folder
    from diffunet.evaluation.slice_scores import summarise_slices
    from diffunet.evaluation.table import format_slices, format_table

    reference, prediction = Path(reference), Path(prediction)
    summary_file = new_summary_path(output or prediction / SUMMARY_FILE)
    content = dataset_content_of(dataset_json, prediction, reference)
    patients = patients_csv or reference.parent / PATIENTS_FILE
    files: dict[str, Any] = {
        "labels": LabelScheme.from_dataset_json(content),
        "file_ending": content["file_ending"],
        "has_raters": bool(content.get("raters", False)),
        "patients": patients_of(patients) if patients.is_file() else None,
        "num_processes": processes_of(num_processes),
        "progress": progress,
    }
    summary_file = output or prediction / SUMMARY_FILE
    if output is not None or prediction.is_dir():
        require_writable(summary_file)
    summary = evaluate_folders(reference, prediction, **files)
    logger.info("%s", format_table(summary))
    if by_slice:
        slices = score_slice_folder(reference, prediction, **files)
        summary["slices"] = {name: summarise_slices(found) for name, found in slices.items()}
        logger.info("%s", format_slices(summary["slices"]))
    write_json(summary_file, summary)
    return summary


def _warn_of_changes(raw: RawDataset, folder: Path) -> None:
    """Warn of changes since the plans were made."""
    from diffunet.data.raw.dataset_state import DatasetState

    planned = DatasetState.load(folder / STATE_FILE)
    changes = DatasetState.of(raw).changes_since(planned) if planned is not None else ()
    if changes:
        logger.warning(
            "the data have changed since plans and folds were made: %s; "
            "diffunet_plan_and_preprocess measures and plans again, and puts new cases into folds",
            "; ".join(changes),
        )


def _write_what_is_missing(raw: RawDataset, folder: Path) -> None:
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
