"""Which images a folder of predictions was made from, and which masks it is compared with.

Records know an image by its content, not by its place: a file is taken for a case's image if it is
that very file, or if the user says where images lie.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffunet.data.image_io import files_of_image
from diffunet.data.prediction_records import PredictionRecord
from diffunet.data.raw.case_files import (
    Findings,
    images_by_case,
    listing,
)
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.data.raw.label_files import labels_by_case
from diffunet.errors import UsageError
from diffunet.report.charts import counted
from diffunet.report.evaluation import Evaluation
from diffunet.report.json_facts import at
from diffunet.workspace import (
    IMAGES_FOLDER,
    LABELS_FOLDER,
    TEST_IMAGES_FOLDER,
    TEST_LABELS_FOLDER,
)

_LABELS_OF = {IMAGES_FOLDER: LABELS_FOLDER, TEST_IMAGES_FOLDER: TEST_LABELS_FOLDER}


@dataclass(frozen=True, kw_only=True)
class CaseInputs:
    """The files beside a prediction.

    Attributes:
        images: one per channel, or one that holds all; empty where they are unknown.
        references: masks by rater; empty where there are none.
    """

    images: tuple[Path, ...] = ()
    references: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where the user says that things lie.

    Attributes:
        images: folder of `CASE_0000.ext` files, or one image; None if unknown.
        references: folder of masks; None if unknown.
        raw_folders: folders of raw datasets in which the images may be found.
    """

    images: Path | None = None
    references: Path | None = None
    raw_folders: tuple[Path, ...] = ()


def find_inputs(
    cases: Sequence[str],
    *,
    records: Mapping[str, PredictionRecord],
    evaluation: Evaluation | None,
    asked: Asked,
    file_ending: str,
    num_channels: int,
    has_raters: bool,
) -> tuple[dict[str, CaseInputs], list[str]]:
    """Return the files of each case, and sentences about what was not found.

    Raises:
        UsageError, DatasetError: a folder that the user named does not fit.
    """
    notes: list[str] = []
    images = _images(
        cases, records, asked=asked, file_ending=file_ending, num_channels=num_channels, notes=notes
    )
    references = _references(
        cases,
        evaluation,
        asked=asked,
        image_folders={path.parent for paths in images.values() for path in paths[:1]},
        file_ending=file_ending,
        has_raters=has_raters,
    )
    if evaluation is not None:
        notes += _note_on_references(evaluation, references)
    inputs = {
        case: CaseInputs(images=images.get(case, ()), references=references.get(case, {}))
        for case in cases
    }
    return inputs, notes


def _images(
    cases: Sequence[str],
    records: Mapping[str, PredictionRecord],
    *,
    asked: Asked,
    file_ending: str,
    num_channels: int,
    notes: list[str],
) -> dict[str, tuple[Path, ...]]:
    if asked.images is not None:
        given = find_input_cases(asked.images, file_ending, num_channels)
        found = {each.case: each.images for each in given if each.case in set(cases)}
        changed = [case for case, paths in found.items() if _is_changed(records.get(case), paths)]
        if not found:
            raise UsageError(
                f"'{asked.images}': expected images of the predicted cases ({listing(cases)}), "
                f"found {listing([each.case for each in given])}; give what was predicted"
            )
        if changed:
            notes.append(
                f"The images of {counted(len(changed), 'case')} in '{asked.images}' are not "
                f"those that were predicted, for example {changed[0]}."
            )
    else:
        found = _images_by_content(
            records, asked.raw_folders, file_ending=file_ending, num_channels=num_channels
        )
    missing = len(cases) - len(found)
    if missing:
        whose = "the cases" if missing == len(cases) else counted(missing, "case")
        notes.append(
            f"The images of {whose} were not found, so maps stand alone: say with -i where they "
            "are."
        )
    return found


def _images_by_content(
    records: Mapping[str, PredictionRecord],
    raw_folders: Iterable[Path],
    *,
    file_ending: str,
    num_channels: int,
) -> dict[str, tuple[Path, ...]]:
    """Return the images in raw datasets that are those of the records.

    A record of a validation, which is made from preprocessed images, names its dataset alone.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for raw in raw_folders:
        for name in (TEST_IMAGES_FOLDER, IMAGES_FOLDER):
            if not (raw / name).is_dir():
                continue
            listed = images_by_case(raw / name, file_ending, num_channels, findings=Findings())
            for case, record in records.items():
                paths = listed.get(case)
                if paths is None or case in found or _is_changed(record, paths):
                    continue
                if record.input is not None or at(record.settings, "dataset") == raw.name:
                    found[case] = paths
    return found


def _is_changed(record: PredictionRecord | None, paths: Sequence[Path]) -> bool:
    """Whether the files are not those that a record was made from; False if it does not tell."""
    if record is None or record.input is None:
        return False
    files = [each for path in paths for each in files_of_image(path)]
    if len(files) != len(record.input):
        return True
    return not all(state.is_of(path) for state, path in zip(record.input, files, strict=True))


def _references(
    cases: Sequence[str],
    evaluation: Evaluation | None,
    *,
    asked: Asked,
    image_folders: set[Path],
    file_ending: str,
    has_raters: bool,
) -> dict[str, Mapping[str, Path]]:
    """Return masks where the user named a folder, or where scores say that they were opened."""
    if asked.references is not None:
        found = _labels_in(asked.references, file_ending, has_raters=has_raters)
        if not any(case in found for case in cases):
            raise UsageError(
                f"'{asked.references}': expected masks of the predicted cases ({listing(cases)}), "
                f"found {listing(found) or 'none'}; give the masks that they are compared with"
            )
        return found
    if evaluation is None:
        return {}
    named: dict[str, Mapping[str, Path]] = {
        case.case: {f"rater {number + 1}": path for number, path in enumerate(paths)}
        for case in evaluation.cases
        if (paths := [Path(file) for file in case.reference_files])
        and all(path.is_file() for path in paths)
    }
    if named:
        return named
    beside = {
        folder.parent / _LABELS_OF[folder.name]
        for folder in image_folders
        if folder.name in _LABELS_OF
    }
    merged: dict[str, Mapping[str, Path]] = {}
    for folder in sorted(beside):
        if folder.is_dir():
            merged.update(_labels_in(folder, file_ending, has_raters=has_raters))
    return merged


def _note_on_references(
    evaluation: Evaluation, references: Mapping[str, Mapping[str, Path]]
) -> list[str]:
    """Return a sentence about masks that were scored and are not found; none if all are."""
    lost = [case for case in evaluation.cases if not references.get(case.case)]
    named = [file for case in lost for file in case.reference_files[:1]]
    if not named:
        return []
    whose = "the cases" if len(lost) == len(evaluation.cases) else counted(len(lost), "case")
    return [
        f"The masks that {whose} were scored by were not found, such as '{named[0]}': say with -r "
        "where they are."
    ]


def _labels_in(
    folder: Path, file_ending: str, *, has_raters: bool
) -> dict[str, Mapping[str, Path]]:
    if not folder.is_dir():
        raise UsageError(f"'{folder}': expected a folder of masks, found none")
    return {**labels_by_case(folder, file_ending, has_raters=has_raters, findings=Findings())}
