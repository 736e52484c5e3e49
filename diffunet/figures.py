"""Pictures of a training, drawn by a separate process: `python -m diffunet.figures KIND IN OUT`.

Nothing here knows plans, datasets or networks: files of numbers and arrays in, PNG files out.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_RATER_COLOUR, _SAMPLE_COLOUR, _SHARE_COLOURS = "tab:cyan", "tab:orange", "magma"
_UNSURE_COLOUR, _UNSURE_OPACITY = "tab:green", 0.5
_MOST_SHOWN = 6

_NOT_VALUES = ("kind", "iteration", "num_cases", "is_best", "seconds")
"""Fields of a validation record besides the values that the method names."""

_VALUE_LABELS = {
    "dice": "Dice of the consensus with the raters' majority (higher is better)",
    "ged": "GED of samples and raters (lower is better; falls with their number)",
    "ged_fully_unbiased": "unbiased GED (lower is better; 0: as raters draw)",
    "classification_auc": "AUC of the image-level labels (higher is better)",
    "cross_entropy": "cross entropy of the image-level labels (lower is better)",
    "noised_cross_entropy": "the same of noised images (lower is better)",
    "condition_gain": "share of the denoising error that the right labels save (right axis)",
}

_LEVELS = {
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

    records = _records(metrics_path)
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
    _save(figure, png)


def plot_samples(npz_path: Path, png: Path) -> None:
    """Draw `samples.png`: per case the image, the raters' masks, and drawn masks.

    Args:
        npz_path: arrays case_i (name), image_i (channel, y, x), raters_i and samples_i
            (number, label, y, x) bool, for i = 0, 1, ...
    """
    from matplotlib.figure import Figure

    arrays = np.load(npz_path, allow_pickle=False)
    num_cases = sum(name.startswith("case_") for name in arrays)
    num_samples = [len(arrays[f"samples_{index}"]) for index in range(num_cases)]
    num_columns = 3 + min(_MOST_SHOWN, max(num_samples))
    figure = Figure(figsize=(2.2 * num_columns + 0.8, 2.4 * num_cases + 1), layout="constrained")
    axes = figure.subplots(num_cases, num_columns, squeeze=False)
    for index, row in enumerate(axes):
        case = {name: arrays[f"{name}_{index}"] for name in ("case", "image", "raters", "samples")}
        _plot_case(row, case, is_first=index == 0)
    figure.colorbar(
        axes[0, 1].images[0], ax=axes, label="share that marks a voxel, any label", shrink=0.6
    )
    figure.suptitle(
        "Validation cases: what raters marked, what the model draws\n"
        "outlines: everything that some rater marked (cyan), one drawn sample (orange)"
    )
    _save(figure, png)


@dataclass(frozen=True, kw_only=True)
class PicturedCase:
    """One row of `plot_cases`.

    Attributes:
        title: stands beside the row.
        image: (channel, y, x); all rows are shown on one intensity scale.
        raters, samples: (number, y, x) bool.
        uncertainty: (y, x) in [0, 1].
    """

    title: str
    image: np.ndarray
    raters: np.ndarray
    samples: np.ndarray
    uncertainty: np.ndarray


def plot_cases(cases: Sequence[PicturedCase], png: Path, *, title: str) -> None:
    """Draw a row per case: the image, every rater, some samples, their share, the uncertainty."""
    from matplotlib.figure import Figure

    num_raters = max(len(case.raters) for case in cases)
    num_samples = min(_MOST_SHOWN, max(len(case.samples) for case in cases))
    titles = [
        "image",
        *(f"expert {number + 1}" for number in range(num_raters)),
        *(f"sample {number + 1}" for number in range(num_samples)),
        "share of samples",
        "uncertainty",
    ]
    figure = Figure(figsize=(1.35 * len(titles) + 1, 1.4 * len(cases) + 0.9), layout="constrained")
    axes = figure.subplots(len(cases), len(titles), squeeze=False)
    limits = _limits(np.concatenate([case.image.ravel() for case in cases]))
    for case, row in zip(cases, axes, strict=True):
        image = _displayable(case.image, limits)
        _plot_row(row, case, image, num_raters=num_raters, num_samples=num_samples)
    for name, ax in zip(titles, axes[0], strict=True):
        ax.set_title(name, fontsize=9)
    figure.colorbar(
        axes[0, -2].images[-1], ax=axes, shrink=0.6, label="share, or uncertainty (0 to 1)"
    )
    figure.suptitle(title)
    _save(figure, png)


@dataclass(frozen=True, kw_only=True)
class SaliencyCase:
    """One row of `plot_saliency`.

    Attributes:
        title: stands beside the row.
        image: (channel, y, x); all rows are shown on one intensity scale.
        saliency: (y, x), signed or not.
        mask: (y, x) bool, made of the saliency.
        reference: (y, x) bool; None where there is none.
        unsure: (y, x) bool, pixels that count in no loss; None without any.
        probability: that the image shows the label, in [0, 1]; None if unknown.
    """

    title: str
    image: np.ndarray
    saliency: np.ndarray
    mask: np.ndarray
    reference: np.ndarray | None = None
    unsure: np.ndarray | None = None
    probability: float | None = None


def plot_saliency(cases: Sequence[SaliencyCase], png: Path, *, title: str, units: str) -> None:
    """Draw a row per case: the image, its saliency, and the outlines of mask and reference.

    Unsure pixels are shaded.

    All maps share one scale: around 0 where any is negative, else from 0.

    Args:
        cases: at least one.
        units: of the saliency, such as "normalised intensity".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 2.15 * len(cases) + 1), layout="constrained")
    axes = figure.subplots(len(cases), 3, squeeze=False)
    limits = _limits(np.concatenate([case.image.ravel() for case in cases]))
    scale = _saliency_scale(np.concatenate([case.saliency.ravel() for case in cases]))
    for case, row in zip(cases, axes, strict=True):
        _plot_saliency_row(row, case, _displayable(case.image, limits), scale=scale)
    has_unsure = any(case.unsure is not None for case in cases)
    has_reference = any(case.reference is not None for case in cases)
    beside = " and reference" if has_reference else ""
    compared = "mask and what is unsure" if has_unsure else f"mask{beside}"
    for name, ax in zip(("image", "saliency", compared), axes[0], strict=True):
        ax.set_title(name, fontsize=9)
    extend = "both" if scale["vmin"] < 0 else "max"
    label = f"saliency ({units})"
    figure.colorbar(
        axes[0, 1].images[0], ax=axes, label=label, shrink=0.7, aspect=40, extend=extend
    )
    outlines = f"outlines: mask ({_name(_SAMPLE_COLOUR)})"
    if has_reference:
        outlines += f", reference ({_name(_RATER_COLOUR)})"
    if has_unsure:
        outlines += f"; shaded: unsure ({_name(_UNSURE_COLOUR)})"
    figure.suptitle(f"{title}\n{outlines}", fontsize=11)
    _save(figure, png)


def main(arguments: list[str]) -> None:
    """Draw one picture: KIND ("training" or "samples"), input file, output file."""
    kind, source, target = arguments
    {"training": plot_training, "samples": plot_samples}[kind](Path(source), Path(target))


def _plot_losses(axes: Any, losses: list[dict[str, Any]]) -> None:
    iterations = [record["iteration"] for record in losses]
    names = list(losses[0]) if losses else []
    first, last = (names.index("loss"), names.index("gradient_norm")) if names else (0, 0)
    terms = names[first + 1 : last]
    for name in ["loss", *terms] if len(terms) > 1 else names[first : first + 1]:
        values = np.array([record[name] for record in losses], float)
        (line,) = axes.plot(iterations, values, alpha=0.25, linewidth=1)
        axes.plot(iterations, _smoothed(values), color=line.get_color(), label=f"{name}, smoothed")
    if losses and min(record["loss"] or 0 for record in losses) > 0:
        axes.set_yscale("log")
    axes.set_ylabel("training loss")
    axes.set_title("Training loss (of the method's own terms; it says little about predictions)")
    _finish(axes)


def _plot_scores(axes: Any, scores: list[dict[str, Any]]) -> None:
    iterations = [record["iteration"] for record in scores]
    names = [name for name in (scores[0] if scores else ()) if name not in _NOT_VALUES]
    levels = [name for name in names if name in _LEVELS]
    names = [name for name in names if name not in _LEVELS]
    lines: list[Any] = []
    top = axes
    for number, name in enumerate(names):
        place, colour = axes, f"C{number}"
        if name == _SMALL_VALUE:
            place = top = axes.twinx()
            place.axhline(0, color=colour, linewidth=0.8, linestyle="--")
            place.set_ylabel("share of the denoising error", color=colour)
        values = np.array([record[name] for record in scores], float)
        style = {"marker": "o", "markersize": 4, "color": colour}
        lines += place.plot(iterations, values, label=_VALUE_LABELS.get(name, name), **style)
    for name in levels:
        of, linestyle, label = _LEVELS[name]
        style = {"color": f"C{names.index(of)}", "linewidth": 1, "linestyle": linestyle}
        values = np.array([record.get(name) for record in scores], float)
        lines += axes.plot(iterations, values, label=label, **style)
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


def _plot_case(row: Any, case: Mapping[str, np.ndarray], *, is_first: bool) -> None:
    image = _displayable(case["image"], _limits(case["image"]))
    raters, samples = (np.any(case[name], axis=1) for name in ("raters", "samples"))
    union = np.any(raters, axis=0)
    row[0].imshow(image, cmap="gray")
    row[0].set_ylabel(str(case["case"]), fontsize=8)
    titles = [
        "image",
        f"share of {len(raters)} rater(s)",
        f"share of {len(samples)} sample(s)",
        *(f"sample {number}" for number in range(_MOST_SHOWN)),
    ]
    for axes, masks in zip(row[1:3], (raters, samples), strict=True):
        axes.imshow(masks.mean(axis=0), cmap=_SHARE_COLOURS, vmin=0, vmax=1)
    for axes, mask in zip(row[3:], samples, strict=False):
        axes.imshow(image, cmap="gray")
        _outline(axes, union, _RATER_COLOUR)
        _outline(axes, mask, _SAMPLE_COLOUR)
    for number, axes in enumerate(row):
        axes.set_xticks([])
        axes.set_yticks([])
        if is_first:
            axes.set_title(titles[number], fontsize=9)
        if number >= 3 + len(samples):
            axes.set_axis_off()


def _plot_row(
    row: Any, case: PicturedCase, image: np.ndarray, *, num_raters: int, num_samples: int
) -> None:
    masks = [*case.raters[:num_raters], *case.samples[:num_samples]]
    colours = [_RATER_COLOUR] * len(case.raters) + [_SAMPLE_COLOUR] * num_samples
    places = [*range(1, 1 + len(case.raters)), *range(1 + num_raters, 1 + num_raters + num_samples)]
    row[0].set_ylabel(case.title, fontsize=8)
    for ax in row:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    for place, mask, colour in zip(places, masks, colours, strict=False):
        _outline(row[place], mask, colour)
        if not mask.any():
            row[place].set_xlabel("nothing", fontsize=8, color=colour, labelpad=2)
    for ax, shares in ((row[-2], case.samples.mean(axis=0)), (row[-1], case.uncertainty)):
        ax.imshow(shares, cmap=_SHARE_COLOURS, vmin=0, vmax=1)


def _plot_saliency_row(
    row: Any, case: SaliencyCase, image: np.ndarray, *, scale: Mapping[str, Any]
) -> None:
    for ax in row:
        ax.set_xticks([])
        ax.set_yticks([])
    row[0].imshow(image, cmap="gray", vmin=0, vmax=1)
    row[1].imshow(case.saliency, **scale)
    row[2].imshow(image, cmap="gray", vmin=0, vmax=1)
    if case.unsure is not None:
        _shade(row[2], case.unsure, _UNSURE_COLOUR)
    said = "" if case.probability is None else f"\npresence {case.probability:.2f}"
    row[0].set_ylabel(f"{case.title}{said}", fontsize=8)
    drawn = [(case.mask, _SAMPLE_COLOUR, "mask")]
    if case.reference is not None:
        drawn.insert(0, (case.reference, _RATER_COLOUR, "reference"))
    for mask, colour, _ in drawn:
        _outline(row[2], mask, colour)
    empty = [name for mask, _, name in drawn if not mask.any()]
    if empty:
        row[2].set_xlabel(f"nothing: {', '.join(empty)}", fontsize=8, labelpad=2)


def _saliency_scale(values: np.ndarray) -> dict[str, Any]:
    """Return colours and limits of the maps: the largest 0.2 % are beyond the end of the scale."""
    finite = values[np.isfinite(values)]
    highest = float(np.percentile(np.abs(finite), 99.8)) if finite.size else 0.0
    highest = highest or 1.0
    if finite.min(initial=0) < 0:
        return {"cmap": "RdBu_r", "vmin": -highest, "vmax": highest}
    return {"cmap": _SHARE_COLOURS, "vmin": 0.0, "vmax": highest}


def _name(colour: str) -> str:
    return colour.removeprefix("tab:")


def _outline(axes: Any, mask: np.ndarray, colour: str) -> None:
    if mask.any():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.2)


def _shade(axes: Any, mask: np.ndarray, colour: str) -> None:
    from matplotlib.colors import to_rgba

    shade = np.zeros((*mask.shape, 4))
    shade[mask] = to_rgba(colour, _UNSURE_OPACITY)
    axes.imshow(shade)


def _limits(image: np.ndarray) -> tuple[float, float]:
    """Return 1 % and 99 % of the values."""
    low, high = np.percentile(image.astype(np.float32), [1, 99])
    return float(low), float(high)


def _displayable(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return (y, x), or (y, x, 3) of three channels, as [0, 1] between the limits."""
    low, high = limits
    scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else scaled[0]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return an exponential moving average over about a twentieth of the curve."""
    weight = min(1.0, 20 / max(1, len(values)))
    smoothed = values.copy()
    for index in range(1, len(values)):
        smoothed[index] += (1 - weight) * (smoothed[index - 1] - smoothed[index])
    return smoothed


def _finish(axes: Any) -> None:
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)


def _save(figure: Any, png: Path) -> None:
    from diffunet.jsonio import atomic_file

    with atomic_file(png) as file:
        figure.savefig(file, dpi=110, format="png")


def _records(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file of JSON lines; the last one may be torn."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


if __name__ == "__main__":
    main(sys.argv[1:])
