"""The summary of an evaluation as a table for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diffunet.evaluation.baselines import TRIVIAL_ANSWERS
from diffunet.evaluation.slice_scores import HEALTHY_SCORES, POSITIVE_SCORES

Direction = Literal["lower", "higher", "zero", "neither"]

BETTER: dict[str, Direction] = {
    "Dice": "higher",
    "IoU": "higher",
    "HD95": "lower",
    "surface_dice": "higher",
    "volume_error": "zero",
    "relative_volume_error": "zero",
    "absolute_volume_error": "lower",
    "absolute_relative_volume_error": "lower",
    "Dice_over_raters": "higher",
    "IoU_over_raters": "higher",
    "HD95_over_raters": "lower",
    "surface_dice_over_raters": "higher",
    "ged": "lower",
    "ged_unbiased": "lower",
    "ged_fully_unbiased": "lower",
    "ged_post_processed": "lower",
    "D_ss": "neither",
    "D_yy": "neither",
    "hm_iou": "higher",
    "D_max": "higher",
    "S_c": "higher",
    "D_a": "higher",
    "CI": "higher",
    "S_c_ambdiffseg": "higher",
    "D_a_ambdiffseg": "higher",
    "CI_ambdiffseg": "higher",
    "ncc": "higher",
    "soft_dice": "higher",
    "ece": "lower",
    "ace": "lower",
    "volume_coverage": "neither",
}
"""Which value of a score is better; counts (TP, n_ref, ...) are not in it."""

_SHORT = {
    "lower": "(lower is better)",
    "higher": "(higher is better)",
    "zero": "(0 is best; the mean is the bias)",
    "neither": "",
}


def format_table(summary: Mapping[str, Any]) -> str:
    """Return the summary of `evaluate_folders` as text.

    The scores are means over labels and cases with their 95 % intervals, the trivial answers stand
    beside the scores of the distribution, and "-" stands for "undefined".
    """
    block = summary["distribution"]
    parts = [
        f"{block['num_cases']} cases of {block['num_patients']} patients, "
        f"{_span(block['num_samples'])} sample(s) and {_span(block['num_raters'])} rater(s) per "
        f"case; intervals: {block['interval']}",
        _labels_table(block["labels"]),
        _consensus_table(block["mean"]["consensus"]),
        _distribution_table(block["mean"]),
    ]
    return "\n\n".join(parts) + "\n"


def format_slices(labels: Mapping[str, Any]) -> str:
    """Return summaries of slices, by label (`summarise_slices`), as text."""
    parts: list[str] = []
    for label, block in labels.items():
        for kind, names in (("positive", POSITIVE_SCORES), ("healthy", HEALTHY_SCORES)):
            found = block[kind]
            rows = [[f"{label}: {kind} slices", ""]]
            rows += [[name, _with_interval(found["scores"][name])] for name in names]
            parts.append(
                f"{found['num_slices']} slices of {found['num_patients']} patients; means over "
                f"slices, 95 % intervals over patients\n{_aligned(rows)}"
            )
    return "\n\n".join(parts) + "\n"


def direction_of(score: str) -> Direction | None:
    """Return which value of a score is better; None for counts of voxels."""
    if score.startswith("ged"):
        return "lower"
    return BETTER.get(score)


def _labels_table(labels: Mapping[str, Any]) -> str:
    names = ["Dice", "IoU", "HD95", "surface_dice"]
    names = [name for name in names if name in next(iter(labels.values()))["consensus"]]
    rows = [["label", *names, "ged"]]
    for label, block in labels.items():
        values = [_with_interval(block["consensus"][name]) for name in names]
        rows.append([label, *values, _with_interval(block["scores"]["ged"])])
    return _aligned(rows)


def _consensus_table(consensus: Mapping[str, Any]) -> str:
    rows = [["consensus mask", "", ""]]
    for name, score in consensus.items():
        direction = direction_of(name)
        if direction is not None:
            rows.append([name, _with_interval(score), _SHORT[direction]])
    return _aligned(rows)


def _distribution_table(block: Mapping[str, Any]) -> str:
    answers = [name for name in TRIVIAL_ANSWERS if name in block["trivial_answers"]]
    rows = [["distribution", "samples", *answers, ""]]
    for name, score in block["scores"].items():
        trivial = [_number(block["trivial_answers"][answer][name]["mean"]) for answer in answers]
        rows.append(
            [name, _with_interval(score), *trivial, _SHORT[direction_of(name) or "neither"]]
        )
    return _aligned(rows)


def _with_interval(score: Mapping[str, float | None]) -> str:
    if score["lower"] is None:
        return _number(score["mean"])
    return f"{_number(score['mean'])} [{_number(score['lower'])}, {_number(score['upper'])}]"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _span(bounds: Sequence[int]) -> str:
    fewest, most = bounds
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])
