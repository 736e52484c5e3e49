"""The output folder of a prediction: per case its maps, its samples, and last its record.

A case is whole when `records/CASE.json` exists. `predictions.json` holds all records of a folder.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from diffunet.data import prediction_samples as samples
from diffunet.data.file_state import FileState
from diffunet.data.image_io import (
    ImageGeometry,
    MapScale,
    StackWriter,
    file_ending_of,
    files_of_image,
    map_file_ending,
    read_map,
    write_label_map,
    write_map,
    write_signed_map,
)
from diffunet.data.label_tables import ITK_SNAP_FILE, SLICER_FILE, write_label_tables
from diffunet.data.prediction_records import (
    RECORDS_FOLDER,
    PredictionRecord,
    files_read,
    read_record,
    read_records,
    record_path,
    setting_differences,
)
from diffunet.data.raw.case_files import CaseFiles, listing
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.fuse import Votes
from diffunet.inference.place import check_run, sign_run
from diffunet.jsonio import copy_file, remove_unfinished, require_writable, write_json
from diffunet.labels import LabelScheme
from diffunet.names import file_parts, require_names_on
from diffunet.workspace import (
    APPLIED_POSTPROCESSING_FILE,
    CROSSVAL_FILE,
    DATASET_FILE,
    ENSEMBLE_FILE,
    POSTPROCESSING_FILE,
    RESOLVED_PLANS_FILE,
    SUMMARY_FILE,
)

PREDICTIONS_FILE = "predictions.json"
PICTURES_FOLDER = "pictures"

_OWN_FILES = (
    *(DATASET_FILE, RESOLVED_PLANS_FILE, PREDICTIONS_FILE, SUMMARY_FILE),
    *(ITK_SNAP_FILE, SLICER_FILE),
    *(CROSSVAL_FILE, ENSEMBLE_FILE, POSTPROCESSING_FILE, APPLIED_POSTPROCESSING_FILE),
)
_GRID = ("shape", "spacing_mm")
"""The part of a record that describes the grid of a case."""

logger = logging.getLogger(__name__)


class MaskSource(Protocol):
    """What makes the masks of a folder: a model, or a command that works on masks."""

    @property
    def labels(self) -> LabelScheme: ...

    @property
    def file_ending(self) -> str: ...

    @property
    def dataset_content(self) -> dict[str, Any]: ...

    def sign(self, folder: Path) -> None:
        """Write the file by which a folder is known as one of this kind; it is the first."""
        ...


@final
class OutputFolder:
    """Writes predictions in the geometry of their images; every file is whole or absent.

    Args:
        folder: is created.
        model: what labels and file ending belong to, and what signs the folder.
        settings: of the run, as plain values; cases with other settings do not belong to it.
        stacks_samples: write all samples of a case into one file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: MaskSource,
        settings: Mapping[str, Any],
        stacks_samples: bool = False,
    ):
        self.folder = folder
        self._model = model
        self._settings = dict(settings)
        self._stacks_samples = stacks_samples
        self._stacks: dict[str, StackWriter] = {}
        self._inputs: dict[str, tuple[FileState, ...]] = {}
        self._written: dict[str, dict[str, FileState]] = defaultdict(dict)

    def check_names(self, cases: Collection[str]) -> None:
        """Check that no two cases, among `cases` and those in the folder, share a file.

        Raises:
            UsageError: two do.
        """
        owners: dict[str, str] = dict.fromkeys(_OWN_FILES, "")
        problems = []
        for case in sorted({*cases, *read_records(self.folder)}):
            for path in self._paths_of(case):
                other = owners.setdefault(path.name, case)
                if other != case:
                    whose = f"the case '{other}'" if other else "the folder itself"
                    problems.append(f"'{path.name}' of the case '{case}' and of {whose}")
        if problems:
            raise UsageError(
                f"'{self.folder}': files of different cases would have one name: "
                f"{'; '.join(problems[:10])}; rename these images, or predict them into different "
                "folders"
            )
        require_names_on(self.folder, owners, what="files", error=UsageError)

    def begin(self, *, is_alone: bool) -> None:
        """Write the description of the run.

        Args:
            is_alone: no other process writes here, so leftovers of killed ones can be deleted.
        """
        if is_alone:
            for folder in (".", RECORDS_FOLDER, samples.SAMPLES_FOLDER, PICTURES_FOLDER):
                remove_unfinished(self.folder / folder)
        self._model.sign(self.folder)  # first: see `place`
        sign_run(self.folder, self._settings)
        write_json(self.folder / DATASET_FILE, self._model.dataset_content)
        write_label_tables(self.folder, self._model.labels)

    def require_writable(self, cases: Collection[str]) -> None:
        """Check, before anything is predicted, that the files of all cases can be written.

        Raises:
            WriteError: a folder takes no files, or a name is too long for it.
        """
        if not cases:
            return
        longest = max(cases, key=lambda case: len(os.fsencode(case)))
        require_writable(record_path(self.folder, longest))
        require_writable(max(self._paths_of(longest), key=lambda path: len(os.fsencode(path.name))))
        sample = samples.stack_path(self.folder, longest, num_dimensions=3)
        if sample.parent.exists():  # made with the first sample, in a folder that was tried
            require_writable(sample)

    def whole_cases(self, cases: Sequence[CaseFiles]) -> set[str]:
        """Return which of `cases` are whole: made from the present images, with all files.

        Raises:
            UsageError: some cases in the folder were made with other settings.
        """
        records = read_records(self.folder)
        for case, record in records.items():
            names = setting_differences(record.settings, self._settings)
            if names:
                raise UsageError(
                    f"'{self.folder}': case '{case}' was predicted with other settings "
                    f"({'; '.join(names)}); predict into another folder, or anew without "
                    "--continue_prediction"
                )
        there = [files for files in cases if files.case in records]
        whole = {
            files.case
            for files in there
            if records[files.case].is_made_from(files) and self._has_all_files(records[files.case])
        }
        if len(whole) < len(there):
            anew = [files.case for files in there if files.case not in whole]
            logger.info(
                "'%s': made anew, since what they come from changed, or some of their files are "
                "missing or damaged: %s",
                self.folder,
                listing(anew),
            )
        return whole

    def clear(self, cases: Collection[str]) -> None:
        """Delete the files of earlier runs for some cases, their records first."""
        for case in cases:
            record_path(self.folder, case).unlink(missing_ok=True)
        for path in samples.sample_files(
            self.folder, set(cases), file_ending=self._model.file_ending
        ):
            path.unlink()
        for case in cases:
            for path in self._paths_of(case):
                path.unlink(missing_ok=True)

    def begin_case(self, files: CaseFiles) -> None:
        """Note the images of a case before they are read.

        Raises:
            UsageError: a run of other settings has begun in this folder.
        """
        check_run(self.folder, self._settings)
        self._stacks.pop(files.case, None)
        try:
            self._inputs[files.case] = tuple(
                FileState.of(path, has_time=True) for path in files_read(files)
            )
        except OSError:  # said, with a remedy, by the reader
            self._inputs.pop(files.case, None)

    def write_sample(
        self, case: str, sample: int, masks: np.ndarray, geometry: ImageGeometry
    ) -> None:
        """Write one sample's boolean masks (label, *spatial) as a label map.

        A file of all samples is written with the record.
        """
        label_map = self._model.labels.label_map(masks)
        if not self._stacks_samples:
            path = samples.sample_path(
                self.folder, case, sample, file_ending=self._model.file_ending
            )
            write_label_map(path, label_map, geometry)
            self._note(case, path)
            return
        if case not in self._stacks:
            path = samples.stack_path(self.folder, case, num_dimensions=geometry.num_dimensions)
            self._stacks[case] = StackWriter(path, geometry, dtype=label_map.dtype)
        self._stacks[case].add(sample, label_map)

    def write_maps(
        self, case: str, votes: Votes, geometry: ImageGeometry, *, has_probabilities: bool
    ) -> None:
        """Write consensus and uncertainty, and where asked for the probability of each label."""
        consensus = self._model.labels.label_map(votes.consensus())
        write_label_map(self.mask_path(case), consensus, geometry)
        self._note(case, self.mask_path(case))
        del consensus
        uncertainty, *probabilities = self._map_paths(case)
        write_map(uncertainty, votes.uncertainty(), geometry)
        self._note(case, uncertainty)
        if has_probabilities:
            for label, path in enumerate(probabilities):
                write_map(path, votes.probability(label), geometry)
                self._note(case, path)

    def write_mask(self, case: str, masks: np.ndarray, geometry: ImageGeometry) -> None:
        """Write the boolean masks (label, *spatial) of a model that gives one answer."""
        write_label_map(self.mask_path(case), self._model.labels.label_map(masks), geometry)
        self._note(case, self.mask_path(case))

    def write_saliency(
        self, case: str, label: int, saliency: np.ndarray, geometry: ImageGeometry
    ) -> MapScale:
        """Write a label's signed map (*spatial), and return how its numbers stand in the file."""
        path = self.saliency_path(case, label)
        scale = write_signed_map(path, saliency, geometry)
        self._note(case, path)
        return scale

    def read_saliency(
        self, case: str, label: int, scale: MapScale
    ) -> tuple[np.ndarray, ImageGeometry]:
        """Return a label's signed map, and its geometry."""
        stored, geometry = read_map(self.saliency_path(case, label))
        return scale.restore(stored), geometry

    def write_record(self, case: str, content: Mapping[str, Any], geometry: ImageGeometry) -> None:
        """Declare a case whole, or say more about one that is.

        Args:
            content: what is said about it besides settings, grid, input and files.

        Raises:
            UsageError: a run of other settings has begun in this folder.
        """
        check_run(self.folder, self._settings)
        if case in self._stacks:
            stack = self._stacks.pop(case)
            stack.write()
            self._note(case, stack.path)
        former = read_record(self.folder, case)
        grid = dict(zip(_GRID, (geometry.shape, geometry.spacing_mm), strict=True))
        record = PredictionRecord(
            settings=self._settings,
            input=self._inputs.pop(case, former.input if former else None),
            files={
                **((former.files or {}) if former else {}),
                **self._written.pop(case, {}),
            },
            content={**grid, **content},
        )
        write_json(record_path(self.folder, case), record.as_json())

    def copy_case(self, case: str, record: PredictionRecord, *, source: Path) -> None:
        """Take over a whole case of another folder: its files, and last its record."""
        for name in record.files or {}:
            for path in files_of_image(source / name):
                copy_file(path, (self.folder / name).with_name(path.name))
        taken = replace(record, settings=self._settings)
        write_json(record_path(self.folder, case), taken.as_json())

    def content_of_record(self, case: str) -> dict[str, Any] | None:
        """Return the `content` of a whole case of these settings; None where there is none."""
        record = read_record(self.folder, case)
        if record is None or record.settings != self._settings:
            return None
        return {name: value for name, value in record.content.items() if name not in _GRID}

    def gather(self) -> Path:
        """Write `predictions.json` from the records with these settings, and return its path.

        Several processes may do so at once: each looks again after writing, so that the last one
        has seen every record.
        """
        path = self.folder / PREDICTIONS_FILE
        gathered: set[str] | None = None
        while True:
            records = read_records(self.folder)
            if set(records) == gathered:
                return path
            gathered = set(records)
            cases = {
                case: record.content
                for case, record in records.items()
                if record.settings == self._settings
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
        return [kind] if len(names) == 1 else [f"{kind}_{part}" for part in file_parts(names)]

    def _map_path(self, case: str, name: str) -> Path:
        return self.folder / f"{case}_{name}{map_file_ending(self._model.file_ending)}"

    def _paths_of(self, case: str) -> Iterator[Path]:
        """Yield every file that any run writes for a case, but for samples and record."""
        labels = range(len(self._model.labels.names))
        yield self.mask_path(case)
        yield from self._map_paths(case)
        yield from (self.saliency_path(case, label) for label in labels)
        if file_ending_of(self.mask_path(case)) in (".tif", ".tiff"):
            yield self.mask_path(case).with_suffix(".json")  # the spacing of a volume

    def _note(self, case: str, path: Path) -> None:
        """Note for the record that a file was written."""
        name = path.relative_to(self.folder).as_posix()
        self._written[case][name] = FileState.of(path, has_time=False)

    def _has_all_files(self, record: PredictionRecord) -> bool:
        """Whether all written files are there: of the same size, or changed by a user but whole."""
        return record.files is not None and all(
            state.has_size_of(self.folder / name) or _is_readable(self.folder / name)
            for name, state in record.files.items()
        )


def _is_readable(path: Path) -> bool:
    try:
        read_map(path)
    except DatasetError:
        return False
    return True
