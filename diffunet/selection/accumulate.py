"""One folder with the validation cases of all folds: predictions, and their scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffunet.data.prediction_records import PredictionRecord, read_records, setting_differences
from diffunet.data.raw.case_files import listing
from diffunet.errors import UsageError
from diffunet.inference.output import PREDICTIONS_FILE, OutputFolder
from diffunet.inference.place import check_output_folder
from diffunet.inference.written import SourceOfMasks
from diffunet.jsonio import write_json
from diffunet.locks import in_use
from diffunet.parallel import Progress, without_progress
from diffunet.selection.folds import CrossValidation, FoldValidation
from diffunet.workspace import CROSSVAL_FILE, SUMMARY_FILE

_OF_A_FOLD = ("folds", "weights", "versions")
"""Settings in which the folds of one model differ; the others are the same in all."""


def accumulate(
    found: CrossValidation, output_folder: Path, *, progress: Progress = without_progress
) -> dict[str, Any]:
    """Write the validation cases of all folds into one folder, and return its summary.

    It is a folder of predictions like any other: each case as the fold drew it that did not see it.
    An earlier one is replaced.

    Raises:
        UsageError: a fold has scores but no masks, their settings differ, or the output holds other
            files.
        InUseError, WriteError: the output cannot be written to.
    """
    records = {fold.fold: _records_of(fold) for fold in found.folds}
    settings = _joint_settings(found, records)
    source = SourceOfMasks(
        command="diffunet_accumulate_crossval_results",
        signature=CROSSVAL_FILE,
        content={
            "model": found.model_folder.name,
            "folds": [fold.fold for fold in found.folds],
        },
        dataset_content=found.dataset_content,
        labels=found.labels,
    )
    output = OutputFolder(output_folder, model=source, settings=settings)
    check_output_folder([], output_folder, signature=CROSSVAL_FILE, command=source.command)
    cases = sorted(found.scores)
    with in_use(output_folder):
        for name in (SUMMARY_FILE, PREDICTIONS_FILE):  # last they come, so first they go
            (output_folder / name).unlink(missing_ok=True)
        output.clear(read_records(output_folder))
        output.check_names(cases)
        output.begin(is_alone=True)
        output.require_writable(cases)
        copies = [(fold, case) for fold in found.folds for case in fold.scores]
        for fold, case in progress(copies, len(copies), "copying"):
            output.copy_case(case, records[fold.fold][case], source=fold.folder)
        output.gather()
        summary = found.summary()
        write_json(output_folder / SUMMARY_FILE, summary)
    return summary


def _records_of(fold: FoldValidation) -> dict[str, PredictionRecord]:
    """Return the record of each case of a fold.

    Raises:
        UsageError: some have none, or lack files.
    """
    records = read_records(fold.folder)
    absent = [
        case
        for case in fold.scores
        if case not in records
        or not records[case].files
        or not all((fold.folder / name).is_file() for name in records[case].files or {})
    ]
    if absent:
        raise UsageError(
            f"'{fold.folder}': expected the masks of {len(fold.scores)} cases, found none of "
            f"{len(absent)}: {listing(absent)}; write them with diffunet_train --val (with "
            "--save_samples for their samples)"
        )
    return {case: records[case] for case in fold.scores}


def _joint_settings(
    found: CrossValidation, records: Mapping[str, Mapping[str, PredictionRecord]]
) -> dict[str, Any]:
    """Return the settings of all folds as one.

    Raises:
        UsageError: they differ in what decides about masks.
    """
    of_folds = {
        fold: next(iter(cases.values())).settings for fold, cases in records.items() if cases
    }
    first, *others = of_folds.values()
    for fold, other in zip(list(of_folds)[1:], others, strict=True):
        common = [{k: v for k, v in each.items() if k not in _OF_A_FOLD} for each in (first, other)]
        if names := setting_differences(*common):
            raise UsageError(
                f"'{found.model_folder}': expected validations with one choice of settings, found "
                f"that fold_{next(iter(of_folds))} and fold_{fold} differ ("
                f"{'; '.join(name.replace(', now ', ' and ') for name in names)}); validate them "
                "alike with diffunet_train --val, or say with -f which folds to use"
            )
    versions = _distinct([each.get("versions") for each in of_folds.values()])
    return {
        **first,
        "folds": [name for each in of_folds.values() for name in each.get("folds", [])],
        "weights": [digest for each in of_folds.values() for digest in each.get("weights", [])],
        "versions": versions[0] if len(versions) == 1 else versions,
    }


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]
