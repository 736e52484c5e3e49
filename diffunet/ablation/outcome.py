"""What a sweep found, as one object for JSON, from which the table and the plot are made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from diffunet.ablation.run import Sweep, SweepRun
from diffunet.ablation.variants import Variant
from diffunet.evaluation.ambiguity import perfect_ged
from diffunet.evaluation.bootstrap import crossed_interval
from diffunet.evaluation.summary import without_nan
from diffunet.selection.criterion import DICE, Criterion, criterion_for

Record = Mapping[str, Any]

SHOWN_SCORES = ("ged", "D_ss", "D_yy", "volume_coverage")
"""Scores of the distribution that stand beside the main one."""

TRIVIAL_ANSWERS = ("always_empty", "oracle_majority")


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The cases of a variant, by seed; only of runs that predicted all of them."""

    variant: Variant
    runs: dict[int, dict[str, Record]]

    def values(self, name: str, cases: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Return a score as (case, seed); NaN where it is not defined, or not there."""
        return np.array(
            [
                [_number(self.runs.get(seed, {}).get(case), name) for seed in seeds]
                for case in cases
            ],
            float,
        ).reshape(len(cases), len(seeds))

    def mean(self, name: str) -> float:
        """Return a score's mean over cases and seeds."""
        found = [_number(each, name) for run in self.runs.values() for each in run.values()]
        return _mean(found)

    def median(self, name: str) -> float:
        found = [_number(each, name) for run in self.runs.values() for each in run.values()]
        return median(found) if found else math.nan


def outcome_of(run: SweepRun) -> dict[str, Any]:
    """Return the results of what is done of a sweep."""
    sweep = run.sweep
    cases = sorted(sweep.cases.names)
    found = [_found(sweep, each, cases) for each in sweep.variants]
    criterion = _criterion(found)
    patients = [sweep.cases.patients[case] for case in cases]
    reference = next((each for each in found if each.variant.is_own), found[0])
    compared = reference.values(criterion.name, cases, sweep.seeds)
    content = {
        "sweep": sweep.name,
        "dataset": sweep.base.dataset_name,
        "method": sweep.base.method,
        "configuration": sweep.base.configuration_name,
        "fold": sweep.fold,
        "cases": {
            "kind": sweep.cases.kind,
            "num_cases": len(cases),
            "num_patients": len(set(patients)),
            "patients": dict(zip(cases, patients, strict=True)),
        },
        "score": criterion.name,
        "title": criterion.title,
        "is_lower_better": criterion.is_lower_better,
        "seeds": list(sweep.seeds),
        "one_at_a_time": sweep.one_at_a_time,
        "axes": [
            {"path": axis.path, "name": axis.name, "values": _values_on(axis.path, sweep.variants)}
            for axis in sweep.axes
        ],
        "compared_with": reference.variant.name,
        "trivial_answers": _trivial_answers(reference, criterion),
        "variants": [
            _row(each, run, criterion=criterion, cases=cases, patients=patients, compared=compared)
            for each in found
        ],
    }
    return without_nan(content)


def _row(
    found: _Found,
    run: SweepRun,
    *,
    criterion: Criterion,
    cases: Sequence[str],
    patients: Sequence[str],
    compared: np.ndarray,
) -> dict[str, Any]:
    sweep, variant = run.sweep, found.variant
    values = found.values(criterion.name, cases, sweep.seeds)
    trained = [sweep.training_record(variant.training, seed) or {} for seed in found.runs]
    num_samples = found.median("num_samples")
    return {
        "name": variant.name,
        "values": variant.values,
        "is_own": variant.is_own,
        "score": asdict(crossed_interval(values, patients)),
        "difference": asdict(crossed_interval(values - compared, patients)),
        "scores": {name: found.mean(name) for name in (*SHOWN_SCORES, DICE.name)},
        "floor": found.mean("floor"),
        "num_samples": num_samples,
        "training_minutes": _mean([_number(each, "seconds") / 60 for each in trained]),
        "ms_per_sample": 1000 * found.median("seconds") / num_samples,
        "peak_gib": _mean([_number(each, "peak_gib") for each in trained]),
        "runs": [
            {
                "seed": seed,
                "model": str(sweep.model_folder(variant.training, seed).relative_to(sweep.folder)),
                "score": _mean(list(values[:, sweep.seeds.index(seed)])),
                "cases": {case: _number(of_seed[case], criterion.name) for case in cases},
            }
            for seed, of_seed in found.runs.items()
        ],
        "failures": {
            str(seed): reason
            for (name, seed), reason in run.failures.items()
            if name == variant.name
        },
    }


def _found(sweep: Sweep, variant: Variant, cases: Sequence[str]) -> _Found:
    runs = {}
    for seed in sweep.seeds:
        known = sweep.score_file(variant, seed).cases
        if all(case in known for case in cases):
            runs[seed] = {case: known[case] for case in cases}
    return _Found(variant=variant, runs=runs)


def _criterion(found: Sequence[_Found]) -> Criterion:
    num_raters = {
        case: int(record["num_raters"])
        for each in found
        for run in each.runs.values()
        for case, record in run.items()
    }
    return criterion_for(num_raters) if num_raters else DICE


def _trivial_answers(found: _Found, criterion: Criterion) -> dict[str, float]:
    """Return the means of the main score of answers that need no learning; of Dice none."""
    if criterion is DICE:
        return {}
    records = [record for run in found.runs.values() for record in run.values()]
    return {
        answer: _mean(
            [_number(record["trivial_answers"][answer], criterion.name) for record in records]
        )
        for answer in TRIVIAL_ANSWERS
    }


def _number(record: Record | None, name: str) -> float:
    """Return a number of a case's record, NaN where it has none."""
    if record is None:
        return math.nan
    if name == "floor":  # of the GED of a model that draws what raters draw
        return perfect_ged(
            _number(record, "D_yy"),
            num_samples=record["num_samples"],
            num_raters=record["num_raters"],
        )
    value = record.get(name, record.get("distribution", {}).get(name))
    return math.nan if value is None else float(value)


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _values_on(path: str, variants: Sequence[Variant]) -> list[Any]:
    """Return the different values of an axis: numbers sorted, others in their order."""
    values: list[Any] = []
    for each in variants:
        if each.values[path] not in values:
            values.append(each.values[path])
    return sorted(values) if all(map(is_real, values)) else values


def is_real(value: Any) -> bool:
    """Whether a value of a plan is a number, and no switch."""
    return isinstance(value, int | float) and not isinstance(value, bool)
