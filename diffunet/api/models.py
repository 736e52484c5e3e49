"""Train a model, predict with it, and make pseudo-masks with it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diffunet.arguments import (
    Dataset,
    compute_of,
    device_of,
    model_folder_of,
    processes_of,
    splits_of,
    workspace_of,
)
from diffunet.calls import from_python
from diffunet.data.raw.dataset import open_dataset
from diffunet.errors import UsageError, WorkspaceError
from diffunet.inference.options import FolderRun, PredictionOptions, SavesSamples
from diffunet.locks import in_use
from diffunet.parallel import Progress, without_progress
from diffunet.parts import Part
from diffunet.plans import SaliencyMethod
from diffunet.plans.presets import PRESETS, SIZES
from diffunet.workspace import DEFAULT_PLANS_NAME, Workspace, bare_name

logger = logging.getLogger(__name__)


@from_python
def train(
    dataset: Dataset,
    fold: int | str | Sequence[int | str],
    *,
    workspace: Workspace | Path | None = None,
    configuration: str | None = None,
    method: str | None = None,
    plans_name: str = DEFAULT_PLANS_NAME,
    preset: str | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    continues: bool = False,
    only_validates: bool = False,
    validates: bool = True,
    validates_all_cases: bool = False,
    saves_samples: bool = False,
    pretrained_weights: Path | None = None,
    device: str = "auto",
    compiles: bool = False,
    loggers: Sequence[str] | None = None,
    num_processes: int | None = None,
    writes_report: bool = False,
    progress: Progress = without_progress,
) -> Path:
    """Train folds one after the other, validate each, and return the folder of the last.

    A training that goes on (`continues`, `only_validates`) has the plans, the settings and the seed
    that it began with, whatever the dataset's plans are now. What is given nevertheless must agree,
    but for the number of iterations, which may grow. Finished folds are skipped.

    Args:
        fold: 0, 1, ... or "all" (every case); several, or "all_folds" for all that the splits have.
        configuration, method: None for what the plans recommend; of a training that goes on for
            what it has.
        preset: a size ("laptop", "default", "large"), or another preset ("p1", "monai"); what
            `settings` say wins. None: as other folds of the model; without any, "laptop" on a CPU
            if neither settings nor the plans file say anything of size or length, and no weights
            are given; else "default".
        seed: None for 0, or the training's own.
        settings: "path.to.field=value", relative to the configuration.
        continues: go on from the latest checkpoint, if there is one.
        validates: run the final validation, which `only_validates` can make up for.
        saves_samples: of the final validation, beside its consensus masks.
        pretrained_weights: a checkpoint to start from, or a model's folder, zip file or name; of a
            model, each fold starts from its own, or else from the first.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        loggers: "tensorboard", "wandb", "mlflow", or "none"; None for those that a training that
            goes on had.
        writes_report: leave `report.html` in the folder of each fold, as the command does.

    Raises:
        PlansError, UsageError, WorkspaceError, CheckpointError: before any work is done.
        KeyboardInterrupt: it was asked to stop (`diffunet.workers.STOP_SIGNALS`), and has saved
            the iterations that are done.
    """
    from diffunet.api.asked import AskedTraining, folds_of, plan_fold, refuse_interrupted
    from diffunet.api.raw_changes import warn_of_changes_since
    from diffunet.api.reports import report_on_training
    from diffunet.sharing.install import opened_weights
    from diffunet.training.fold import FoldOptions, train_fold

    place = workspace_of(workspace)
    preprocessed = place.preprocessed_folder(dataset)
    names = folds_of(fold, preprocessed)
    warn_of_changes_since(place, preprocessed.name)
    goes_on = continues or only_validates
    asked = AskedTraining(
        place=place,
        dataset=preprocessed.name,
        configuration=configuration,
        method=method,
        plans_name=plans_name,
        settings=settings if preset is None else [_known(preset), *settings],
        seed=seed,
        is_small_by_default=device_of(device).type == "cpu" and pretrained_weights is None,
    )
    planned = [
        plan_fold(asked, name, goes_on=goes_on, only_validates=only_validates) for name in names
    ]
    if len(planned) > 1 and not goes_on:
        refuse_interrupted(planned)
    for size, reason in dict.fromkeys(
        (each.plans.size, each.plans.reasons.get("size")) for each in planned
    ):
        if reason is not None:
            logger.info("preset %s: %s", size, reason)
    for each in planned:
        is_over = each.is_finished and (continues or len(planned) > 1)
        if is_over and not (only_validates or validates_all_cases or saves_samples):
            logger.info(
                "'%s' is finished (%d iterations): skipped; --c --iterations N trains on, --val "
                "validates again",
                each.folder,
                each.plans.configuration.training.num_iterations,
            )
            continue
        with opened_weights(pretrained_weights, fold=each.fold) as weights:
            result = train_fold(
                each.plans,
                preprocessed_folder=preprocessed,
                fold_folder=each.folder,
                fold=each.fold,
                seed=each.seed,
                device=device_of(device),
                options=FoldOptions(
                    num_processes=processes_of(num_processes),
                    continues=continues or is_over,
                    pretrained_weights=weights,
                    pretrained_source=pretrained_weights,
                    compiles=compiles,
                    loggers=loggers,
                    only_validates=only_validates,
                    validates=validates,
                    validates_all_cases=validates_all_cases,
                    saves_samples=saves_samples,
                ),
                progress=progress,
            )
        if not result.is_finished:
            raise KeyboardInterrupt
    if writes_report:
        report_on_training([each.folder for each in planned])
    return planned[-1].folder


def _known(preset: str) -> str:
    """Return the name of a preset.

    Raises:
        UsageError: there is none of that name.
    """
    known = [*SIZES, *PRESETS]
    if preset not in known:
        raise UsageError(f"preset should be one of {', '.join(known)}, got '{preset}'")
    return preset


@from_python
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
    rel_area: float | None = None,
    rater: str | int | None = None,
    tile_step_size: float | None = None,
    saliency: SaliencyMethod | None = None,
    image_labels: Path | str | None = None,
    seed: int = 0,
    saves_probabilities: bool = False,
    saves_samples: SavesSamples = False,
    writes_report: bool = False,
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
        model: folder of a trained model, a zip file of `export_model`, or the name of a model that
            comes with diffunet ("lidc_nodules"); needs no workspace.
        dataset: instead of `model`, with `method`, `plans_name` and `configuration`.
        method: None for the one that makes `saliency`, or else the plans' own.
        folds: None for all that are trained.
        num_samples: per case, over all folds together; like all options of samples, only for models
            that draw them.
        rel_area: P1's post-processing, a trick of the metric: samples of at most this share of the
            case's largest become empty, before anything is made of them.
        rater: name or number of the rater to draw as, of a model that is told who drew.
        saliency: what a model of "cdm" or "classifier" makes masks from; None: as its plans say.
        image_labels: a table like `image_labels.csv`, for such a model: what the cases to predict
            show, instead of what the classifier finds.
        saves_samples: write each sample into a file of its own, `samples/CASE_s00`; "one_file": all
            samples of a case into one, `samples/CASE_samples`, for a viewer.
        writes_report: leave `report.html` in the output folder, a page with pictures of the cases,
            and `pictures/most_uncertain.png`, as the command does.
        precision: other than "float32": faster on a GPU, for samples and supervised masks only.

    Raises:
        UsageError, WorkspaceError, CheckpointError, DatasetError: before any work is done.
    """
    from diffunet.api.reports import report_on_prediction
    from diffunet.inference.run import predict_path
    from diffunet.sharing.install import load_opened_model

    run = FolderRun(continues=continues, part=Part(num_parts=num_parts, part_id=part_id))
    folder = model_folder_of(
        workspace, dataset, method, plans_name, configuration, saliency=saliency, model=model
    )
    compute = compute_of(device, precision=precision)
    trained = load_opened_model(folder, folds=folds, checkpoint=checkpoint, device=compute.device)
    predict_path(
        trained,
        input=Path(input),
        output=Path(output),
        compute=compute,
        options=PredictionOptions(
            num_samples=num_samples,
            num_steps=num_steps,
            sampler=sampler,
            rel_area=rel_area,
            rater=None if rater is None else str(rater),
            tile_step_size=tile_step_size,
            saliency=saliency,
            image_labels=None if image_labels is None else Path(image_labels),
            saves_probabilities=saves_probabilities,
            saves_samples=saves_samples,
            seed=seed,
        ),
        run=run,
        progress=progress,
    )
    if writes_report:
        report_on_prediction(Path(output), images=Path(input))
    return Path(output)


@from_python
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
    from diffunet.api.raw_changes import warn_of_changes
    from diffunet.wsss.second_stage.make import make_pseudo_dataset, require_tags

    place = workspace_of(workspace)
    raw = open_dataset(place.raw_folder(dataset))
    require_tags(raw)
    warn_of_changes(
        raw,
        place.preprocessed / raw.name,
        remedy="pseudo-masks are made from what is there now, which the model may not have "
        "learned; put the files back, or plan, preprocess and train again",
    )
    name = place.new_dataset_name(new_dataset, default=f"{bare_name(raw.name)}Pseudo")
    is_known = name in place.known_datasets()
    with in_use(place.raw / name):
        if is_known and not continues:
            raise WorkspaceError(
                f"there is a dataset '{name}' already in {place}; continue it (--continue), or "
                "choose another number or name"
            )
        return make_pseudo_dataset(
            raw,
            place.raw / name,
            model_folder=model_folder_of(
                place, dataset, method, plans_name, configuration, saliency=saliency
            ),
            folds=folds,
            splits=splits_of(place, raw),
            saliency=saliency,
            seed=seed,
            compute=compute_of(device),
            continues=continues,
            progress=progress,
        )
