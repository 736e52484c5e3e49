"""Draw what `known_truth.py score` measured: how near samples are to a distribution that is known.

    python benchmarks/known_truth_figure.py documentation/results/known-truth.jsonl \
        documentation/explanation/known-truth.png

Reads one JSON object per line, as `score` writes them into FOLDER/scores.jsonl. Records without a
standard error, D_ss or calibration are drawn without it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffunet.figures.files import save
from diffunet.jsonio import parse_json

COLOURS = {
    "ddpm:10": "tab:grey",
    "dpm_solver_2m:4": "tab:cyan",
    "dpm_solver_2m:8": "tab:blue",
    "dpm_solver_2m_sde:8": "tab:orange",
}
PANELS = (
    ("ged", "unbiased GED (0 is perfect)", 0.0),
    ("D_ss", "D_ss, diversity of samples", None),
    ("presence_calibration", "calibration error of presence", None),
)


def main(words: Sequence[str] | None = None) -> None:
    """Read the records, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args(words)
    lines = given.records.read_text(encoding="utf-8").splitlines()
    save(draw([parse_json(line) for line in lines]), given.picture)


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Return a figure with one row per training, and a mark per sampler."""
    names = list(dict.fromkeys(record["name"] for record in records))
    figure = Figure(figsize=(13, 0.55 * len(names) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for panel, (score, title, perfect) in zip(axes, PANELS, strict=True):
        for record in records:
            mark(panel, record, score=score, row=names.index(record["name"]))
        truth = records[0]["truth"].get(score) if perfect is None else perfect
        if truth is not None:
            panel.axvline(truth, color="black", linestyle=":", label="masks of the truth itself")
        panel.set_xlabel(title)
        panel.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    marks, words = axes[0].get_legend_handles_labels()
    legend = dict(zip(words, marks, strict=True))
    figure.legend(legend.values(), legend, loc="outside upper center", ncols=len(legend))
    return figure


def mark(panel: Axes, record: dict[str, Any], *, score: str, row: int) -> None:
    """Draw one score of one record, with its standard error where there is one."""
    value = record["model"].get(score)
    if value is None:
        return
    places = list(COLOURS)
    place = row + 0.15 * (places.index(record["draw"]) - (len(places) - 1) / 2)
    error = record["model"].get("ged_error") if score == "ged" else None
    sampler, steps = record["draw"].split(":")
    panel.errorbar(
        value,
        place,
        xerr=error,
        fmt="o",
        color=COLOURS[record["draw"]],
        label=f"{sampler}, {steps} steps",
    )


if __name__ == "__main__":
    main()
