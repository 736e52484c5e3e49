"""Score predictions."""

import logging
from pathlib import Path
from typing import Any

from diffunet.arguments import new_summary_path, processes_of, scored_folders_of
from diffunet.calls import from_python
from diffunet.jsonio import require_writable, write_json
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import SUMMARY_FILE

logger = logging.getLogger(__name__)


@from_python
def evaluate(
    reference: Path | str,
    prediction: Path | str,
    *,
    dataset_json: Path | None = None,
    patients_csv: Path | None = None,
    output: Path | None = None,
    rater: str | int | None = None,
    by_slice: bool = False,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> dict[str, Any]:
    """Score predictions against references, log a table and a verdict, and return the summary.

    Args:
        reference: folder of masks, such as `labelsTs`.
        prediction: output folder of `predict`, or masks of another program.
        dataset_json: None: the one in `prediction`, else the one beside `reference`.
        patients_csv: None: the one beside `reference`, if any.
        output: summary file; None: `summary.json` in `prediction`.
        rater: name or number of the one whose masks alone count, for masks that were drawn as he
            would (`predict` with `rater`); cases that he did not draw are left out.
        by_slice: score positive and healthy slices apart as well, as block `slices`, by label
            (`diffunet.evaluation.slice_scores.summarise_slices`).

    Raises:
        DatasetError: all that is wrong with the two folders, at once.
        UsageError: there is no dataset.json, or the summary would replace another file.
        WriteError: the summary cannot be written.
    """
    from diffunet.evaluation.folder import evaluate_folders
    from diffunet.evaluation.slice_folder import score_slice_folder
    from diffunet.evaluation.slice_scores import summarise_slices
    from diffunet.evaluation.table import format_slices, format_table
    from diffunet.report.evaluation import read_evaluation
    from diffunet.report.verdicts import of_evaluation

    reference, prediction = Path(reference), Path(prediction)
    summary_file = new_summary_path(output or prediction / SUMMARY_FILE)
    folders = scored_folders_of(
        reference,
        prediction,
        dataset_json=dataset_json,
        patients_csv=patients_csv,
        rater=None if rater is None else str(rater),
    )
    num_processes = processes_of(num_processes)
    summary_file = output or prediction / SUMMARY_FILE
    if output is not None or prediction.is_dir():
        require_writable(summary_file)
    summary = evaluate_folders(folders, num_processes=num_processes, progress=progress)
    if folders.rater is not None:
        summary["rater"] = folders.rater
    logger.info("%s", format_table(summary))
    if by_slice:
        slices = score_slice_folder(folders, num_processes=num_processes, progress=progress)
        summary["slices"] = {name: summarise_slices(found) for name, found in slices.items()}
        logger.info("%s", format_slices(summary["slices"]))
    write_json(summary_file, summary)
    evaluation = read_evaluation(summary)
    if evaluation is not None:
        verdict = "\n".join(of_evaluation(evaluation))
        logger.info("%s", verdict.replace("\N{MINUS SIGN}", "-"))
    return summary
