"""Copies of a mask elsewhere in the body, to compare its erasure with theirs.

One copy may hit another object of the same kind, such as the other kidney or a second lesion. So
there are several copies, and the median counts. A copy is first mirrored or rotated, which keeps
its depth in the body. Where that is not enough, as on the midline, it is moved aside.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

NUM_CONTROLS = 3
"""Most copies of a mask: the smallest number whose median ignores one that hits such an object."""

_GAP_VOXELS = 2
"""Voxels between a mask and its copies: the fill beside an object would make it look larger."""

_BODY_SHARE = 0.9  # of the share of the mask that lies in the body
_BACKGROUND_TOLERANCE = 0.05  # of the range of intensities
_NUM_MOVES = 16  # per axis of the image, to try


def control_masks(
    mask: Bool[np.ndarray, "y x"], body: Bool[np.ndarray, "y x"]
) -> list[Bool[np.ndarray, "y x"]]:
    """Return one to `NUM_CONTROLS` copies of a mask that lie elsewhere in the body.

    They are whole, and overlap neither the mask nor each other. A mask that leaves no room for a
    copy has its mirror image as its control: it explains nothing, however large it is.

    Args:
        body: see `body_of`; a copy lies in it about as far as the mask does.
    """
    controls: list[np.ndarray] = []
    if mask.any():
        taken = ndimage.binary_dilation(mask, iterations=_GAP_VOXELS)
        wanted = _BODY_SHARE * np.count_nonzero(mask & body)
        for places in _copies(mask):
            if not taken[places].any() and np.count_nonzero(body[places]) >= wanted:
                taken[places] = True
                controls.append(np.zeros_like(mask))
                controls[-1][places] = True
                if len(controls) == NUM_CONTROLS:
                    break
    return controls or [mask[:, ::-1]]


def body_of(image: Float[np.ndarray, "channel y x"]) -> Bool[np.ndarray, "y x"]:
    """Return all pixels except an even background that reaches the border.

    Background pixels differ from the median of the border by at most a twentieth of the range in
    every channel. There is no background unless most of the border qualifies.
    """
    border = np.ones(image.shape[1:], bool)
    border[1:-1, 1:-1] = False
    is_near = np.ones(image.shape[1:], bool)
    for channel in image:
        tolerance = _BACKGROUND_TOLERANCE * float(np.ptp(channel))
        is_near &= np.abs(channel - np.median(channel[border])) <= tolerance
    if is_near[border].mean() <= 0.5:
        return np.ones(image.shape[1:], bool)
    parts = np.zeros(is_near.shape, np.int32)
    ndimage.label(is_near, output=parts)
    background = is_near & np.isin(parts, np.unique(parts[border & is_near]))
    return np.ones_like(border) if background.all() else ~background


def _copies(mask: Bool[np.ndarray, "y x"]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the pixels of whole copies of a mask, as an index: mirrored, turned, moved aside."""
    middle = (np.array(mask.shape) - 1) / 2
    offsets = np.argwhere(mask) - middle
    turned = [
        offsets * (1, -1),
        offsets * (-1, 1),
        -offsets,
        offsets[:, ::-1] * (1, -1),
        offsets[:, ::-1] * (-1, 1),
    ]
    moved = (offsets + move for move in _moves(mask.shape))
    for places in itertools.chain(turned, moved):
        points = np.floor(places + middle + 0.5).astype(int)
        if points.min() >= 0 and (points.max(axis=0) < mask.shape).all():
            yield tuple(points.T)


def _moves(shape: tuple[int, ...]) -> Int[np.ndarray, "move 2"]:
    """Return moves on a grid over the image, the shortest first."""
    steps = [max(1, size // _NUM_MOVES) for size in shape]
    axes = [
        np.arange(-(size // 2), size // 2 + 1, step)
        for size, step in zip(shape, steps, strict=True)
    ]
    moves = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return moves[np.argsort(np.hypot(*moves.T), kind="stable")]
