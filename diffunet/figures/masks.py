"""Images with the masks that raters drew and a model makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.figures.files import save
from diffunet.figures.on_axes import (
    Colour,
    add_legend,
    colours_of,
    displayable,
    limits_of,
    outline,
    plain,
)

_RATER_COLOUR, _SAMPLE_COLOUR, _SHARE_COLOURS = "tab:cyan", "tab:orange", "magma"
_UNSURE_COLOUR, _UNSURE_OPACITY = "tab:green", 0.5
_MOST_SHOWN = 6


def plot_samples(npz_path: Path, png: Path) -> None:
    """Draw `samples.png`: per case the image, the raters' masks, and drawn masks.

    Args:
        npz_path: arrays case_i (name), image_i (channel, y, x), raters_i and samples_i
            (number, label, y, x) bool, for i = 0, 1, ...; labels: their names.
    """
    from matplotlib.figure import Figure

    arrays = np.load(npz_path, allow_pickle=False)
    num_cases = sum(name.startswith("case_") for name in arrays)
    num_samples = [len(arrays[f"samples_{index}"]) for index in range(num_cases)]
    labels = _labels_of(arrays)
    num_columns = 3 + min(_MOST_SHOWN, max(num_samples))
    figure = Figure(figsize=(2.2 * num_columns + 0.8, 2.4 * num_cases + 1), layout="constrained")
    axes = figure.subplots(num_cases, num_columns, squeeze=False)
    for index, row in enumerate(axes):
        case = {name: arrays[f"{name}_{index}"] for name in ("case", "image", "raters", "samples")}
        _plot_case(row, case, colours=list(labels.values()), is_first=index == 0)
    figure.colorbar(
        axes[0, 1].images[0], ax=axes, label="share that marks a voxel, any label", shrink=0.6
    )
    outlines = "everything that some rater marked (cyan), one drawn sample (orange)"
    if len(labels) > 1:
        outlines = "one drawn sample (thin), everything that some rater marked (wide)"
        add_legend(figure, labels)
    figure.suptitle(
        f"Validation cases: what raters marked, what the model draws\noutlines: {outlines}"
    )
    save(figure, png)


def _labels_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Colour]:
    """Return the colour of each label by its name."""
    num_labels = arrays["raters_0"].shape[1]
    names = [f"label {number + 1}" for number in range(num_labels)]
    if "labels" in arrays and len(arrays["labels"]) == num_labels:
        names = [str(name) for name in arrays["labels"]]
    return dict(zip(names, colours_of(num_labels), strict=True))


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
    limits = limits_of(np.concatenate([case.image.ravel() for case in cases]))
    for case, row in zip(cases, axes, strict=True):
        image = displayable(case.image, limits)
        _plot_row(row, case, image, num_raters=num_raters, num_samples=num_samples)
    for name, ax in zip(titles, axes[0], strict=True):
        ax.set_title(name, fontsize=9)
    figure.colorbar(
        axes[0, -2].images[-1], ax=axes, shrink=0.6, label="share, or uncertainty (0 to 1)"
    )
    figure.suptitle(title)
    save(figure, png)


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
    limits = limits_of(np.concatenate([case.image.ravel() for case in cases]))
    scale = _saliency_scale(np.concatenate([case.saliency.ravel() for case in cases]))
    for case, row in zip(cases, axes, strict=True):
        _plot_saliency_row(row, case, displayable(case.image, limits), scale=scale)
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
    save(figure, png)


def _plot_case(
    row: Any, case: Mapping[str, np.ndarray], *, colours: Sequence[Colour], is_first: bool
) -> None:
    image = displayable(case["image"], limits_of(case["image"]))
    raters, samples = (np.any(case[name], axis=1) for name in ("raters", "samples"))
    union = np.any(raters, axis=0)
    row[0].imshow(image, cmap="gray")
    row[0].set_ylabel(plain(str(case["case"])), fontsize=8)
    titles = [
        "image",
        f"share of {len(raters)} rater(s)",
        f"share of {len(samples)} sample(s)",
        *(f"sample {number}" for number in range(_MOST_SHOWN)),
    ]
    for axes, masks in zip(row[1:3], (raters, samples), strict=True):
        axes.imshow(masks.mean(axis=0), cmap=_SHARE_COLOURS, vmin=0, vmax=1)
    for axes, mask, of_labels in zip(row[3:], samples, case["samples"], strict=False):
        axes.imshow(image, cmap="gray")
        if len(colours) == 1:
            outline(axes, union, _RATER_COLOUR, is_wide=True)
            outline(axes, mask, _SAMPLE_COLOUR)
            continue
        marked = np.any(case["raters"], axis=0)
        for colour, by_raters, by_sample in zip(colours, marked, of_labels, strict=True):
            outline(axes, by_raters, colour, is_wide=True)
            outline(axes, by_sample, colour)
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
    row[0].set_ylabel(plain(case.title), fontsize=8)
    for ax in row:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    for place, mask, colour in zip(places, masks, colours, strict=False):
        outline(row[place], mask, colour)
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
    row[0].set_ylabel(plain(f"{case.title}{said}"), fontsize=8)
    drawn = [(case.mask, _SAMPLE_COLOUR, "mask")]
    if case.reference is not None:
        drawn.insert(0, (case.reference, _RATER_COLOUR, "reference"))
    for mask, colour, name in drawn:
        outline(row[2], mask, colour, is_wide=name == "reference")
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


def _shade(axes: Any, mask: np.ndarray, colour: str) -> None:
    from matplotlib.colors import to_rgba

    shade = np.zeros((*mask.shape, 4))
    shade[mask] = to_rgba(colour, _UNSURE_OPACITY)
    axes.imshow(shade)
