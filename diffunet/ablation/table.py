"""The results of a sweep as a table, in Markdown and CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

Outcome = Mapping[str, Any]

_FEW_SEEDS = 6
"""Of fewer, drawing with replacement shows at most four fifths of their variance."""


def as_csv(outcome: Outcome) -> str:
    """Return a row per variant, with a column per axis."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    paths = [axis["path"] for axis in outcome["axes"]]
    numbers = _numbers(outcome["variants"][0])
    writer.writerow(["variant", *paths, "is_own", "num_seeds", *numbers, "failures"])
    for row in outcome["variants"]:
        values = [word_of(row["values"][path]) for path in paths]
        failures = "; ".join(f"seed {seed}: {why}" for seed, why in row["failures"].items())
        cells = ["" if value is None else value for value in _numbers(row).values()]
        writer.writerow([row["name"], *values, row["is_own"], len(row["runs"]), *cells, failures])
    return file.getvalue()


def as_markdown(outcome: Outcome) -> str:
    """Return the table for a reader, with what it says and does not say."""
    cases, score = outcome["cases"], outcome["title"]
    better = "lower" if outcome["is_lower_better"] else "higher"
    lines = [
        f"# Sweep '{outcome['sweep']}' on {outcome['dataset']}",
        "",
        f"{score} ({better} is better) of -m {outcome['method']} {outcome['configuration']}, fold "
        f"{outcome['fold']}, on {cases['num_cases']} {cases['kind']} cases of "
        f"{cases['num_patients']} patients. {_sentence_of_seeds(outcome['seeds'])}",
        "",
        "| variant | score | difference | GED | its floor | D_ss | D_yy | Dice | coverage | "
        "training, min | ms a sample |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row, compared_with=outcome["compared_with"]) for row in outcome["variants"]),
        "",
        *_notes(outcome),
    ]
    return "\n".join(lines) + "\n"


def _sentence_of_seeds(seeds: Sequence[int]) -> str:
    named = f"Trained with the seed(s) {', '.join(map(str, seeds))}. Intervals of 95 % draw"
    if len(seeds) == 1:
        return f"{named} patients with replacement, and know nothing of how trainings differ."
    doubt = ", and are too narrow for so few seeds" if len(seeds) < _FEW_SEEDS else ""
    return f"{named} patients and seeds with replacement{doubt}."


def _line(row: Outcome, *, compared_with: str) -> str:
    scores = row["scores"]
    name = row["name"].replace("|", "\\|")
    cells = [
        f"**{name}**" if row["is_own"] else name,
        _with_interval(row["score"]),
        "" if row["name"] == compared_with else _with_interval(row["difference"], sign="+"),
        *(_cell(value, ".3f") for value in (scores["ged"], row["floor"])),
        *(_cell(scores[name], ".3f") for name in ("D_ss", "D_yy", "Dice", "volume_coverage")),
        _cell(row["training_minutes"], ".2f"),
        _cell(row["ms_per_sample"], ".1f"),
    ]
    return f"| {' | '.join(cells)} |"


def _notes(outcome: Outcome) -> list[str]:
    numbers = sorted({row["num_samples"] for row in outcome["variants"] if row["num_samples"]})
    samples = " or ".join(f"{number:g}" for number in numbers) or "-"
    lines = [
        f"Difference: to '{outcome['compared_with']}', paired by case and seed. GED of {samples} "
        "sample(s) with all raters; its floor is that of a model which draws as raters do, "
        "D_yy (1/samples + 1/raters). Of the unbiased GED, the floor is 0.",
    ]
    own = next((row for row in outcome["variants"] if row["is_own"]), None)
    if own is not None:
        values = ", ".join(f"{path} {word_of(value)}" for path, value in own["values"].items())
        lines.append(f"\nAs planned: {values}.")
    known = {name: value for name, value in outcome["trivial_answers"].items() if value is not None}
    if known:
        answers = ", ".join(
            f"{name.replace('_', ' ')} {value:.3f}" for name, value in known.items()
        )
        lines.append(f"\nAnswers that need no learning, by the same score: {answers}.")
    if outcome["cases"]["kind"] == "test":
        lines.append("\nThese are test cases: nothing may be chosen by this table.")
    for row in outcome["variants"]:
        for seed, reason in row["failures"].items():
            lines.append(f"\nFailed: {row['name']}, seed {seed}: {reason}")
    return lines


def _numbers(row: Outcome) -> dict[str, float | None]:
    """Return all numbers of a row, by the names of their columns."""
    score, difference = row["score"], row["difference"]
    return {
        "score": score["mean"],
        "score_lower": score["lower"],
        "score_upper": score["upper"],
        "difference": difference["mean"],
        "difference_lower": difference["lower"],
        "difference_upper": difference["upper"],
        **row["scores"],
        "ged_floor": row["floor"],
        "num_samples": row["num_samples"],
        "training_minutes": row["training_minutes"],
        "ms_per_sample": row["ms_per_sample"],
        "peak_gib": row["peak_gib"],
    }


def word_of(value: Any) -> str:
    """Return a value as a user writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _with_interval(score: Outcome, *, sign: str = "") -> str:
    if score["lower"] is None:
        return _cell(score["mean"], f"{sign}.3f")
    bounds = ", ".join(f"{score[name]:{sign}.3f}" for name in ("lower", "upper"))
    return f"{score['mean']:{sign}.3f} [{bounds}]"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
