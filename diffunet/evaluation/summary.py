"""Scores of many cases as one object for JSON, with intervals and the scores of trivial answers."""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, cast

import numpy as np

from diffunet.evaluation.bootstrap import bootstrap_means
from diffunet.evaluation.calibration import Reliability, nominal_volume_coverage
from diffunet.evaluation.scores import DEFAULT_OPTIONS, CaseScores, LabelScores, ScoreOptions

_ScoreTable = Sequence[Mapping[str, int | float]]


def summarise(
    cases: Sequence[CaseScores],
    patients: Sequence[str],
    *,
    label_names: Sequence[str],
    options: ScoreOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Average scores over cases, with 95 % bootstrap intervals over patients.

    Args:
        cases: at least one.
        patients: one per case.
        label_names: one per label of the cases.
        options: seed and number of draws of the bootstrap.

    Returns:
        an object for JSON, None standing for "undefined". `mean` (over labels) and `labels` (by
        name) hold `consensus` and `scores` ({score: {mean, lower, upper}}), `perfect_model`
        ({score: {mean, difference, lower, upper}}) and `trivial_answers` (the same by answer):
        `difference` is the samples' score minus the other, paired by case, with its interval.
        `calibration` pools the voxels of all cases per label. `num_samples` and `num_raters` are
        [fewest, most].

    Raises:
        ValueError: there are no cases, or not one patient per case.
    """
    if not cases or len(cases) != len(patients):
        raise ValueError(
            f"expected at least one case and one patient for each, found {len(cases)} cases and "
            f"{len(patients)} patients"
        )
    by_label = {
        name: [case.labels[index] for case in cases] for index, name in enumerate(label_names)
    }
    num_samples = [case.num_samples for case in cases]
    num_raters = [case.num_raters for case in cases]
    summary = {
        "num_cases": len(cases),
        "num_patients": len(set(patients)),
        "num_samples": [min(num_samples), max(num_samples)],
        "num_raters": [min(num_raters), max(num_raters)],
        "interval": f"95 %, {options.num_bootstrap_draws} bootstrap draws of patients",
        "mean": _summarise_block(cases, patients, options=options),
        "labels": {
            name: _summarise_block(scores, patients, options=options)
            for name, scores in by_label.items()
        },
        "nominal_volume_coverage": np.mean([nominal_volume_coverage(n) for n in num_samples]),
        "calibration": {
            name: _calibration([scores.reliability for scores in labels])
            for name, labels in by_label.items()
        },
    }
    return without_nan(summary)


def without_nan(content: Any) -> Any:
    """Return `content` (dicts, lists, numbers) with None in the place of every NaN."""
    if isinstance(content, dict):
        entries = cast("dict[str, Any]", content)
        return {key: without_nan(value) for key, value in entries.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in cast("list[Any]", content)]
    if isinstance(content, float):
        return None if math.isnan(content) else float(content)
    return content


def _summarise_block(
    blocks: Sequence[CaseScores] | Sequence[LabelScores],
    patients: Sequence[str],
    *,
    options: ScoreOptions,
) -> dict[str, Any]:
    scores = [block.distribution for block in blocks]
    answers = [block.trivial_answers for block in blocks]
    return {
        "consensus": _intervals([block.consensus for block in blocks], patients, options=options),
        "scores": _intervals(scores, patients, options=options),
        "perfect_model": _beside(
            scores, [block.perfect_model for block in blocks], patients, options=options
        ),
        "trivial_answers": {
            name: _beside(scores, [each[name] for each in answers], patients, options=options)
            for name in answers[0]
        },
    }


def _intervals(
    table: _ScoreTable, patients: Sequence[str], *, options: ScoreOptions
) -> dict[str, dict[str, float]]:
    """Return {score: {mean, lower, upper}}; a score that a case lacks is undefined there."""
    names = list(dict.fromkeys(name for scores in table for name in scores))
    values = np.array([[scores.get(name, math.nan) for name in names] for scores in table], float)
    intervals = bootstrap_means(
        values, patients, num_draws=options.num_bootstrap_draws, seed=options.seed
    )
    return {
        name: {"mean": interval.mean, "lower": interval.lower, "upper": interval.upper}
        for name, interval in zip(names, intervals, strict=True)
    }


def _beside(
    own: _ScoreTable, answer: _ScoreTable, patients: Sequence[str], *, options: ScoreOptions
) -> dict[str, dict[str, float]]:
    """Return the means of another answer, and by how much the samples differ from it."""
    means = _intervals(answer, patients, options=options)
    differences = [
        {name: scores[name] - others[name] for name in others}
        for scores, others in zip(own, answer, strict=True)
    ]
    compared = _intervals(differences, patients, options=options)
    return {
        name: {
            "mean": means[name]["mean"],
            "difference": compared[name]["mean"],
            "lower": compared[name]["lower"],
            "upper": compared[name]["upper"],
        }
        for name in means
    }


def _calibration(diagrams: Sequence[Reliability]) -> dict[str, Any]:
    """Return ECE, ACE and the reliability diagram of all cases' voxels together."""
    pooled = reduce(add, diagrams)
    used = np.where(pooled.num_voxels > 0, pooled.num_voxels, math.nan)
    return {
        "ece": pooled.ece,
        "ace": pooled.ace,
        "num_voxels": pooled.num_voxels.astype(int).tolist(),
        "predicted": (pooled.predicted / used).tolist(),
        "observed": (pooled.observed / used).tolist(),
    }
