"""How a training went: `progress.png`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.figures.files import save

NOT_VALUES = ("kind", "iteration", "num_cases", "is_best", "seconds")
"""Fields of a validation record besides the values that the method names."""

VALUE_LABELS = {
    "dice": "Dice of the consensus with the raters' majority (higher is better)",
    "ged": "GED of samples and raters (lower is better; falls with their number)",
    "ged_fully_unbiased": "unbiased GED (lower is better; 0: as raters draw)",
    "classification_auc": "AUC of the image-level labels (higher is better)",
    "cross_entropy": "cross entropy of the image-level labels (lower is better)",
    "noised_cross_entropy": "cross entropy of noised images (lower is better)",
    "condition_gain": "share of the denoising error that the right labels save (higher is better)",
}

LEVELS = {
    "ged_of_perfect_model": ("ged", "--", "GED of a perfect model"),
    "ged_fully_unbiased_of_always_empty": ("ged_fully_unbiased", ":", "unbiased GED, always empty"),
    "ged_fully_unbiased_of_oracle_majority": (
        "ged_fully_unbiased",
        "-.",
        "unbiased GED, the raters' majority",
    ),
}
"""Values that no training moves: whose colour they take, how they are drawn, what they are."""

_SMALL_VALUE = "condition_gain"
"""Values of a few thousandths of either sign: on the axis of the others they would look like 0."""


def plot_training(metrics_path: Path, png: Path) -> None:
    """Draw `progress.png` from `metrics.jsonl`: loss, validation scores, speed, learning rate."""
    from matplotlib.figure import Figure

    records = read_metrics(metrics_path)
    losses = [record for record in records if record["kind"] == "training"]
    scores = [record for record in records if record["kind"] == "validation"]
    figure = Figure(figsize=(10, 11), layout="constrained")
    figure.suptitle(f"Training in '{metrics_path.resolve().parent.name}'")
    axes = figure.subplots(3, 1, sharex=True)
    _plot_losses(axes[0], losses)
    _plot_scores(axes[1], scores)
    _plot_speed(axes[2], losses)
    axes[-1].set_xlabel("iteration (optimiser steps)")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    save(figure, png)


def _plot_losses(axes: Any, losses: list[dict[str, Any]]) -> None:
    iterations = [record["iteration"] for record in losses]
    names = list(losses[0]) if losses else []
    first, last = (names.index("loss"), names.index("gradient_norm")) if names else (0, 0)
    terms = names[first + 1 : last]
    for name in ["loss", *terms] if len(terms) > 1 else names[first : first + 1]:
        values = np.array([record[name] for record in losses], float)
        (line,) = axes.plot(iterations, values, alpha=0.25, linewidth=1)
        axes.plot(iterations, smoothed(values), color=line.get_color(), label=f"{name}, smoothed")
    if losses and min(record["loss"] or 0 for record in losses) > 0:
        axes.set_yscale("log")
    axes.set_ylabel("training loss")
    axes.set_title("Training loss (of the method's own terms; it says little about predictions)")
    _finish(axes)


def _plot_scores(axes: Any, scores: list[dict[str, Any]]) -> None:
    iterations = [record["iteration"] for record in scores]
    names = [name for name in (scores[0] if scores else ()) if name not in NOT_VALUES]
    levels = [name for name in names if name in LEVELS]
    names = [name for name in names if name not in LEVELS]
    lines: list[Any] = []
    top = axes
    for number, name in enumerate(names):
        place, colour, label = axes, f"C{number}", VALUE_LABELS.get(name, name)
        if name == _SMALL_VALUE:
            place = top = axes.twinx()
            label += ", right axis"
            place.axhline(0, color=colour, linewidth=0.8, linestyle="--")
            place.set_ylabel("share of the denoising error", color=colour)
        values = np.array([record[name] for record in scores], float)
        style = {"marker": "o", "markersize": 4, "color": colour}
        lines += place.plot(iterations, values, label=label, **style)
    for name in levels:
        of, linestyle, label = LEVELS[name]
        style = {"color": f"C{names.index(of)}", "linewidth": 1, "linestyle": linestyle}
        values = np.array([record.get(name) for record in scores], float)
        # across the axes, since a single validation makes no line
        lines.append(axes.axhline(values[-1], label=label, **style))
    if "ged_fully_unbiased" in names:
        style = {"color": f"C{names.index('ged_fully_unbiased')}", "linewidth": 1}
        label = "unbiased GED of a perfect model: 0"
        lines.append(axes.axhline(0, label=label, linestyle="--", **style))
    best = [record["iteration"] for record in scores if record["is_best"]]
    if best:
        label = f"checkpoint_best ({best[-1]})"
        lines.append(axes.axvline(best[-1], color="grey", linestyle=":", label=label))
    axes.set_ylabel("score")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # an unbiased score may be negative
    num_images = max((record["num_cases"] for record in scores), default=0)
    axes.set_title(f"Sampled validation on up to {num_images} image(s), with the averaged weights")
    axes.grid(alpha=0.3)
    if lines:
        below = {"loc": "upper left", "bbox_to_anchor": (0, -0.05), "ncols": 2, "frameon": False}
        top.legend(handles=lines, fontsize=8, **below)  # scores lie anywhere between the axes


def _plot_speed(axes: Any, losses: list[dict[str, Any]]) -> None:
    iterations = [record["iteration"] for record in losses]
    speeds = [record["samples_per_second"] for record in losses]
    (line,) = axes.plot(iterations, speeds, color="tab:blue", label="training samples per second")
    axes.set_ylabel("samples/s")
    axes.set_ylim(bottom=0)
    axes.set_title("Speed and learning rate")
    right = axes.twinx()
    rates = [record["learning_rate"] for record in losses]
    (other,) = right.plot(iterations, rates, color="tab:purple", label="learning rate")
    right.set_ylabel("learning rate")
    right.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(handles=[line, other], loc="lower center")


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return a moving mean over about a tenth of the curve, always as far back as ahead.

    So it neither lags nor begins too low or too high: at both ends the part becomes shorter.
    Undefined values count nothing. Positive ones have the mean of their logarithms, since the axis
    has their scale.
    """
    is_positive = bool((values[np.isfinite(values)] > 0).all())
    known = np.log(values) if is_positive else values
    means = np.full(len(values), np.nan)
    for index in range(len(values)):
        radius = min(len(values) // 20, index, len(values) - 1 - index)
        part = known[index - radius : index + radius + 1]
        if np.isfinite(part).any():
            means[index] = np.nanmean(part)
    return np.exp(means) if is_positive else means


def _finish(axes: Any) -> None:
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return what the whole lines of `metrics.jsonl` hold; see `read_lines`."""
    return [record for record in read_lines(path) if record is not None]


def read_lines(path: Path) -> list[dict[str, Any] | None]:
    """Return what the lines of `metrics.jsonl` hold; None of those that are damaged.

    The last one may be torn, and others are where a machine lost its power in a training that went
    on later.
    """
    return [_record_of(line) for line in path.read_bytes().splitlines()]


def _record_of(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and type(record.get("iteration")) is int
    return record if is_record and "kind" in record else None
