"""A folder of predictions: its cases with their records and files, and how they are sorted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet.data.prediction_records import (
    RECORDS_FOLDER,
    PredictionRecord,
    read_records,
    recorded_cases,
)
from diffunet.data.raw.dataset_json import file_ending_problems
from diffunet.errors import DatasetError, UsageError
from diffunet.jsonio import read_object
from diffunet.labels import LabelScheme
from diffunet.names import undecoded_problem
from diffunet.report.case_arrays import CaseFiles, files_of_case
from diffunet.report.case_facts import CaseFacts, facts_of_case, sorted_cases
from diffunet.report.case_inputs import Asked, CaseInputs, find_inputs
from diffunet.report.charts import counted
from diffunet.report.evaluation import Evaluation
from diffunet.report.json_facts import at, mapping_at
from diffunet.workspace import DATASET_FILE


@dataclass(frozen=True, kw_only=True)
class CaseFolder:
    """What a folder of predictions holds, by case.

    Attributes:
        records: of the cases that were predicted; others have scores only, or a damaged record.
        notes: sentences about what was not found, or cannot be read.
    """

    labels: LabelScheme
    records: Mapping[str, PredictionRecord]
    files: Mapping[str, CaseFiles]
    inputs: Mapping[str, CaseInputs]
    notes: tuple[str, ...]

    def facts(self, evaluation: Evaluation | None, *, page: Path) -> tuple[list[CaseFacts], str]:
        """Return what is known of each case, sorted, and in words how they are sorted.

        Args:
            page: where the page will lie; links are relative to it.
        """
        facts = [
            facts_of_case(
                name, self.records.get(name), files, self.inputs[name], evaluation, page=page
            )
            for name, files in self.files.items()
        ]
        return sorted_cases(facts, evaluation)


def read_case_folder(
    folder: Path, *, asked: Asked, evaluation: Evaluation | None = None
) -> CaseFolder:
    """Read what a folder of predictions says about its cases; no mask is opened.

    Raises:
        DiffunetError: a file is damaged, or nothing says which labels the masks hold.
    """
    records = read_records(folder)
    damaged = [case for case in recorded_cases(folder) if case not in records]
    names = sorted({*records, *damaged, *(evaluation.by_case if evaluation else ())})
    if not names:
        raise UsageError(
            f"'{folder}' holds no predicted case: wait for the prediction to finish; scores of "
            "image-level labels are on the page of their fold"
        )
    if problems := [f"case {name!r}: {why}" for name in names if (why := undecoded_problem(name))]:
        raise UsageError(f"'{folder}': {problems[0]}")
    content = _dataset_of(folder)
    labels = LabelScheme.from_dataset_json(content)
    inputs, notes = find_inputs(
        names,
        records=records,
        evaluation=evaluation,
        asked=asked,
        file_ending=str(content["file_ending"]),
        num_channels=len(mapping_at(content, "channel_names")) or 1,
        has_raters=bool(at(content, "raters")),
    )
    files = {
        name: files_of_case(
            folder,
            name,
            labels,
            file_ending=str(content["file_ending"]),
            record=records[name].content if name in records else {},
        )
        for name in names
    }
    notes = [
        *_note_on_former_scores(records, evaluation),
        *_note_on_damaged(damaged),
        *_note_on_missing(folder, records, file_ending=str(content["file_ending"])),
        *notes,
    ]
    return CaseFolder(
        labels=labels, records=records, files=files, inputs=inputs, notes=tuple(notes)
    )


def _note_on_former_scores(
    records: Mapping[str, PredictionRecord], evaluation: Evaluation | None
) -> list[str]:
    """Return a sentence about cases that were predicted again after they were scored."""
    scored = evaluation.by_case if evaluation else {}
    former = [
        case
        for case, record in records.items()
        if case in scored
        and record.digest is not None
        and scored[case].prediction_digest not in (None, record.digest)
    ]
    if not former:
        return []
    was = "was" if len(former) == 1 else "were"
    return [
        f"{counted(len(former), 'case')}, such as {former[0]}, {was} predicted again since "
        f"diffunet_evaluate: {'its' if len(former) == 1 else 'their'} scores are those of former "
        "masks. Evaluate again."
    ]


def _note_on_damaged(cases: Sequence[str]) -> list[str]:
    if not cases:
        return []
    which = f"The record of {cases[0]} is"
    if len(cases) > 1:
        which = f"The records of {len(cases)} cases, such as {cases[0]}, are"
    return [
        f"{which} damaged ('{RECORDS_FOLDER}/{cases[0]}.json'): volumes and settings are unknown "
        "there. diffunet_predict --continue_prediction predicts such cases again."
    ]


def _note_on_missing(
    folder: Path, records: Mapping[str, PredictionRecord], *, file_ending: str
) -> list[str]:
    """Return a sentence about files that predictions wrote and that are not there any more."""
    missing = {
        case: absent
        for case, record in records.items()
        if (
            absent := [
                name
                for name in record.files or (f"{case}{file_ending}",)
                if not (folder / name).is_file()
            ]
        )
    }
    if not missing:
        return []
    count = sum(map(len, missing.values()))
    example = next(iter(missing.values()))[0]
    return [
        f"{counted(count, 'file')} of {counted(len(missing), 'case')} that the prediction wrote "
        f"{'is' if count == 1 else 'are'} missing, such as '{example}': what "
        f"{'it' if count == 1 else 'they'} held is not shown."
    ]


def _dataset_of(folder: Path) -> dict[str, Any]:
    path = folder / DATASET_FILE
    if not path.is_file():
        raise UsageError(
            f"'{folder}' has no {DATASET_FILE}, which says what its masks hold; copy the dataset's "
            "there"
        )
    content = read_object(path, DatasetError)
    ending = content.get("file_ending")
    problems = file_ending_problems(ending) if isinstance(ending, str) else ["no 'file_ending'"]
    if problems:
        raise DatasetError(f"'{path}': {problems[0]}")
    return content
