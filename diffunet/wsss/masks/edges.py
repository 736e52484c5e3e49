"""Smoothing of a map that stops at the edges of its image: the joint bilateral filter.

Each pixel becomes the mean of those that are near to it and of similar intensity in the image
(Tomasi and Manduchi 1998; with another image than the filtered one: Petschnigg et al. 2004):

    m'(p) = sum_q w(p, q) m(q) / sum_q w(p, q)
    w(p, q) = exp(-|p - q|^2 / (2 sigma^2)) exp(-(I(p) - I(q))^2 / (2 contrast^2))

For the pixels of one intensity both sums are Gaussian filters. They are computed at intensities
`contrast` apart, and interpolated between (Porikli 2008; Yang et al. 2009): the time does not grow
with sigma squared, and the result is within a few hundredths of the map's range of the exact one.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage


def smooth_within_edges(
    saliency: Float[np.ndarray, "*slice y x"],
    image: Float[np.ndarray, "channel *slice y x"],
    *,
    sigma_voxels: float,
    contrast: float,
) -> Float[np.ndarray, "*slice y x"]:
    """Return a map smoothed within its slices where their image is smooth; the mean over channels.

    Args:
        saliency: signed or not; the filter is linear in it.
        image: normalised.
        sigma_voxels: above 0.
        contrast: what counts as an edge, in units of normalised intensity; above 0.
    """
    slices = saliency.reshape(-1, *saliency.shape[-2:])
    channels = image.reshape(len(image), -1, *image.shape[-2:])
    smooth = [
        np.mean(
            [_smooth(one, guide, sigma=sigma_voxels, contrast=contrast) for guide in guides],
            axis=0,
        )
        for one, guides in zip(slices, channels.swapaxes(0, 1), strict=True)
    ]
    return np.stack(smooth).reshape(saliency.shape).astype(saliency.dtype)


def _smooth(
    saliency: Float[np.ndarray, "y x"],
    guide: Float[np.ndarray, "y x"],
    *,
    sigma: float,
    contrast: float,
) -> Float[np.ndarray, "y x"]:
    lowest = float(guide.min())
    position = (guide - lowest) / contrast
    lower = np.floor(position).astype(int)
    share = position - lower
    result = np.zeros(saliency.shape)
    for level in np.unique([lower, lower + 1]):
        weight = np.exp(-0.5 * (position - level) ** 2)
        total = ndimage.gaussian_filter(weight, sigma)
        at_level = ndimage.gaussian_filter(weight * saliency, sigma) / np.maximum(total, 1e-30)
        result += np.where(lower == level, 1 - share, 0) * at_level
        result += np.where(lower + 1 == level, share, 0) * at_level
    return result
