"""The folder that a prediction writes: per case its maps, its samples, and last its record.

A case is whole when `records/CASE.json` exists. `predictions.json` holds all records of a folder.
"""

import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from diffunet.data.image_io import (
    ImageGeometry,
    MapScale,
    map_file_ending,
    read_map,
    write_label_map,
    write_map,
    write_signed_map,
)
from diffunet.errors import UsageError
from diffunet.inference.fuse import Votes
from diffunet.inference.model import DATASET_FILE, RESOLVED_PLANS_FILE, TrainedModel
from diffunet.jsonio import read_json, remove_unfinished, require_writable, write_json
from diffunet.names import file_parts

PREDICTIONS_FILE = "predictions.json"
RECORDS_FOLDER = "records"
SAMPLES_FOLDER = "samples"

_PREDICT_AGAIN = "predict the case again, without --continue_prediction"

logger = logging.getLogger(__name__)


@final
class OutputFolder:
    """Writes predictions in the geometry of their images; every file is whole or absent.

    Args:
        folder: is created.
        model: what labels, file ending and plans belong to.
        settings: of the run, as plain values; cases of other settings are none of this folder's.
    """

    def __init__(self, folder: Path, *, model: TrainedModel, settings: Mapping[str, Any]):
        self.folder = folder
        self._model = model
        self._settings = dict(settings)

    def begin(self, *, is_alone: bool) -> None:
        """Write what describes the run.

        Args:
            is_alone: no other process writes here, so what killed ones left can be deleted.
        """
        if is_alone:
            for folder in (".", RECORDS_FOLDER, SAMPLES_FOLDER):
                remove_unfinished(self.folder / folder)
        write_json(self.folder / DATASET_FILE, self._model.dataset_content)
        self._model.plans.save(self.folder / RESOLVED_PLANS_FILE)

    def require_writable(self, cases: Collection[str]) -> None:
        """Check, before anything is predicted, that the files of all cases can be written.

        Raises:
            WriteError: a folder takes no files, or a name is too long for it.
        """
        if not cases:
            return
        longest = max(cases, key=lambda case: len(os.fsencode(case)))
        labels = range(len(self._model.labels.names))
        maps = [*self._map_paths(longest), *(self.saliency_path(longest, i) for i in labels)]
        for path in (
            self._record_path(longest),
            self._sample_path(longest, 0),
            max(maps, key=lambda path: len(os.fsencode(path.name))),
        ):
            require_writable(path)

    def whole_cases(self) -> set[str]:
        """Return the cases that are whole.

        Raises:
            UsageError: some were made with other settings.
        """
        records = self._records()
        for case, record in records.items():
            names = setting_differences(record["settings"], self._settings)
            if names:
                raise UsageError(
                    f"'{self.folder}': case '{case}' was predicted with other settings "
                    f"({'; '.join(names)}); predict into another folder, or anew without "
                    "--continue_prediction"
                )
        return set(records)

    def clear(self, case: str) -> None:
        """Delete what an earlier run wrote for a case, its record first."""
        self._record_path(case).unlink(missing_ok=True)
        ending = self._model.file_ending
        samples = self.folder / SAMPLES_FOLDER
        name = re.compile(rf"{re.escape(case)}_s[0-9]+{re.escape(ending)}")
        if samples.is_dir():
            for path in samples.iterdir():
                if name.fullmatch(path.name):
                    path.unlink()
        labels = range(len(self._model.labels.names))
        maps = (*self._map_paths(case), *(self.saliency_path(case, label) for label in labels))
        for path in (self.mask_path(case), *maps):
            path.unlink(missing_ok=True)

    def write_sample(
        self, case: str, sample: int, masks: np.ndarray, geometry: ImageGeometry
    ) -> None:
        """Write one sample's boolean masks (label, *spatial) as a label map."""
        path = self._sample_path(case, sample)
        write_label_map(path, self._model.labels.label_map(masks), geometry)

    def write_maps(
        self, case: str, votes: Votes, geometry: ImageGeometry, *, has_probabilities: bool
    ) -> None:
        """Write consensus and uncertainty, and where asked for the probability of each label."""
        consensus = self._model.labels.label_map(votes.consensus())
        write_label_map(self.mask_path(case), consensus, geometry)
        del consensus
        uncertainty, *probabilities = self._map_paths(case)
        write_map(uncertainty, votes.uncertainty(), geometry)
        if has_probabilities:
            for label, path in enumerate(probabilities):
                write_map(path, votes.probability(label), geometry)

    def write_mask(self, case: str, masks: np.ndarray, geometry: ImageGeometry) -> None:
        """Write the boolean masks (label, *spatial) of a model that gives one answer."""
        write_label_map(self.mask_path(case), self._model.labels.label_map(masks), geometry)

    def write_saliency(
        self, case: str, label: int, saliency: np.ndarray, geometry: ImageGeometry
    ) -> MapScale:
        """Write a label's signed map (*spatial), and return how its numbers stand in the file."""
        return write_signed_map(self.saliency_path(case, label), saliency, geometry)

    def read_saliency(
        self, case: str, label: int, scale: MapScale
    ) -> tuple[np.ndarray, ImageGeometry]:
        """Return a label's signed map, and its geometry."""
        stored, geometry = read_map(self.saliency_path(case, label))
        return scale.restore(stored), geometry

    def write_record(self, case: str, content: Mapping[str, Any], geometry: ImageGeometry) -> None:
        """Declare a case whole.

        Args:
            content: what is said about it besides settings, shape and spacing.
        """
        about = {
            "settings": self._settings,
            "shape": geometry.shape,
            "spacing_mm": geometry.spacing_mm,
        }
        write_json(self._record_path(case), about | dict(content))

    def content_of_record(self, case: str) -> dict[str, Any] | None:
        """Return the `content` of a whole case of these settings; None where there is none."""
        path = self._record_path(case)
        if not path.is_file():
            return None
        record = read_json(path, UsageError, remedy=_PREDICT_AGAIN)
        if record["settings"] != self._settings:
            return None
        about = ("settings", "shape", "spacing_mm")
        return {name: value for name, value in record.items() if name not in about}

    def gather(self) -> Path:
        """Write `predictions.json` from the records with these settings, and return its path.

        Several processes may do so at once: each looks again after writing, so that the last one
        has seen every record.
        """
        path = self.folder / PREDICTIONS_FILE
        gathered: set[str] | None = None
        while True:
            records = self._records()
            if set(records) == gathered:
                return path
            gathered = set(records)
            cases = {
                case: {key: value for key, value in record.items() if key != "settings"}
                for case, record in sorted(records.items())
                if record["settings"] == self._settings
            }
            others = sorted(gathered.difference(cases))
            if others:
                logger.warning(
                    "'%s': %d cases were predicted with other settings and are not in it: %s",
                    path,
                    len(others),
                    ", ".join(others[:10]),
                )
            write_json(path, {"settings": self._settings, "cases": cases})

    def mask_path(self, case: str) -> Path:
        """Return where the consensus of a case is written."""
        return self.folder / f"{case}{self._model.file_ending}"

    def saliency_path(self, case: str, label: int) -> Path:
        """Return where the saliency of a label is written."""
        return self._map_path(case, self._of_labels("saliency")[label])

    def _map_paths(self, case: str) -> list[Path]:
        """Return the path of the uncertainty, then those of each label's probability."""
        names = ("uncertainty", *self._of_labels("probability"))
        return [self._map_path(case, name) for name in names]

    def _of_labels(self, kind: str) -> list[str]:
        """Return the name of each label's map of a kind; a single label needs none of its own."""
        names = self._model.labels.names
        if len(names) == 1:
            return [kind]
        return [f"{kind}_{part}" for part in file_parts(names)]

    def _map_path(self, case: str, name: str) -> Path:
        return self.folder / f"{case}_{name}{map_file_ending(self._model.file_ending)}"

    def _sample_path(self, case: str, sample: int) -> Path:
        name = f"{case}_s{sample:02d}{self._model.file_ending}"
        return self.folder / SAMPLES_FOLDER / name

    def _record_path(self, case: str) -> Path:
        return self.folder / RECORDS_FOLDER / f"{case}.json"

    def _records(self) -> dict[str, dict[str, Any]]:
        paths = (self.folder / RECORDS_FOLDER).glob("*.json")
        return {
            path.stem: read_json(path, UsageError, remedy=_PREDICT_AGAIN)
            for path in paths
            if path.name[0] != "."
        }


def setting_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words each setting that is not what it was."""
    names = sorted({*old, *new})
    return [
        f"{name}: {old.get(name)!r}, now {new.get(name)!r}"
        for name in names
        if old.get(name) != new.get(name)
    ]
