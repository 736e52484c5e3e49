"""How two raters of one case differ: the size of the pieces of the difference."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from diffunet.fingerprint.fingerprint import WHOLE, WINDOWS
from diffunet.fingerprint.objects import label_components
from diffunet.geometry import Box


def largest_pieces(
    difference: Bool[np.ndarray, "*spatial"],
    *,
    start: Sequence[int],
    shape: Sequence[int],
    shift: Sequence[float],
    slice_axis: int | None = None,
) -> dict[str, list[float]]:
    """Return, for each window size, the voxels of the largest piece in each window that has one.

    The image is cut into adjacent windows; a piece ends where its window ends. With a `slice_axis`,
    windows are one voxel thick along it.

    Args:
        difference: a part of the image in which at least one voxel is true.
        start: of that part in the image.
        shape: of the image.
        shift: where the first voxel of the image lies in its window, per axis, as a share of the
            window: a random shift makes windows like random patches. An axis on which the image
            fits the window is not cut.

    Returns:
        Sizes for the edges of `WINDOWS` as strings and for `WHOLE`, the image (or slice) itself.
    """
    box = Box.of_mask(difference)
    if box is None:
        raise ValueError("an empty difference has no pieces")
    part = difference[box.slices]
    first = [offset + inside for offset, inside in zip(start, box.start, strict=True)]
    in_plane = max(size for axis, size in enumerate(shape) if axis != slice_axis)

    def cuts(edge: int) -> list[tuple[int, int]]:
        """Return, per axis, the edge of a window and how far in its first window `part` begins."""
        found = []
        for axis, (size, place, share) in enumerate(zip(shape, first, shift, strict=True)):
            if axis == slice_axis:
                found.append((1, 0))
            elif edge >= size or (place + int(share * edge)) % edge + part.shape[axis] <= edge:
                # one window covers this whole axis, and need not be full
                found.append((part.shape[axis], 0))
            else:
                found.append((edge, (place + int(share * edge)) % edge))
        return found

    whole_cuts = cuts(in_plane)
    whole = _pieces(_windows(part, whole_cuts))
    by_edge = {
        str(edge): whole if (found := cuts(edge)) == whole_cuts else _pieces(_windows(part, found))
        for edge in WINDOWS
    }
    return by_edge | {WHOLE: whole}


def _windows(
    part: Bool[np.ndarray, "*spatial"], cuts: Sequence[tuple[int, int]]
) -> Bool[np.ndarray, "window *edges"]:
    """Cut `part` into windows, and return those that contain some of it."""
    padding = [
        (room, -(room + size) % edge) for (edge, room), size in zip(cuts, part.shape, strict=True)
    ]
    padded = np.pad(part, padding) if np.any(padding) else part
    edges = [edge for edge, _ in cuts]
    counts = [size // edge for size, edge in zip(padded.shape, edges, strict=True)]
    split = padded.reshape([number for pair in zip(counts, edges, strict=True) for number in pair])
    order = [*range(0, 2 * part.ndim, 2), *range(1, 2 * part.ndim, 2)]
    windows = split.transpose(order).reshape(-1, *edges)
    return windows[windows.reshape(len(windows), -1).any(axis=1)]


def _pieces(windows: Bool[np.ndarray, "window *edges"]) -> list[float]:
    components, count = label_components(windows, separate_axis=0)
    # what differs is little of a large image: only these voxels are counted
    places = np.flatnonzero(windows)
    numbers = components.reshape(-1)[places]
    voxels = np.bincount(numbers, minlength=count + 1)
    owners = np.zeros(count + 1, np.intp)
    owners[numbers] = places // windows[0].size
    largest = np.zeros(len(windows))
    np.maximum.at(largest, owners[1:], voxels[1:])
    return [float(size) for size in largest]
