"""Pictures as text in a page: frames side by side in one sheet, 8 bit, as WebP or PNG."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from diffunet.label_colours import label_colours

RATER_COLOURS = (
    *("#2ec4ff", "#9be564", "#ff6bb5", "#ffe66d"),
    *("#c9a2ff", "#ff9f1c", "#00e5c0", "#ffffff"),
)
"""Of as many raters as a page shows: far apart in hue, and bright on grey images."""

_WEBP_QUALITY = 80
_LARGEST_SHEET = 16000  # WebP takes 16383 pixels along an edge
_DASH = 15  # of an edge that several share: 5 pixels along x, 7 along y, for each of them
_SMOOTHEST_EDGE = 192  # masks of fewer pixels are enlarged, so that outlines are thin


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Frames of one size in a picture: columns are samples or raters, rows are slices.

    Attributes:
        uri: the picture itself, as a data URI.
    """

    uri: str
    num_columns: int
    num_rows: int

    @property
    def num_bytes(self) -> int:
        return len(self.uri)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How frames are shown.

    Attributes:
        shape: (y, x) of a frame as it is stored in a sheet.
        ratio: width over height in millimetres.
    """

    shape: tuple[int, int]
    ratio: float


def grid_of(shape: tuple[int, ...], spacing_mm: tuple[float, ...], *, edge: int) -> Grid:
    """Return frames of at most `edge` pixels, never more than there are; both are (y, x)."""
    scale = min(1.0, edge / max(shape))
    height, width = (max(1, round(size * scale)) for size in shape[:2])
    ratio = shape[1] * spacing_mm[1] / (shape[0] * spacing_mm[0])
    return Grid(shape=(height, width), ratio=float(np.clip(ratio, 0.1, 10)))


def outline_colours(num_labels: int) -> tuple[str, ...]:
    """Return the colours of drawn labels, those of the tables for viewers, as #rrggbb."""
    return tuple(
        f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in label_colours(num_labels)
    )


def most_rows(grid: Grid) -> int:
    """Return how many frames fit below each other into one sheet."""
    return max(1, _LARGEST_SHEET // max(_enlarged(grid.shape)))


def image_sheet(frames: UInt8[np.ndarray, "row y x *colour"], grid: Grid) -> Sheet:
    """Return grey or coloured frames below each other, as WebP."""
    resized = np.stack([_resized(frame, grid.shape) for frame in frames])
    tall = resized.reshape(-1, *resized.shape[2:])
    return Sheet(uri=_encoded(tall, "WEBP"), num_columns=1, num_rows=len(frames))


def map_sheet(frames: Float[np.ndarray, "row y x"], grid: Grid, *, colours: str = "magma") -> Sheet:
    """Return maps of numbers in [0, 1], coloured as matplotlib names it."""
    grey = np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)
    resized = np.concatenate([_resized(frame, grid.shape) for frame in grey])
    uri = _encoded(resized, "PNG", palette=_palette(colours))
    return Sheet(uri=uri, num_columns=1, num_rows=len(frames))


def outline_sheet(
    columns: list[Integer[np.ndarray, "row y x"]],
    grid: Grid,
    *,
    colours: tuple[str, ...],
    takes_turns: bool = False,
) -> Sheet:
    """Return the inner edges of masks, transparent elsewhere.

    Args:
        columns: label indices, 0 for what is not outlined.
        takes_turns: they are shown on top of each other: where edges coincide, each gets a dash in
            turn, so that the last one does not hide the others.
    """
    shape = _enlarged(grid.shape)
    parts = [
        np.concatenate([_outline(_nearest(frame, shape)) for frame in frames]) for frames in columns
    ]
    if takes_turns:
        parts = _dashed(np.stack(parts))
    indices = np.concatenate(list(parts), axis=1)
    coloured = np.where(indices > 0, (indices - 1) % len(colours) + 1, 0).astype(np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    for index, colour in enumerate(colours, start=1):
        palette[index] = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    uri = _encoded(coloured, "PNG", palette=palette, is_transparent=True)
    return Sheet(uri=uri, num_columns=len(columns), num_rows=len(columns[0]))


def displayable(image: np.ndarray) -> UInt8[np.ndarray, "*shape"]:
    """Return intensities as 0 to 255, between their 1 % and 99 %."""
    values = image.astype(np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(image.shape, np.uint8)
    low, high = np.percentile(finite, [1, 99])
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    scaled = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def signed_shares(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return numbers of either sign in [0, 1], 0 at 0.5, and whether any is negative.

    The largest 0.2 % lie beyond the end of the scale. Without negative numbers, 0 stays 0.
    """
    finite = values[np.isfinite(values)]
    highest = float(np.percentile(np.abs(finite), 99.8)) if finite.size else 0.0
    highest = highest or 1.0
    if finite.size and finite.min() < 0:
        return np.clip(values / (2 * highest) + 0.5, 0, 1), True
    return np.clip(values / highest, 0, 1), False


def png_uri(content: bytes) -> str:
    """Return the content of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def _enlarged(shape: tuple[int, int]) -> tuple[int, int]:
    factor = max(1, _SMOOTHEST_EDGE // max(shape))
    return shape[0] * factor, shape[1] * factor


def _resized(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if frame.shape[:2] == shape:
        return frame
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BOX))


def _nearest(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(shape, frame.shape, strict=True)
    )
    return frame[np.ix_(rows, columns)]


def _outline(labels: np.ndarray) -> np.ndarray:
    """Return the labels of pixels that have another label beside them, or lie at the edge."""
    padded = np.pad(labels, 1)
    centre = padded[1:-1, 1:-1]
    is_edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in (-1, 1):
            is_edge |= np.roll(padded, step, axis)[1:-1, 1:-1] != centre
    return np.where(is_edge, labels, 0)


def _dashed(edges: np.ndarray) -> np.ndarray:
    """Return edges (column, y, x) of which one column has each pixel that several mark."""
    marked = edges > 0
    # uneven, so that no usual direction of an edge stays within one dash
    place = np.add.outer(2 * np.arange(edges.shape[1]), 3 * np.arange(edges.shape[2]))
    turn = place // _DASH % np.maximum(marked.sum(axis=0), 1)
    return np.where(marked.cumsum(axis=0) - 1 == turn, edges, 0)


def _palette(name: str) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps[name](np.arange(256), bytes=True)[:, :3]


def _encoded(
    pixels: np.ndarray,
    kind: str,
    *,
    palette: np.ndarray | None = None,
    is_transparent: bool = False,
) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    options: dict[str, Any] = {"optimize": True}
    if kind == "WEBP":
        options = {"quality": _WEBP_QUALITY, "method": 2}
    if palette is not None:
        picture.putpalette(palette.tobytes())
    if is_transparent:
        options["transparency"] = 0
    written = io.BytesIO()
    picture.save(written, format=kind, **options)
    content = base64.b64encode(written.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{content}"
