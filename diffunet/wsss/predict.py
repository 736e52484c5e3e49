"""Predict files with weakly supervised models: saliency first, then masks, each whole or absent.

Where the threshold is that of a whole set ("otsu_mean"), the masks wait until every case has its
maps: they are made by the run that finds all of them there, the last of several parts.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.case_files import CaseFiles
from diffunet.data.image_io import read_image, write_label_map
from diffunet.data.image_labels import ImageLabels, read_given_labels
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.case_image import kept_problems, read_case
from diffunet.inference.output import OutputFolder
from diffunet.inference.place import check_output_file
from diffunet.inference.predict import begin_part, settings_of_run
from diffunet.jsonio import require_writable
from diffunet.parallel import Progress, without_progress
from diffunet.plans import SaliencyMethod
from diffunet.wsss.case_records import from_plain, plain, read_maps, record_of, with_masks
from diffunet.wsss.label_masks import shared_thresholds
from diffunet.wsss.pictures import draw_saliency
from diffunet.wsss.predictor import WeakPredictor
from diffunet.wsss.presence import GivenTags
from diffunet.wsss.saliency import mirror_axes_of

logger = logging.getLogger(__name__)


def predict_weak_cases(
    predictor: WeakPredictor,
    cases: Sequence[CaseFiles],
    *,
    output_folder: Path,
    saliency: SaliencyMethod,
    image_labels: Path | None,
    seed: int,
    is_continued: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    has_picture: bool = True,
    progress: Progress = without_progress,
) -> Path:
    """Predict cases into a folder, and return the path of its `predictions.json`.

    A case that cannot be read does not keep the others from being predicted.

    Args:
        cases: of all parts; this run does every `num_parts`-th of them, sorted, from `part_id` on.
        saliency: what `predictor.saliency_method(...)` returned.
        image_labels: a table that overrides the classifier for the cases and slices in it.
        is_continued: keep the cases that are whole; otherwise they are predicted anew.
        has_picture: draw `pictures/saliency.png`, once all cases are there.
        progress: wraps (items, total, description); an item is a case.

    Raises:
        UsageError: the arguments do not fit together, or whole cases were made with other settings.
        DatasetError: all that is wrong with the table, at the beginning; all that is wrong with the
            cases that could not be predicted, at the end.
    """
    given = read_given_table(predictor, cases, image_labels)
    settings = weak_settings(predictor, saliency=saliency, given=given, seed=seed)
    output = OutputFolder(output_folder, model=predictor.model, settings=settings)
    part = begin_part(
        cases, output, is_continued=is_continued, num_parts=num_parts, part_id=part_id
    )
    problems: list[str] = []
    for files in progress(part, len(part), "predicting"):
        with kept_problems(problems, case=files.case):
            _predict_case(
                predictor, files, output=output, saliency=saliency, given=given, seed=seed
            )
    contents = {files.case: output.content_of_record(files.case) for files in cases}
    records = {case: content for case, content in sorted(contents.items()) if content is not None}
    is_last = num_parts == 1 or len(records) == len(cases)
    if predictor.plan.mask(saliency).threshold == "otsu_mean":
        if is_last:
            _finish_masks(predictor, records, output=output, saliency=saliency)
        else:
            logger.info(
                "'%s': the threshold is the mean over all cases, and %d of %d have no saliency "
                "yet; the masks are made by the part that ends last, or by a run with "
                "--continue_prediction and without -num_parts",
                output.folder,
                len(cases) - len(records),
                len(cases),
            )
    path = output.gather()
    if has_picture and is_last:
        draw_saliency(predictor, cases, output=output, saliency=saliency)
    if problems:
        raise DatasetError(problems)
    return path


def predict_weak_file(
    predictor: WeakPredictor,
    files: CaseFiles,
    *,
    output_file: Path,
    saliency: SaliencyMethod,
    image_labels: Path | None,
    seed: int,
) -> None:
    """Predict one case, and write its mask alone.

    Raises:
        UsageError: `output_file` is one of the input files, or there already.
        DatasetError: the case cannot be read or does not fit the model, or the table is not valid.
    """
    check_output_file(files, output_file)
    require_writable(output_file)
    given = read_given_table(predictor, [files], image_labels)
    image, geometry = read_case(files, model=predictor.model)
    found = predictor.predict_case(
        image,
        geometry.spacing_mm,
        saliency=saliency,
        given=given_of_case(given, files.case),
        seed=seed,
        case=files.case,
    )
    thresholds = predictor.thresholds_alone(found, saliency=saliency)
    masks = predictor.masks(found.saliency, thresholds, saliency_method=saliency)
    write_label_map(output_file, predictor.labels.label_map(masks), geometry)


def read_given_table(
    predictor: WeakPredictor, cases: Sequence[CaseFiles], path: Path | None
) -> ImageLabels | None:
    """Return what a table says about cases to predict; None where there is no table.

    Raises:
        UsageError: there is no such file, or the model does not work on the slices in it.
        DatasetError: all that is wrong with the table.
    """
    if path is None:
        return None
    if not path.is_file():
        raise UsageError(f"--image_labels '{path}': expected a table, found no such file")
    images = {files.case: files.images for files in cases}

    def num_slices(case: str) -> int | None:
        try:
            image, _ = read_image(images[case], num_channels=predictor.model.num_channels)
        except DatasetError:
            return None  # said when the case is to be predicted
        return image.shape[1] if image.ndim == 4 else 0

    given = read_given_labels(
        path, label_names=predictor.labels.names, cases=images, num_slices=num_slices
    )
    for case in given.slices:
        predictor.check_given(given_of_case(given, case), case=case)
    return given


def given_of_case(given: ImageLabels | None, case: str) -> GivenTags:
    """Return what a table says about one case; nothing without a table, or a line."""
    if given is None:
        return {}
    indices = (None, *given.slices.get(case, ()))
    known = {index: given.of(case, index) for index in indices}
    return {index: tags for index, tags in known.items() if tags is not None}


def weak_settings(
    predictor: WeakPredictor,
    *,
    saliency: SaliencyMethod,
    given: ImageLabels | None,
    seed: int,
) -> dict[str, Any]:
    """Return all that decides what is written; of the plans, what this saliency uses.

    Args:
        given: what `read_given_table` returned.
    """
    plan = predictor.plan
    blocks = {"cdm": plan.cdm, "cg_cdm": plan.cg_cdm, "cg_diff": plan.cg_diff}
    table = None
    if given is not None:
        lines = sorted(given.table.items(), key=str)
        table = hashlib.sha256(json.dumps(lines).encode()).hexdigest()
    return settings_of_run(
        predictor.model,
        predictor.compute,
        seed=seed,
        saliency=saliency,
        saliency_plan=dataclasses.asdict(blocks.get(saliency, plan.cam)),
        mask_plan=dataclasses.asdict(plan.mask(saliency)),
        presence_thresholds=plan.presence_thresholds,
        mirror_axes=mirror_axes_of(predictor.model.configuration),
        has_slice_labels=plan.has_slice_labels,
        image_labels_sha256=table,
    )


def _predict_case(
    predictor: WeakPredictor,
    files: CaseFiles,
    *,
    output: OutputFolder,
    saliency: SaliencyMethod,
    given: ImageLabels | None,
    seed: int,
) -> None:
    output.begin_case(files)
    image, geometry = read_case(files, model=predictor.model)
    found = predictor.predict_case(
        image,
        geometry.spacing_mm,
        saliency=saliency,
        given=given_of_case(given, files.case),
        seed=seed,
        case=files.case,
    )
    del image
    scales = [
        output.write_saliency(files.case, label, of_label, geometry)
        for label, of_label in enumerate(found.saliency)
    ]
    content = record_of(found, scales, predictor.labels.names)
    if predictor.plan.mask(saliency).threshold != "otsu_mean":
        masks = predictor.masks(found.saliency, found.thresholds, saliency_method=saliency)
        output.write_mask(files.case, masks, geometry)
        content = with_masks(content, found.thresholds, masks, geometry)
    output.write_record(files.case, content, geometry)


def _finish_masks(
    predictor: WeakPredictor,
    records: Mapping[str, Mapping[str, Any]],
    *,
    output: OutputFolder,
    saliency: SaliencyMethod,
) -> None:
    """Make the masks of the rule "otsu_mean" that are missing, or were made with another mean."""
    thresholds = {
        case: np.stack(
            [from_plain(label["slice_threshold"]) for label in record["labels"].values()], axis=1
        )
        for case, record in records.items()
    }
    for case, record in records.items():
        shared = shared_thresholds(thresholds[case], all_thresholds=thresholds.values())
        wanted = [plain(column) for column in shared.T]
        if [label.get("threshold") for label in record["labels"].values()] != wanted:
            _write_shared_mask(predictor, case, record, shared, output=output, saliency=saliency)


def _write_shared_mask(
    predictor: WeakPredictor,
    case: str,
    record: Mapping[str, Any],
    thresholds: np.ndarray,
    *,
    output: OutputFolder,
    saliency: SaliencyMethod,
) -> None:
    maps, geometry = read_maps(output, case, record)
    masks = predictor.masks(maps, thresholds, saliency_method=saliency)
    output.write_mask(case, masks, geometry)
    content = with_masks(record, thresholds, masks, geometry)
    output.write_record(case, content, geometry)
