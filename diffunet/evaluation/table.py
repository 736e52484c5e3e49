"""The summary of an evaluation as a table for a terminal."""

from collections.abc import Mapping, Sequence
from statistics import fmean
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
    "energy_score": "lower",
    "ged_post_processed": "lower",
    "D_ss": "neither",
    "D_yy": "neither",
    "hm_iou": "higher",
    "D_max": "higher",
    "D_max_of_samples": "higher",
    "match_dice": "higher",
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
    "ece_over_raters": "lower",
    "volume_coverage": "neither",
    "volume_crps": "lower",
    "volume_crps_curvas": "lower",
}
"""Which value of a score is better; counts (TP, n_ref, ...) are not in it."""

SCORE_TITLES = {"ged_fully_unbiased": "unbiased GED", "energy_score": "energy score", "ged": "GED"}
"""What people read in the place of a score's name; other names stand for themselves."""

_MOST_IN_SENTENCES = 3  # labels that some references lack; more are rows of a table

_OF_ONE_RATER = (
    *("energy_score", "ged", "D_ss", "D_max", "soft_dice", "ece", "ace"),
    *("volume_coverage", "volume_crps"),
)
"""What says something of samples beside one rater; others compare sets of raters, or repeat."""

_SHORT = {
    "lower": "(lower is better)",
    "higher": "(higher is better)",
    "zero": "(0 is best; the mean is the bias)",
    "neither": "",
}


def format_table(summary: Mapping[str, Any]) -> str:
    """Return the summary of `evaluate_folders` as text.

    The scores are means over labels and cases with their 95 % intervals. A perfect model and the
    trivial answers stand beside the scores of the distribution; "-" stands for "undefined". Of one
    mask or one rater per case, only the scores that say something there are shown.
    """
    block = summary["distribution"]
    parts = [
        f"{block['num_cases']} cases{_patients(block)}, "
        f"{_span(block['num_samples'])} sample(s) and {_span(block['num_raters'])} rater(s) per "
        f"case; intervals: {block['interval']}",
        _labels_table(block),
        _consensus_table(block["mean"]["consensus"], has_raters=_has_raters(block)),
        _distribution_table(block),
        *_where_nothing_is_marked(summary),
        _how_to_read(block),
    ]
    return "\n\n".join(parts) + "\n"


def _patients(block: Mapping[str, Any]) -> str:
    if block["num_cases"] == block["num_patients"]:
        return ", each counted as a patient of its own"  # as they are where no table says more
    return f" of {block['num_patients']} patients"


def leading_score(distribution: Mapping[str, Any]) -> str:
    """Return the name of the score to read first, of a summary's block `distribution`.

    It is the unbiased GED, with one rater the energy score, and of one sample per case, for which
    both are undefined, the GED.
    """
    name = "ged_fully_unbiased" if distribution["num_raters"][1] > 1 else "energy_score"
    return "ged" if distribution["mean"]["scores"][name]["mean"] is None else name


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


def says_something(score: str, *, has_samples: bool, has_raters: bool) -> bool:
    """Return whether a score of the distribution tells more than those of the consensus.

    Args:
        has_samples, has_raters: whether any case has several.
    """
    if not has_samples:
        return score == "ged" or (score == "D_yy" and has_raters)
    return has_raters or score in _OF_ONE_RATER


def direction_of(score: str) -> Direction | None:
    """Return which value of a score is better; None for counts of voxels."""
    if score.startswith("ged"):
        return "lower"
    return BETTER.get(score)


def _has_samples(distribution: Mapping[str, Any]) -> bool:
    """Whether any case has several samples."""
    return distribution["num_samples"][1] > 1


def _has_raters(distribution: Mapping[str, Any]) -> bool:
    """Whether any case has several raters."""
    return distribution["num_raters"][1] > 1


def _labels_table(distribution: Mapping[str, Any]) -> str:
    labels, leading = distribution["labels"], leading_score(distribution)
    drawn = list(dict.fromkeys([leading, "ged"]))
    names = ["Dice", "IoU", "HD95", "surface_dice"]
    names = [name for name in names if name in next(iter(labels.values()))["consensus"]]
    perfect = ["of a perfect model"] if _has_raters(distribution) else []
    rows = [["label", *(SCORE_TITLES[name] for name in drawn), *perfect, *names]]
    for label, block in labels.items():
        scores, consensus = block["scores"], block["consensus"]
        rows.append(
            [
                label,
                *(_with_interval(scores[name]) for name in drawn),
                *(_mean_of(block["perfect_model"], "ged") for _ in perfect),
                *(_with_interval(consensus[name]) for name in names),
            ]
        )
    return _aligned(rows)


def _consensus_table(consensus: Mapping[str, Any], *, has_raters: bool) -> str:
    rows = [["consensus mask", "", ""]]
    for name, score in consensus.items():
        direction = direction_of(name)
        if direction is not None and (has_raters or not name.endswith("_over_raters")):
            rows.append([name, _with_interval(score), _SHORT[direction]])
    return _aligned(rows)


def _distribution_table(distribution: Mapping[str, Any]) -> str:
    block = distribution["mean"]
    has_raters = _has_raters(distribution)
    answers = [
        name
        for name in TRIVIAL_ANSWERS
        if name in block["trivial_answers"] and (has_raters or not name.startswith("oracle"))
    ]
    beside = {answer: block["trivial_answers"][answer] for answer in answers}
    if has_raters:
        beside = {"perfect model": block["perfect_model"], **beside}
    rows = [["distribution", "samples", *beside, ""]]
    rows += [
        [
            SCORE_TITLES.get(name, name),
            _with_interval(block["scores"][name]),
            *(_mean_of(answer, name) for answer in beside.values()),
            _SHORT[direction_of(name) or "neither"],
        ]
        for name in _names_shown(distribution)
    ]
    return _aligned(rows)


def _names_shown(distribution: Mapping[str, Any]) -> list[str]:
    """Return the scores of the distribution that say something here, the leading one first."""
    scores = distribution["mean"]["scores"]
    names = sorted(scores, key=lambda name: name != leading_score(distribution))
    counts = {"has_samples": _has_samples(distribution), "has_raters": _has_raters(distribution)}
    return [
        name
        for name in names
        if says_something(name, **counts) and scores[name]["mean"] is not None
    ]


def _how_to_read(distribution: Mapping[str, Any]) -> str:
    """Return what the first row means, what stands beside it, and where all else is."""
    parts = [] if _has_samples(distribution) else [_ONE_MASK]
    if _has_raters(distribution):
        parts.append(_of_several_raters(distribution))
    elif _has_samples(distribution):
        parts.append(_ONE_RATER)
    else:
        parts.append("One rater per case: the GED is 2 (1 - IoU). Compare models by the Dice.")
    return "\n\n".join(parts)


_ONE_MASK = (
    "One mask per case: whether a distribution is drawn, and is calibrated, needs samples;\n"
    "diffunet_predict --save_samples writes them beside the masks, where they are found, and then\n"
    "the other scores are shown."
)

_ONE_RATER = (
    "One rater per case: how far raters differ is unknown, and so is what a perfect model\n"
    "scores. Compare models on the same cases by the energy score, and look at ece,\n"
    "volume_crps and volume_coverage. Scores that need several raters are in the summary\n"
    "file alone."
)


def _of_several_raters(distribution: Mapping[str, Any]) -> str:
    lines = [
        "perfect model: the expected score of samples drawn as the raters draw. No model is better",
        "on average. The oracles may be, since they know the raters of each case.",
    ]
    if not _has_samples(distribution):
        return "\n".join(lines)
    lines.insert(
        0, "unbiased GED (ged_fully_unbiased): 0 is perfect, of any number of samples and raters."
    )
    if distribution["num_raters"][0] == 1:
        lines.append("Where a case has one rater, it is 2 E d(s,y) - D_ss, whose best is above 0.")
    return "\n".join(lines)


def _where_nothing_is_marked(summary: Mapping[str, Any]) -> list[str]:
    """Return, for each label that some references lack, how cases with and without it score.

    A mean over both says little: an empty mask has Dice 1 where nothing is marked. Of more than
    three labels it is a table.
    """
    who = " (more than half of the raters)" if _has_raters(summary["distribution"]) else ""
    of_cases = [list(case["metrics"].values()) for case in summary["metric_per_case"]]
    lines: list[str] = []
    rows: list[list[str]] = [["label", "cases with it", "their Dice", "others", "of them empty"]]
    for label, name in enumerate(summary["distribution"]["labels"]):
        found = [scores[label] for scores in of_cases]
        dice = [each["Dice"] for each in found if each["n_ref"] and each["Dice"] is not None]
        without = [each["n_pred"] for each in found if not each["n_ref"]]
        if not dice or not without:
            continue
        mean = f"{fmean(dice):.4f}"
        num_empty = sum(not num_voxels for num_voxels in without)
        lines.append(
            f"{name}: {len(dice)} of {len(found)} cases have it{who}, with a mean Dice of {mean}.\n"
            f"In {num_empty} of the {len(without)} others the mask is empty too, which counts as a "
            "Dice of 1."
        )
        rows.append([name, str(len(dice)), mean, str(len(without)), str(num_empty)])
    if len(lines) <= _MOST_IN_SENTENCES:
        return ["\n".join(lines)] if lines else []
    return [
        f"{len(lines)} labels are not in all cases{who}. Where a label is not, an empty mask "
        f"counts as a Dice of 1:\n\n{_aligned(rows)}"
    ]


def _with_interval(score: Mapping[str, float | None]) -> str:
    if score["lower"] is None:
        return _number(score["mean"])
    return f"{_number(score['mean'])} [{_number(score['lower'])}, {_number(score['upper'])}]"


def _mean_of(scores: Mapping[str, Mapping[str, float | None]], name: str) -> str:
    return _number(scores[name]["mean"] if name in scores else None)


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
