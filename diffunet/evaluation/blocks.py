"""The content of `summary.json`: nnU-Net's three blocks, and that of the distribution."""

from collections.abc import Mapping
from typing import Any

from diffunet.evaluation.scores import DEFAULT_OPTIONS, CaseScores, ScoreOptions
from diffunet.evaluation.summary import summarise, without_nan
from diffunet.labels import LabelScheme


def summary_blocks(
    scores: Mapping[str, CaseScores],
    *,
    patients: Mapping[str, str],
    labels: LabelScheme,
    files: Mapping[str, Mapping[str, Any]] | None = None,
    options: ScoreOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Return the blocks `foreground_mean`, `mean`, `metric_per_case` and `distribution`.

    Args:
        scores: by case.
        patients: by case; a case without an entry is a patient of its own.
        files: what else to write beside a case's scores.
    """
    patient_of = {case: patients.get(case, case) for case in scores}
    distribution = summarise(
        list(scores.values()),
        list(patient_of.values()),
        label_names=labels.names,
        options=options,
    )
    blocks = distribution["labels"].values()
    return {
        "foreground_mean": _means(distribution["mean"]["consensus"]),
        "mean": {
            key: _means(block["consensus"]) for key, block in zip(labels.keys, blocks, strict=True)
        },
        "metric_per_case": [
            {
                "case": case,
                "patient": patient_of[case],
                **(files or {}).get(case, {}),
                "metrics": without_nan(
                    {
                        key: each.consensus
                        for key, each in zip(labels.keys, found.labels, strict=True)
                    }
                ),
                **{
                    block: without_nan(
                        {
                            name: getattr(each, block)
                            for name, each in zip(labels.names, found.labels, strict=True)
                        }
                    )
                    for block in ("distribution", "perfect_model")
                },
            }
            for case, found in scores.items()
        ],
        "distribution": distribution,
    }


def _means(intervals: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: interval["mean"] for name, interval in intervals.items()}
