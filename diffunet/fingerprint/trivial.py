"""The scores of answers that ignore the image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from diffunet.evaluation.ambiguity import ged
from diffunet.evaluation.baselines import majority
from diffunet.evaluation.mask_pool import MaskPool
from diffunet.geometry import Box

NUM_REDRAWN = 16
NUM_BLOBS = 12
BLOB_DIAMETERS = np.geomspace(0.04, 1.0, NUM_BLOBS)
"""Diameters of the blobs to try, as shares of the image's smallest extent."""


def trivial_geds(
    masks: Bool[np.ndarray, "rater *spatial"],
    *,
    box: Box,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
) -> dict[str, Float[np.ndarray, " variant"]]:
    """Return the GED of each answer of `fingerprint.TrivialAnswers` for one label of one case.

    The redraw's is the expectation over draws with replacement: E d(s,y) is the raters' own D_yy,
    and E d(s,s') is D_yy (1 - 1/n), so that D_yy / n remains.

    Args:
        masks: the raters', inside `box` of the image.
        shape: of the image.

    Returns:
        One GED each, but `NUM_BLOBS` for "centre_blob".
    """
    num_raters = len(masks)
    pool = MaskPool.of([*masks, majority(masks)])
    raters = np.arange(num_raters)
    rater_iou = pool.iou[np.ix_(raters, raters)]
    alone = np.ones((1, 1))
    blob_iou = _blob_iou(masks, box=box, shape=shape, spacing_mm=spacing_mm)
    return {
        "always_empty": np.array([ged(pool.iou[[pool.empty]][:, raters], alone, rater_iou)]),
        "oracle_majority": np.array([ged(pool.iou[[num_raters]][:, raters], alone, rater_iou)]),
        "centre_blob": np.array([ged(iou[None], alone, rater_iou) for iou in blob_iou]),
        "oracle_redraw": np.array([(1 - rater_iou.mean()) / NUM_REDRAWN]),
    }


def _blob_iou(
    masks: Bool[np.ndarray, "rater *spatial"],
    *,
    box: Box,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
) -> Float[np.ndarray, "blob rater"]:
    """Return the IoU of centred blobs with each rater; all blobs from one pass over the masks."""
    extents = np.multiply(shape, spacing_mm)
    radii = BLOB_DIAMETERS * extents.min() / 2
    edges = np.concatenate([[0], radii**2])
    squares = [
        ((np.arange(start, stop) - (size - 1) / 2) * spacing) ** 2
        for start, stop, size, spacing in zip(box.start, box.stop, shape, spacing_mm, strict=True)
    ]
    distances = sum(np.ix_(*squares), start=np.zeros((1,) * len(shape)))
    dimensions = len(shape)
    unit_ball = np.pi if dimensions == 2 else 4 * np.pi / 3
    volumes = unit_ball * radii**dimensions / np.prod(spacing_mm)
    columns = []
    for mask in masks:
        shared = np.cumsum(np.histogram(distances[mask], edges)[0])
        # up to rounding, the ball's volume is its number of voxels: never less than the overlap
        union = np.maximum(volumes, shared) + np.count_nonzero(mask) - shared
        columns.append(shared / union)
    return np.stack(columns, axis=1)
