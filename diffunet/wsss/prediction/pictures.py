"""`pictures/saliency.png`: image, saliency and mask of the first cases that have one."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from diffunet.data.image_io import MapScale, read_input, read_label_map
from diffunet.data.raw.case_files import CaseFiles
from diffunet.figures.files import warning_only
from diffunet.figures.masks import SaliencyCase, plot_saliency
from diffunet.inference.output import PICTURES_FOLDER, OutputFolder
from diffunet.plans import CamSaliency, SaliencyMethod

if TYPE_CHECKING:
    from diffunet.wsss.prediction.predictor import SaliencyPredictor

PICTURE_FILE = f"{PICTURES_FOLDER}/saliency.png"
MOST_ROWS = 6

logger = logging.getLogger(__name__)


def draw_saliency(
    predictor: "SaliencyPredictor", cases: Sequence[CaseFiles], *, output: OutputFolder
) -> None:
    """Draw `pictures/saliency.png` into the output folder, from what was written there.

    A row per case and label with a mask, see `saliency_rows`.
    """
    png = output.folder / PICTURE_FILE
    rows: list[SaliencyCase] = []
    with warning_only(png):
        for files in sorted(cases, key=lambda files: files.case):
            rows.extend(saliency_rows(predictor, files, output=output))
            if len(rows) >= MOST_ROWS:
                break
        title = f"{predictor.model.plans.dataset_name}: {predictor.saliency}"
        draw_rows(rows, png, title=title, saliency=predictor.saliency)


def draw_rows(
    rows: Sequence[SaliencyCase], png: Path, *, title: str, saliency: SaliencyMethod
) -> None:
    """Draw the first rows; without any row, log a message instead."""
    if not rows:
        logger.info("no case has a mask: there is no %s", png.name)
        return
    is_activation = saliency in get_args(CamSaliency)
    units = "activation" if is_activation else "normalised intensity"
    plot_saliency(rows[:MOST_ROWS], png, title=title, units=units)


def saliency_rows(
    predictor: "SaliencyPredictor",
    files: CaseFiles,
    *,
    output: OutputFolder,
    unsure: np.ndarray | None = None,
) -> Iterator[SaliencyCase]:
    """Yield a row for each label of a case that has a mask in the output folder.

    For a volume it is the slice with a mask that most likely shows the label: the slice with the
    largest mask might be a gross error.

    Args:
        unsure: (*spatial) bool, of all labels together; None where nothing is.
    """
    record = output.content_of_record(files.case)
    volumes = {} if record is None else record.get("volumes", {})
    shown = [name for name, volume in volumes.items() if volume["value"] > 0]
    if record is None or not shown:
        return
    num_channels = len(predictor.model.configuration.preprocessing.normalization)
    image, _ = read_input(files.images, num_channels=num_channels)
    label_map, _ = read_label_map(output.mask_path(files.case))
    masks = predictor.model.labels.masks(label_map)
    for name in shown:
        label = predictor.model.labels.names.index(name)
        about = record["labels"][name]
        maps, _ = output.read_saliency(files.case, label, MapScale(**about["saliency_file"]))
        arrays = [image, maps[None], masks[label][None]]
        if unsure is not None:
            arrays.append(unsure[None])
        title, index = files.case, 0
        if label_map.ndim == 3:
            axis = predictor.slice_axis or 0
            others = tuple(other for other in range(3) if other != axis)
            index = _likeliest(about["probability"], masks[label].any(axis=others))
            arrays = [np.take(array, index, axis=1 + axis) for array in arrays]
            title = f"{files.case}, slice {index}"
        shown_image, shown_map, shown_mask, *shown_unsure = arrays
        yield SaliencyCase(
            title=title if len(predictor.model.labels.names) == 1 else f"{title}\n{name}",
            image=shown_image,
            saliency=shown_map[0],
            mask=shown_mask[0],
            unsure=shown_unsure[0][0] if shown_unsure else None,
            probability=about["probability"][index],
        )


def _likeliest(probabilities: Sequence[float | None], has_mask: np.ndarray) -> int:
    """Return the slice of those with a mask that the classifier is surest of."""
    known = [-1.0 if value is None else value for value in probabilities]
    return int(np.where(has_mask, known, -2.0).argmax())
