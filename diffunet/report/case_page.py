"""The page about a folder of predictions: a table of cases, their pictures, and calibration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.prediction_records import PredictionRecord
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.report import verdicts
from diffunet.report.case_facts import CaseFacts, widest
from diffunet.report.case_folder import read_case_folder
from diffunet.report.case_inputs import Asked, CaseInputs
from diffunet.report.case_pictures import with_pictures
from diffunet.report.charts import Chart, counted, number
from diffunet.report.evaluation import Evaluation, read_evaluation
from diffunet.report.json_facts import at, list_at, mapping_at, number_at
from diffunet.report.score_charts import coverage_chart, presence_chart, reliability_charts
from diffunet.workspace import SUMMARY_FILE

_NUM_NAMED = 3
_COLUMNS = ("ged_fully_unbiased", "Dice", "ged", "volume_coverage")


@dataclass(frozen=True, kw_only=True)
class CasePage:
    """All that a page about predictions shows.

    Attributes:
        score_columns: (name, title) of the scores in the table.
        order: in words, how the cases are sorted.
    """

    title: str
    folder: Path
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    evaluation: Evaluation | None
    score_columns: tuple[tuple[str, str], ...]
    cases: tuple[CaseFacts, ...]
    order: str
    calibration: tuple[Chart, ...]
    labels: tuple[str, ...]


def read_case_page(
    folder: Path,
    *,
    asked: Asked,
    page: Path,
    summary: Any = None,
    max_seconds: float | None = None,
) -> CasePage:
    """Read a folder of predictions.

    Args:
        page: where the page will lie; links are relative to it.
        summary: scores of these predictions; None for those in the folder, if there are any.
        max_seconds: after so long no more cases get pictures.

    Raises:
        DiffunetError: a file is damaged, or nothing says which labels the masks hold.
    """
    if summary is None and (folder / SUMMARY_FILE).is_file():
        summary = read_json(folder / SUMMARY_FILE)
    evaluation = read_evaluation(summary)
    cases = read_case_folder(folder, asked=asked, evaluation=evaluation)
    there = {*cases.records, *(name for name, files in cases.files.items() if files.mask)}
    facts, order = cases.facts(evaluation, page=page)
    notes = [*_notes_on_scores(summary, evaluation, cases.records, there=there), *cases.notes]
    facts = with_pictures(
        facts,
        cases.files,
        cases.inputs,
        cases.labels,
        order=order,
        max_seconds=max_seconds,
        notes=notes,
    )
    return CasePage(
        title=_title(folder, cases.records),
        folder=folder,
        verdict=tuple(
            _verdict(facts, evaluation, num_references=_num_with_references(cases.inputs))
        ),
        notes=tuple(notes),
        settings=tuple(_settings(cases.records)),
        evaluation=evaluation,
        score_columns=_score_columns(evaluation),
        cases=tuple(facts),
        order=order,
        calibration=tuple(_calibration(facts, evaluation, cases.labels)),
        labels=cases.labels.names,
    )


def _notes_on_scores(
    summary: Any,
    evaluation: Evaluation | None,
    records: Mapping[str, PredictionRecord],
    *,
    there: Collection[str],
) -> list[str]:
    """Return sentences about scores that are not there, or whose masks are not.

    Args:
        there: the cases that have a record or a mask.
    """
    if evaluation is None:
        has_none = not summary or at(summary, "num_images") is not None  # of image-level labels
        return (
            []
            if has_none
            else [f"{SUMMARY_FILE} holds no scores that can be read: run diffunet_evaluate again."]
        )
    unscored = [case for case in records if case not in evaluation.by_case]
    notes = []
    if unscored:
        notes.append(
            f"{len(unscored)} of {len(records)} predicted cases have no scores, such as "
            f"{unscored[0]}."
        )
    foreign = [case for case in evaluation.by_case if case not in there]
    if records and foreign:
        notes.append(
            f"{len(foreign)} of {len(evaluation.cases)} scored cases were not predicted here, "
            f"such as {foreign[0]}: the scores may be those of another folder."
        )
    return notes


def _title(folder: Path, records: Mapping[str, PredictionRecord]) -> str:
    dataset = next((at(record.settings, "dataset") for record in records.values()), None)
    place = folder.resolve()
    shown = place.name if place.name != "validation" else f"{place.parent.name}, validation"
    return f"Predictions: {shown}" + (f" ({dataset})" if dataset not in (None, shown) else "")


def _settings(records: Mapping[str, PredictionRecord]) -> list[tuple[str, str]]:
    first = next(iter(records.values()), None)
    settings = first.settings if first is not None else {}
    sampling = mapping_at(settings, "sampling")
    drawn = f"{at(sampling, 'num_samples')} of {at(sampling, 'num_steps')} steps"
    seconds = [
        value for record in records.values() if (value := number_at(record.content, "seconds"))
    ]
    rows = [
        ("method", at(settings, "method")),
        ("configuration", at(settings, "configuration")),
        ("folds", ", ".join(map(str, list_at(settings, "folds"))) or None),
        ("checkpoint", at(settings, "checkpoint")),
        ("samples", f"{drawn} ({at(sampling, 'sampler')})" if sampling else None),
        ("saliency", at(settings, "saliency")),
        ("drawn as", at(settings, "rater")),
        ("seed", at(settings, "seed")),
        ("seconds per case", number(float(np.median(seconds))) if seconds else None),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _score_columns(evaluation: Evaluation | None) -> tuple[tuple[str, str], ...]:
    if evaluation is None:
        return ()
    titles = {score.name: score.title for score in evaluation.scores}
    names = dict.fromkeys([evaluation.leading.name, *_COLUMNS])
    return tuple((name, titles[name]) for name in names if name in titles)


def _num_with_references(inputs: Mapping[str, CaseInputs]) -> int:
    return sum(bool(each.references) for each in inputs.values())


def _verdict(
    facts: Sequence[CaseFacts], evaluation: Evaluation | None, *, num_references: int
) -> list[str]:
    if evaluation is not None:
        return verdicts.of_evaluation(evaluation)
    sentences = [f"{counted(len(facts), 'case')} predicted; there are no scores for them."]
    unsure = [each for each in facts if each.uncertainty]
    if unsure:
        listed = ", ".join(map(_uncertain, unsure[:_NUM_NAMED]))
        sentences.append(f"Look first at the most uncertain: {listed}.")
    elif any(each.uncertainty is not None for each in facts):
        sentences.append("All samples of each case are alike.")
    draws = any(volumes.samples for case in facts for volumes in case.volumes)
    if draws and not num_references:
        sentences.append(
            "Whether they are calibrated can only be said beside references: -r, or "
            "diffunet_evaluate."
        )
    return sentences


def _uncertain(case: CaseFacts) -> str:
    of_label = widest(case.volumes)
    if of_label is not None:
        interval = f"{number(of_label.lower)} to {number(of_label.upper)} {of_label.unit}"
        return f"{case.name} ({of_label.label} of {interval})"
    for each in case.presences:
        if each.probability is not None:
            return f"{case.name} ({each.label}: probability {number(each.probability, 2)})"
    return case.name


def _calibration(
    facts: Sequence[CaseFacts], evaluation: Evaluation | None, labels: LabelScheme
) -> list[Chart]:
    charts = reliability_charts({"this model": evaluation}) if evaluation is not None else []
    for label in labels.names:
        volumes = [each for case in facts for each in case.volumes if each.label == label]
        seen = [each for each in volumes if each.samples and each.raters]
        shares = [
            (each.presence or 0.0, float(np.mean(np.array(each.raters) > 0))) for each in seen
        ]
        measured = [(each.samples, each.raters) for each in seen]
        found = (presence_chart(label, shares), coverage_chart(label, measured))
        charts += [chart for chart in found if chart is not None]
    return charts
