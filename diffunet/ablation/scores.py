"""The scores of one variant on all cases, kept in a file that grows case by case."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.ablation.cases import ScoredCases
from diffunet.errors import DiffunetError
from diffunet.evaluation.scores import CaseScores, ScoreOptions, score_case
from diffunet.evaluation.summary import without_nan
from diffunet.inference.case_predictor import CasePredictor
from diffunet.inference.model import TrainedModel
from diffunet.inference.output import OutputFolder
from diffunet.jsonio import read_object, write_json
from diffunet.methods import METHODS
from diffunet.selection.criterion import DICE, UNBIASED_GED

SCORE_OPTIONS = ScoreOptions(has_surface_scores=False)
"""Surfaces take longer than drawing the masks of a small image does."""

_SECONDS_BETWEEN_SAVES = 10.0


@dataclass
class ScoreFile:
    """The scores of a variant that one training's weights predict.

    Attributes:
        path: of the file; it may not be there yet.
        about: what the scores are of, for a reader.
        cases: by name: what `scores_of_case` returned.
    """

    path: Path
    about: Mapping[str, Any]
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, about: Mapping[str, Any]) -> "ScoreFile":
        """Read what there is of the file; a damaged one counts as missing."""
        try:
            cases = read_object(path)["cases"]
        except (DiffunetError, KeyError):
            cases = {}
        return cls(path=path, about=about, cases=cases if isinstance(cases, dict) else {})

    def save(self) -> None:
        """Write the file, whole."""
        write_json(self.path, {**self.about, "cases": self.cases})


def score_cases(
    file: ScoreFile,
    model: TrainedModel,
    predictor: CasePredictor[Any],
    cases: ScoredCases,
    *,
    todo: Any,
    output: OutputFolder | None,
) -> None:
    """Predict and score cases, and write them into the file; what is done stays done.

    Args:
        todo: names of cases; iterated once.
        output: where masks go too; None for nowhere.
    """
    saved = time.monotonic()
    try:
        for case in todo:
            file.cases[case] = _scores_of_case(model, predictor, cases, case, output=output)
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                file.save()
                saved = time.monotonic()
    finally:
        if file.cases:
            file.save()


def _scores_of_case(
    model: TrainedModel,
    predictor: CasePredictor[Any],
    cases: ScoredCases,
    case: str,
    *,
    output: OutputFolder | None,
) -> dict[str, Any]:
    references = cases.references(case, model.labels)
    prepared, geometry = cases.image(case, model)
    samples: dict[int, np.ndarray] = {}

    def keep(number: int, masks: np.ndarray) -> None:
        samples[number] = masks
        if output is not None and predictor.options.saves_samples:
            output.write_sample(case, number, masks, geometry)

    begin = time.perf_counter()
    result = predictor.predict(prepared, on_sample=keep)
    seconds = getattr(result, "seconds", time.perf_counter() - begin)
    if samples:
        drawn = np.stack([samples[number] for number in range(len(samples))])
        consensus = result.votes.consensus()
    else:  # a method that makes one mask
        consensus = model.labels.masks(predictor.label_map(result))
        drawn = consensus[None]
    if output is not None:
        content = predictor.write(result, case=case, geometry=geometry, output=output)
        output.write_record(case, content, geometry)
    scores = score_case(
        drawn,
        references.masks,
        spacing_mm=references.spacing_mm,
        ignored=references.ignored,
        consensus=consensus,
        case=case,
        options=SCORE_OPTIONS,
    )
    record = _record(scores, patient=cases.patients[case], seconds=seconds, method=model.method)
    source = cases.sources.get(case)
    return record if source is None else {**record, "source": source}


def _record(scores: CaseScores, *, patient: str, seconds: float, method: str) -> dict[str, Any]:
    """Return what the table is made from; means over labels, None for "undefined"."""
    draws = "num_samples" in METHODS[method].options
    num_raters = scores.num_raters
    return without_nan(
        {
            "patient": patient,
            "num_samples": scores.num_samples,
            "num_raters": num_raters,
            "seconds": seconds,
            **{
                each.name: each.value(scores, num_raters=num_raters, draws_samples=draws)
                for each in (UNBIASED_GED, DICE)
            },
            "distribution": scores.distribution,
            "trivial_answers": scores.trivial_answers,
        }
    )
