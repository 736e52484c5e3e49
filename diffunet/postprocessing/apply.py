"""Apply post-processing to a folder of predictions: to its samples, or to masks that have none."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.image_io import ImageGeometry
from diffunet.inference.fuse import volumes_of
from diffunet.inference.output import OutputFolder
from diffunet.inference.written import (
    SourceOfMasks,
    WrittenCase,
    WrittenFolder,
    make_folder,
    read_masks,
    read_written,
    write_samples,
)
from diffunet.parallel import Progress
from diffunet.postprocessing.plan import PostProcessing, post_processed
from diffunet.workspace import APPLIED_POSTPROCESSING_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Application:
    """A folder of predictions, and what is done to its masks."""

    written: WrittenFolder
    plan: PostProcessing

    def settings(self) -> dict[str, Any]:
        """Return those of the predictions, with all steps that their masks have been through."""
        former = self.written.settings.get("postprocessing", [])
        return {**self.written.settings, "postprocessing": [*former, *self.plan.keep_largest_of]}

    def masks_of(self, written: WrittenCase) -> Iterator[tuple[np.ndarray, ImageGeometry]]:
        """Yield the masks of each file after all steps."""
        labels = self.written.labels
        files = [(written, stored) for stored in written.masks]
        for masks, geometry in read_masks(files, labels=labels):
            yield post_processed(masks, self.plan.keep_largest_of, labels=labels), geometry

    def write_case(self, case: str, output: OutputFolder) -> None:
        """Write a case with what its record said before, but for volumes and disagreement."""
        written, labels = self.written.cases[case], self.written.labels
        if written.samples:
            made = self.written.settings.get("output", {})
            found, geometry = write_samples(
                output,
                case,
                self.masks_of(written),
                num_samples=len(written.samples),
                labels=labels,
                has_probabilities=bool(made.get("has_probabilities")),
            )
        else:
            ((masks, geometry),) = self.masks_of(written)
            output.write_mask(case, masks, geometry)
            num_voxels = {0: [int(np.count_nonzero(mask)) for mask in masks]}
            volumes = volumes_of(num_voxels, names=labels.names, geometry=geometry)
            found = {
                "volumes": {name: asdict(volume) for name, volume in volumes.items()},
                "disagreement": {},  # of samples that nobody saved
            }
        output.write_record(case, {**written.record.content, **found}, geometry)


def apply_to_folder(folder: Path, output: Path, *, file: Path, progress: Progress) -> Path:
    """Write the predictions of a folder anew, after post-processing, and return the output.

    Each sample goes through all steps by itself; then consensus, uncertainty and volumes are made
    anew. Of predictions without samples the masks alone are written.

    Raises:
        UsageError: the folder holds no whole predictions, or the file does not belong to them.
        DatasetError: at the end, cases that could not be read.
    """
    plan, written = PostProcessing.load(file), read_written(folder)
    plan.require_labels(written.labels, where=file)
    if not plan.keep_largest_of:
        logger.warning("'%s': no step made the scores better, so the masks stay as they are", file)
    application = _Application(written=written, plan=plan)
    return make_folder(
        output,
        source=SourceOfMasks(
            command="diffunet_apply_postprocessing",
            signature=APPLIED_POSTPROCESSING_FILE,
            content=plan,
            dataset_content=written.dataset_content,
            labels=written.labels,
        ),
        settings=application.settings(),
        inputs={case: each.masks for case, each in written.cases.items()},
        write_case=application.write_case,
        progress=progress,
    )
