"""What all pictures of images draw with: intensities, outlines of masks, colours of labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffunet.label_colours import label_colours

_MOST_NAMED, _LONGEST_NAME = 17, 24

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""


def colours_of(num_labels: int) -> list[Colour]:
    """Return a colour per label, as in the tables of labels for viewers."""
    return [(red / 255, green / 255, blue / 255) for red, green, blue in label_colours(num_labels)]


def plain(text: str) -> str:
    """Return a text that starts no formula."""
    return text.replace("$", r"\$")


def add_legend(figure: Any, labels: Mapping[str, Colour]) -> None:
    """Add the colours of the first labels, below a figure."""
    from matplotlib.lines import Line2D

    shown = dict(list(labels.items())[:_MOST_NAMED])
    lines = [Line2D([], [], color=colour) for colour in shown.values()]
    names = [plain(name[:_LONGEST_NAME]) for name in shown]
    if len(labels) > len(shown):
        lines.append(Line2D([], [], linestyle="none"))
        names.append(f"and {len(labels) - len(shown)} others")
    figure.legend(lines, names, loc="outside lower center", ncols=6, frameon=False, fontsize=9)


def outline(axes: Any, mask: np.ndarray, colour: str | Colour, *, is_wide: bool = False) -> None:
    """Draw the edge of a mask (y, x); nothing of an empty one.

    Args:
        is_wide: and pale, below another outline: where both coincide, it shows on either side.
    """
    if not mask.any():
        return
    style = {"linewidths": 2.2, "alpha": 0.6} if is_wide else {"linewidths": 0.9}
    border = int(min(mask.shape) == 1)  # a contour needs two rows and two columns
    y, x = (np.arange(-border, size + border) for size in mask.shape)
    axes.contour(x, y, np.pad(mask, border), levels=[0.5], colors=[colour], **style)


def limits_of(image: np.ndarray) -> tuple[float, float]:
    """Return 1 % and 99 % of the finite values."""
    values = image.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    return float(low), float(high)


def displayable(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return (y, x), or (y, x, 3) of three channels, as [0, 1] between the limits."""
    low, high = limits
    known = np.nan_to_num(image.astype(np.float32), nan=low, posinf=high, neginf=low)
    scaled = np.clip((known - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else scaled[0]
