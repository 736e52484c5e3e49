"""The second stage: from a weakly labelled dataset and its model to a dataset of pseudo-masks.

A student learns from that as from any other. Each training image is labelled, where possible, by
the fold that was validated on it, and has not learned from it.
"""

import dataclasses
import functools
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from diffunet.data.file_state import FileState
from diffunet.data.image_io import read_label_map, write_label_map
from diffunet.data.prediction_records import read_record
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.image_labels import ImageLabels
from diffunet.data.raw.splits import Split
from diffunet.errors import DatasetError
from diffunet.figures.files import warning_only
from diffunet.inference.compute import Compute
from diffunet.inference.options import FolderRun, PredictionOptions
from diffunet.inference.run import predict_folder
from diffunet.jsonio import as_json, write_json
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress, without_progress
from diffunet.plans import SaliencyMethod
from diffunet.workspace import DATASET_FILE, LABELS_FOLDER, UNFINISHED_PSEUDO_LABELS
from diffunet.wsss.prediction.case_records import read_weak_case
from diffunet.wsss.prediction.given_labels import given_of_case
from diffunet.wsss.prediction.pictures import MOST_ROWS, draw_rows, saliency_rows
from diffunet.wsss.second_stage.fold_shares import ShareRun, runs_of, say_what_is_in_sample
from diffunet.wsss.second_stage.pseudo_dataset import (
    RECORD_FILE,
    begin_dataset,
    student_content,
    write_companions,
)
from diffunet.wsss.second_stage.pseudo_labels import label_record, pseudo_labels_of, summary_of

PICTURE_FILE = "pseudo_labels.png"

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


def make_pseudo_dataset(
    raw: RawDataset,
    folder: Path,
    *,
    model_folder: Path,
    folds: Sequence[int | str] | None,
    splits: Sequence[Split],
    saliency: SaliencyMethod | None,
    seed: int,
    compute: Compute,
    continues: bool = False,
    progress: Progress = without_progress,
) -> Path:
    """Make the raw dataset `folder` of the images of `raw`, and return it.

    `labelsTr` of `raw` is never opened. dataset.json is written last: without it the dataset is not
    whole, and is continued with `continues`.

    Args:
        raw: declares image-level labels.
        model_folder: of "cdm" or "classifier", trained on `raw`.
        folds: None for all that are trained; "all" only where there is no other.
        splits: that the model was trained with; also those of the new dataset.
        saliency: None for what each fold's plans chose.
        continues: keep what is there, of the same settings; begin where nothing is.
        progress: wraps (items, total, description); an item is a case.

    Raises:
        UsageError: the model or the folder does not fit, or the settings changed.
        CheckpointError: a fold is not trained, or damaged.
        DatasetError: there are no image-level labels; or, at the end, the faults of all images that
            could not be predicted.
    """
    tags = require_tags(raw)
    runs = runs_of(
        raw,
        tags,
        model_folder=model_folder,
        folds=folds,
        splits=splits,
        options=PredictionOptions(
            saliency=saliency,
            image_labels=raw.folder / raw.content["image_labels"],
            draws_picture=False,
            seed=seed,
        ),
        compute=compute,
        folder=folder / UNFINISHED_PSEUDO_LABELS,
    )
    settings_of_runs = {run.share.name: run.settings for run in runs}
    settings = as_json({"dataset": raw.name, "runs": settings_of_runs})
    if begin_dataset(folder, settings, cases=raw.training_cases, continues=continues):
        logger.info("'%s' is already complete", folder)
    else:
        say_what_is_in_sample([run.share for run in runs])
        _predict(runs, continues=continues, progress=progress)
        content = student_content(raw, folder, description=_description(raw, runs, model_folder))
        _write(runs, raw, folder, content=content, settings=settings, progress=progress)
        write_companions(raw, folder, splits=splits)
        write_json(folder / DATASET_FILE, content)  # last: it declares the dataset whole
    shutil.rmtree(folder / UNFINISHED_PSEUDO_LABELS, ignore_errors=True)
    return folder


def require_tags(raw: RawDataset) -> ImageLabels:
    """Return the image-level labels of a dataset.

    Raises:
        DatasetError: it declares none.
    """
    if raw.image_labels is None:
        raise DatasetError(
            f"'{raw.name}': expected image-level labels ('image_labels' in dataset.json), found "
            "none; a dataset with masks needs no pseudo-masks: train with -m supervised"
        )
    return raw.image_labels


def _predict(runs: Sequence[ShareRun], *, continues: bool, progress: Progress) -> None:
    """Make the maps of all cases.

    Raises:
        DatasetError: all that is wrong with those that could not be made.
    """
    problems: list[str] = []
    for run in runs:
        try:
            predict_folder(
                run.predictor,
                run.model,
                run.share.cases,
                output_folder=run.output.folder,
                run=FolderRun(continues=continues),
                progress=functools.partial(_with_name, progress, run.share.name),
            )
        except DatasetError as error:
            problems.extend(error.problems)
    if problems:
        raise DatasetError(problems)


def _with_name(
    progress: Progress, name: str, items: Iterable[Item], total: int, description: str
) -> Iterator[Item]:
    """Show the progress of a run under its name."""
    return progress(items, total, f"{description} ({name})")


def _write(
    runs: Sequence[ShareRun],
    raw: RawDataset,
    folder: Path,
    *,
    content: dict[str, Any],
    settings: dict[str, Any],
    progress: Progress,
) -> None:
    """Write label maps, the picture, and the record."""
    labels = LabelScheme.from_dataset_json(content)
    pairs = _cases_of(runs)
    records: dict[str, Any] = {}
    for run, files in progress(pairs, len(pairs), "writing label maps"):
        case = read_weak_case(run.output, files.case)
        found = pseudo_labels_of(
            case,
            plan=run.predictor.mask_plan,
            labels=labels,
            known=given_of_case(raw.image_labels, files.case),
            slice_axis=run.predictor.slice_axis,
        )
        write_label_map(_label_path(raw, folder, files), found.label_map, case.geometry)
        records[files.case] = {
            "input": _input_of(run, files),
            "folds": run.share.folds,
            "is_in_sample": run.share.is_in_sample,
            **label_record(case.content, found),
        }
    _draw(runs, raw, folder, labels=labels)
    num_in_sample = sum(record["is_in_sample"] for record in records.values())
    summary = {"num_in_sample": num_in_sample, **summary_of(records)}
    about = {"summary": summary, "settings": settings, "cases": records}
    write_json(folder / RECORD_FILE, about)
    _say_what_was_made(folder, summary)


def _input_of(run: ShareRun, files: CaseFiles) -> list[FileState] | None:
    """Return the images that a case was made from; without times, which would differ in copies."""
    record = read_record(run.output.folder, files.case)
    if record is None or record.input is None:
        return None
    return [dataclasses.replace(state, modified_ns=None) for state in record.input]


def _cases_of(runs: Sequence[ShareRun]) -> list[tuple[ShareRun, CaseFiles]]:
    """Return every case with its run, sorted."""
    pairs = [(run, files) for run in runs for files in run.share.cases]
    return sorted(pairs, key=lambda pair: pair[1].case)


def _label_path(raw: RawDataset, folder: Path, files: CaseFiles) -> Path:
    return folder / LABELS_FOLDER / f"{files.case}{raw.file_ending}"


def _say_what_was_made(folder: Path, summary: dict[str, Any]) -> None:
    logger.info(
        "'%s': %d label maps, %.1f %% of their pixels unsure (label 'ignore')",
        folder,
        summary["num_cases"],
        100 * summary["mean_unsure_share"],
    )
    for name, counts in summary["labels"].items():
        logger.info(
            "  %s: %d cases show it and %d have sure pixels of it; in %d cases it has no mask "
            "in some slices, where all pixels are unsure",
            name,
            counts["num_present"],
            counts["num_with_sure_pixels"],
            counts["num_without_mask"],
        )
        if not counts["num_with_sure_pixels"]:
            logger.warning("'%s' has no sure pixel in any case: no student can learn it", name)


def _description(raw: RawDataset, runs: Sequence[ShareRun], model_folder: Path) -> str:
    """Return where the labels come from, for dataset.json."""
    folds = sorted({fold for run in runs for fold in run.share.folds})
    return (
        f"Images of {raw.name}. The label maps are pseudo-masks, made by diffunet_pseudo_label "
        f"from its image-level labels: model {model_folder.name}, folds {' '.join(folds)}, "
        f"saliency {_saliency_in_words(runs)}; pixels that are unsure hold the label 'ignore'. "
        f"Settings and cases: {RECORD_FILE}."
    )


def _draw(runs: Sequence[ShareRun], raw: RawDataset, folder: Path, *, labels: LabelScheme) -> None:
    """Draw `pseudo_labels.png`: cases that have a mask, evenly from the first to the last."""
    png = folder / PICTURE_FILE
    with warning_only(png):
        shown = [(run, files) for run, files in _cases_of(runs) if _has_mask(run, files)]
        places = np.linspace(0, len(shown) - 1, min(len(shown), MOST_ROWS)).round().astype(int)
        rows = []
        for run, files in (shown[place] for place in places):
            unsure = labels.ignored(read_label_map(_label_path(raw, folder, files))[0])
            rows.extend(saliency_rows(run.predictor, files, output=run.output, unsure=unsure))
        title = f"{folder.name}: {_saliency_in_words(runs)}"
        draw_rows(rows, png, title=title, saliency=runs[0].predictor.saliency)


def _has_mask(run: ShareRun, files: CaseFiles) -> bool:
    content = run.output.content_of_record(files.case) or {}
    return any(volume["value"] > 0 for volume in content.get("volumes", {}).values())


def _saliency_in_words(runs: Sequence[ShareRun]) -> str:
    return ", ".join(sorted({run.predictor.saliency for run in runs}))
