"""The predictions that deserve a look: `pictures/most_uncertain.png`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.figures.files import save
from diffunet.figures.on_axes import add_legend, colours_of, displayable, limits_of, outline, plain

_COLUMNS = ("image", "consensus", "share of samples", "uncertainty")
_SHARE_COLOURS = "magma"
_CASE_COLOUR = "tab:orange"
_HEIGHT, _WIDEST = 2.0, 2.0  # of a picture: inches, and width over height
_MARGIN = {"fontsize": 7, "color": "white", "fontweight": "bold"}


@dataclass(frozen=True, kw_only=True)
class UncertainCase:
    """One row of `plot_uncertain`: a slice, or an image.

    Attributes:
        title: stands beside the row.
        image: (channel, y, x); None where it is unknown.
        consensus: (y, x), the number of the label from 1, 0 for background.
        share: (y, x) in [0, 1], of the samples that mark anything; None where it is unknown.
        uncertainty: (y, x) in [0, 1].
        spacing_mm: (y, x).
        top, left: where these edges lie in the patient, as one letter; "" where nothing tells.
    """

    title: str
    image: np.ndarray | None
    consensus: np.ndarray
    share: np.ndarray | None
    uncertainty: np.ndarray
    spacing_mm: tuple[float, float]
    top: str = ""
    left: str = ""


def plot_uncertain(
    cases: Sequence[UncertainCase], png: Path, *, title: str, labels: Sequence[str]
) -> None:
    """Draw a row per case: image, outline of the consensus, share of the samples, uncertainty.

    Args:
        cases: at least one.
        labels: names of all labels, in the order of their numbers.
    """
    from matplotlib.figure import Figure

    names = [name for name in _COLUMNS if name != "share of samples" or _any_share(cases)]
    height = _HEIGHT * len(cases) + 1.1
    width = _HEIGHT * min(_WIDEST, max(map(_ratio, cases))) * len(names) + 1.5
    figure = Figure(figsize=(max(width, 6.0), height), layout="constrained")
    axes = figure.subplots(len(cases), len(names), squeeze=False)
    colours: list[Any] = list(colours_of(len(labels))) if len(labels) > 1 else [_CASE_COLOUR]
    for case, row in zip(cases, axes, strict=True):
        _plot_row(case, dict(zip(names, row, strict=True)), colours=colours)
    for name, ax in zip(names, axes[0], strict=True):
        ax.set_title(name, fontsize=9)
    figure.colorbar(
        axes[0, -1].images[0], ax=axes, shrink=0.6, label="share, or uncertainty (0 to 1)"
    )
    if len(labels) > 1:
        add_legend(figure, dict(zip(labels, colours, strict=True)))
    figure.suptitle(plain(title), fontsize=11)
    save(figure, png)


def _any_share(cases: Sequence[UncertainCase]) -> bool:
    return any(case.share is not None for case in cases)


def _ratio(case: UncertainCase) -> float:
    """Return width over height in the patient."""
    rows, columns = case.uncertainty.shape
    return columns * case.spacing_mm[1] / (rows * case.spacing_mm[0])


def _plot_row(case: UncertainCase, row: dict[str, Any], *, colours: Sequence[Any]) -> None:
    aspect = case.spacing_mm[0] / case.spacing_mm[1]
    image = np.zeros(case.uncertainty.shape)
    if case.image is not None:
        image = displayable(case.image, limits_of(case.image))
    for name, ax in row.items():
        ax.set_xticks([])
        ax.set_yticks([])
        shown = {"share of samples": case.share, "uncertainty": case.uncertainty}
        if name not in shown:
            ax.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect)
        elif (values := shown[name]) is not None:
            ax.imshow(values, cmap=_SHARE_COLOURS, vmin=0, vmax=1, aspect=aspect)
        else:
            ax.set_axis_off()
    row["image"].set_ylabel(plain(case.title), fontsize=8)
    if case.image is None:
        row["image"].set_xlabel("not found", fontsize=8)
    inside = row["image"].transAxes
    row["image"].text(0.5, 0.97, case.top, transform=inside, ha="center", va="top", **_MARGIN)
    row["image"].text(0.02, 0.5, case.left, transform=inside, ha="left", va="center", **_MARGIN)
    for number, colour in enumerate(colours, start=1):
        outline(row["consensus"], case.consensus == number, colour)
    if not case.consensus.any():
        row["consensus"].set_xlabel("marks nothing here", fontsize=8)
