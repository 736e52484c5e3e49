"""Which files are scored against which, and their label maps."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, StoredMap
from diffunet.data.prediction_records import (
    RECORDS_FOLDER,
    PredictionRecord,
    read_records,
    setting_differences,
)
from diffunet.data.prediction_samples import SAMPLES_FOLDER, is_sample, samples_by_case
from diffunet.data.raw.case_files import Findings, listing
from diffunet.data.raw.label_files import labels_by_case, rater_problem
from diffunet.errors import DatasetError, UsageError
from diffunet.evaluation.checked_reader import CheckedReader
from diffunet.evaluation.packed_maps import PackedMaps
from diffunet.labels import LabelScheme
from diffunet.names import canonical

logger = logging.getLogger(__name__)

_MAP = re.compile(r".+_(probability|uncertainty|saliency)(_.+)?")


@dataclass(frozen=True, kw_only=True)
class ScoredFolders:
    """Two folders of label maps, and what is known of them.

    Attributes:
        reference: `CASE.ext`, or `CASE_r00.ext`, ... with `has_raters`.
        prediction: `CASE.ext`, the consensus, and optionally the samples; without samples the mask
            of a case counts as its only sample (a folder of nnU-Net's).
        rater: whose masks alone are references, such as "r01"; cases that he did not draw are left
            out. None for all raters.
        patients: by case; a case without an entry is a patient of its own.
    """

    reference: Path
    prediction: Path
    labels: LabelScheme
    file_ending: str
    has_raters: bool
    rater: str | None = None
    patients: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class ScoredFiles:
    """The files of one case.

    Attributes:
        references: label maps, one per rater, sorted by rater.
        prediction: the consensus, or the only mask.
        samples: drawn label maps in their order; empty where there is only the prediction.
        written: the state of each file of samples when they were drawn, where this was recorded.
    """

    case: str
    references: tuple[Path, ...]
    prediction: Path
    samples: tuple[StoredMap, ...]
    written: dict[Path, FileState] = field(default_factory=dict[Path, FileState])

    @property
    def num_samples(self) -> int:
        return max(1, len(self.samples))


@dataclass(frozen=True, kw_only=True)
class MapBlock:
    """A part of all label maps of a case; `rows` is the part of the first axis."""

    rows: slice
    references: Integer[np.ndarray, "rater *block"]
    prediction: Integer[np.ndarray, "*block"]
    samples: Integer[np.ndarray, "sample *block"]


@dataclass(frozen=True, kw_only=True)
class LabelMaps:
    """The label maps of one case, all of one shape, compressed.

    Attributes:
        packed: references, then the prediction, then the samples, if there are any.
        num_references: raters.
        spacing_mm: of the reference, in array order.
    """

    packed: PackedMaps
    num_references: int
    spacing_mm: tuple[float, ...]

    @property
    def num_samples(self) -> int:
        """At least 1: without samples the prediction stands for one."""
        return max(1, len(self.packed) - self.num_references - 1)

    def blocks(self) -> Iterator[MapBlock]:
        """Yield all maps, from the first rows to the last."""
        numbers = range(len(self.packed))
        for index, rows in enumerate(self.packed.blocks()):
            maps = self.packed.block(numbers, index)
            yield MapBlock(
                rows=rows,
                references=maps[: self.num_references],
                prediction=maps[self.num_references],
                samples=maps[-self.num_samples :],
            )

    def map_blocks(self, number: int) -> Iterator[Integer[np.ndarray, "*block"]]:
        """Yield one map, such as that of a rater, in parts of the first axis."""
        for index in range(len(self.packed.blocks())):
            yield self.packed.block([number], index)[0]


def check_order(reference: Path, prediction: Path) -> None:
    """Check that two folders are not swapped, as far as folders of ours tell, and are two.

    Raises:
        UsageError: they are not.
    """
    if reference.resolve() == prediction.resolve():
        raise UsageError(
            f"'{reference}' is given twice: expected a folder of masks that experts drew, and one "
            "of predictions"
        )
    holds_records = [(folder / RECORDS_FOLDER).is_dir() for folder in (reference, prediction)]
    if holds_records == [True, False]:
        raise UsageError(
            f"the folders are swapped: expected masks that experts drew in '{reference}', found "
            f"predictions of diffunet, and none in '{prediction}'; give them the other way round"
        )


def pair_files(
    folders: ScoredFolders, *, problems: list[str], cases: Collection[str] | None = None
) -> list[ScoredFiles]:
    """Return the cases that have both references and a prediction, sorted.

    Args:
        problems: gets every fault of the folders.
        cases: whose references count; None: all, so that each must be predicted.
    """
    file_ending = folders.file_ending
    for folder in (folders.reference, folders.prediction):
        if not folder.is_dir():
            problems.append(f"'{folder}': expected a folder of label maps, found none")
    if problems:
        return []
    findings = Findings()
    predictions = _by_stem(folders.prediction, file_ending)
    references = labels_by_case(
        folders.reference,
        file_ending,
        has_raters=folders.has_raters,
        findings=findings,
        cases=[stem for stem in predictions if not _MAP.fullmatch(stem)],
    )
    problems += findings.problems
    if of_raters := rater_problem(references.items()):
        problems.append(of_raters)
    if not references:
        if not findings.problems:
            problems.append(_nothing_in(folders.reference, file_ending))
        return []
    samples = samples_by_case(folders.prediction, file_ending, problems=problems)
    predicted = {stem for stem in predictions if stem in references or not _MAP.fullmatch(stem)}
    if references and predicted and not predicted & set(references):
        problems.append(
            f"expected masks and predictions of the same cases, found none in both: "
            f"'{folders.reference}' has {listing(references)}, '{folders.prediction}' has "
            f"{listing(predicted)}; give the masks of the predicted cases"
        )
        return []
    if cases is not None:
        references = {case: files for case, files in references.items() if case in cases}
    _report_extra(predicted | set(samples), set(references), problems=problems)
    if folders.rater is not None:
        references = _of_rater(folders.rater, references, problems=problems)
    _report_missing(set(references), predictions, folder=folders.prediction, problems=problems)
    complete = sorted(set(references) & predicted)
    paired = [
        ScoredFiles(
            case=case,
            references=tuple(references[case].values()),
            prediction=predictions[case],
            samples=samples.get(case, ()),
        )
        for case in complete
    ]
    _report_uneven_samples(paired, problems=problems)
    if (folders.prediction / RECORDS_FOLDER).is_dir():
        return _with_records(paired, folders, problems=problems)
    return paired


def _of_rater(
    rater: str, references: Mapping[str, dict[str, Path]], *, problems: list[str]
) -> dict[str, dict[str, Path]]:
    """Return the masks of one rater, of the cases that he drew."""
    found = {case: {rater: of[rater]} for case, of in references.items() if rater in of}
    if not found:
        known = {each for of in references.values() for each in of}
        problems.append(f"--rater {rater}: expected one of the raters who drew, {listing(known)}")
    return found


def read_maps(files: ScoredFiles, *, labels: LabelScheme) -> LabelMaps:
    """Read all label maps of a case.

    Raises:
        DatasetError: all their faults: a map is unreadable, its grid is not that of the first
            reference (shape, spacing, origin, direction), or it has integers that `labels` does not
            know.
    """
    packed: PackedMaps | None = None
    problems: list[str] = []
    first: ImageGeometry | None = None
    masks = [StoredMap(path=path) for path in (*files.references, files.prediction)]
    reader = CheckedReader(labels)
    num_raters = len(files.references)
    for number, stored in enumerate((*masks, *files.samples)):
        found = reader.read(
            stored,
            case=files.case,
            like=None if first is None else (masks[0].path, first),
            written=files.written.get(stored.path),
            problems=problems,
            is_reference=number < num_raters,
        )
        if found is None:
            continue
        label_map, geometry = found
        if first is None or packed is None:
            first = geometry
            packed = PackedMaps(label_map.shape, np.dtype(_smallest_dtype(labels)))
        if not problems:
            packed.add(label_map)
    if problems or first is None or packed is None:
        raise DatasetError(problems)
    return LabelMaps(packed=packed, num_references=num_raters, spacing_mm=first.spacing_mm)


def _by_stem(folder: Path, file_ending: str) -> dict[str, Path]:
    return {
        canonical(path.name[: -len(file_ending)]): path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.name.lower().endswith(file_ending.lower())
        and not path.name.startswith(".")
    }


def _nothing_in(folder: Path, file_ending: str) -> str:
    """Return what is wrong with a folder without references, and where they may be."""
    deeper = sorted(path.name for path in folder.glob("labels*") if path.is_dir())
    remedy = f"; give its folder {listing(deeper)}" if deeper else ""
    return f"'{folder}': expected label maps, found none ({file_ending}){remedy}"


def _report_extra(found: Collection[str], expected: set[str], *, problems: list[str]) -> None:
    extra = set(found) - expected
    if extra:
        problems.append(
            f"expected predictions only of cases that have references, found {len(extra)} others: "
            f"{listing(extra)}; move them into another folder, or add their references"
        )


def _report_missing(
    expected: set[str], found: Collection[str], *, folder: Path, problems: list[str]
) -> None:
    missing = expected - set(found)
    if missing:
        problems.append(
            f"'{folder}': expected a label map of each case, found none of {len(missing)}: "
            f"{listing(missing)}; add them"
        )


def _report_uneven_samples(paired: list[ScoredFiles], *, problems: list[str]) -> None:
    """Scores of distributions depend on the number of samples: it must be the same in all cases."""
    most = max((files.num_samples for files in paired), default=1)
    fewer = [files.case for files in paired if files.num_samples < most]
    if fewer:
        problems.append(
            f"expected {most} samples of each case, found fewer of {len(fewer)}: {listing(fewer)}; "
            "predict them again (--continue_prediction completes a folder)"
        )


def _with_records(
    paired: list[ScoredFiles], folders: ScoredFolders, *, problems: list[str]
) -> list[ScoredFiles]:
    """Return the cases with the records of their samples, and report files that do not match them.

    All predictions of a folder must come from one model with one choice of settings, and all
    samples of a case from one run.
    """
    folder = folders.prediction
    records = read_records(folder)
    known = {files.case: records[files.case] for files in paired if files.case in records}
    if unfinished := [files.case for files in paired if files.case not in known]:
        problems.append(
            f"'{folder}': expected the record '{RECORDS_FOLDER}/CASE.json' of each case, found "
            f"none of {len(unfinished)}: {listing(unfinished)}; their prediction did not finish, "
            "or they come from elsewhere: predict them again, or remove them"
        )
    _report_mixed_settings(known, problems=problems)
    drawn_as = {each.settings.get("rater") for each in known.values()} - {folders.rater}
    for name in drawn_as:
        remedy = f"--rater {name} scores them against his masks alone"
        if name is None:
            remedy = f"leave --rater out, or draw with diffunet_predict --rater {folders.rater}"
        logger.warning(
            "these masks were drawn as %s would, and are scored against %s; %s",
            f"the rater {name}" if name else "all raters together",
            f"{folders.rater} alone" if folders.rater else "all raters",
            remedy,
        )
    found: list[ScoredFiles] = []
    for files in paired:
        record = known.get(files.case)
        if record is None or record.files is None:
            found.append(files)
            continue
        written = {folder / name: state for name, state in record.files.items() if is_sample(name)}
        there = {stored.path for stored in files.samples}
        if different := sorted(path.name for path in set(written) ^ there):
            problems.append(
                f"case '{files.case}': expected the {len(written)} files of samples that were "
                f"drawn, found {len(there)} in '{folder / SAMPLES_FOLDER}', which differ in "
                f"{listing(different)}; predict the case again"
            )
        found.append(replace(files, written=written))
    return found


def _report_mixed_settings(records: Mapping[str, PredictionRecord], *, problems: list[str]) -> None:
    first = next(iter(records.values()), None)
    if first is None:
        return
    others = [case for case, each in records.items() if each.settings != first.settings]
    if others:
        names = setting_differences(first.settings, records[others[0]].settings)
        shown = "; ".join(name.replace(", now ", " and ") for name in names)
        problems.append(
            f"expected predictions with one choice of settings, found {len(records) - len(others)} "
            f"and {len(others)} that differ ({shown}): {listing(others)}; predict these again, or "
            "remove them"
        )


def _smallest_dtype(labels: LabelScheme) -> "type[np.uint8] | type[np.uint16]":
    return np.uint8 if max(labels.all_values) < 256 else np.uint16
