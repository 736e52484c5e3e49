"""Masks whose threshold is that of a whole set of cases ("otsu_mean").

They wait until every case has its maps. The run that finds all maps makes them; of several parts
this is the last.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diffunet.data.raw.case_files import CaseFiles
from diffunet.inference.options import FolderRun
from diffunet.inference.output import OutputFolder
from diffunet.wsss.masks.label_masks import shared_thresholds
from diffunet.wsss.prediction.case_records import (
    from_plain,
    plain,
    read_maps,
    said_if_damaged,
    with_masks,
)

SHARED = "otsu_mean"
"""The rule of a threshold that all cases share."""

MasksOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From maps (label, *spatial) and thresholds (slice, label) to masks (label, *spatial)."""

logger = logging.getLogger(__name__)


def write_shared_masks(
    cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder, masks_of: MasksOf
) -> None:
    """Make the masks that are missing, or were made with another mean; none before all have maps.

    Args:
        cases: of all parts of a division; a run without parts does not wait for those that failed.
    """
    contents = {files.case: output.content_of_record(files.case) for files in cases}
    records = {case: content for case, content in sorted(contents.items()) if content is not None}
    if not run.part.is_all and len(records) < len(cases):
        logger.info(
            "'%s': the threshold is the mean over all cases, and %d of %d have no saliency "
            "yet; the last part to end makes the masks; so does a run with "
            "--continue_prediction and without -num_parts",
            output.folder,
            len(cases) - len(records),
            len(cases),
        )
        return
    thresholds = {}
    for case, record in records.items():
        with said_if_damaged(output, case):
            columns = [from_plain(each["slice_threshold"]) for each in record["labels"].values()]
            thresholds[case] = np.stack(columns, axis=1)
    for case, record in records.items():
        with said_if_damaged(output, case):
            shared = shared_thresholds(thresholds[case], all_thresholds=thresholds.values())
            wanted = [plain(column) for column in shared.T]
            if [label.get("threshold") for label in record["labels"].values()] != wanted:
                _write_mask(case, record, shared, output=output, masks_of=masks_of)


def _write_mask(
    case: str,
    record: Mapping[str, Any],
    thresholds: np.ndarray,
    *,
    output: OutputFolder,
    masks_of: MasksOf,
) -> None:
    maps, geometry = read_maps(output, case, record)
    masks = masks_of(maps, thresholds)
    output.write_mask(case, masks, geometry)
    content = with_masks(record, thresholds, masks, geometry)
    output.write_record(case, content, geometry)
