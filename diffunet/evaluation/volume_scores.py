"""Whether the volumes of samples are distributed as those of raters.

All are in the unit of the volumes: mm^3, or mm^2 in 2D.
"""

import math

import numpy as np
from jaxtyping import Float


def volume_crps(
    sample_volumes: Float[np.ndarray, " sample"], rater_volumes: Float[np.ndarray, " rater"]
) -> float:
    """Return the continuous ranked probability score of the samples' volumes, mean over raters.

    E|X - y| - E|X - X'| / 2 of a rater y and different samples X, X' (Gneiting and Raftery 2007,
    eq. 21). Different ones: its expectation does not depend on their number (the "fair" score of
    Ferro 2014). It may be negative. One sample: NaN.
    """
    between = float(np.abs(sample_volumes[:, None] - rater_volumes[None, :]).mean())
    return between - mean_difference(sample_volumes) / 2


def mean_difference(volumes: Float[np.ndarray, " mask"]) -> float:
    """Return E|X - X'| of different masks; one mask: NaN.

    Half of it, of raters, is the expected `volume_crps` of samples drawn as the raters draw.
    """
    count = len(volumes)
    if count < 2:
        return math.nan
    ranks = 2 * np.arange(count) - (count - 1)  # of the k-th smallest: smaller less larger ones
    return float(2 * (ranks * np.sort(volumes)).sum() / (count * (count - 1)))


def volume_crps_curvas(
    sample_volumes: Float[np.ndarray, " sample"], rater_volumes: Float[np.ndarray, " rater"]
) -> float:
    """Return the CRPS of a Gaussian fitted to the raters' volumes, at the samples' mean volume.

    The roles are exchanged: the raters are the forecast, and the mean volume, which is the sum of
    the probabilities, is what comes true. It says nothing of the samples' spread, and is least at
    the raters' mean. For comparison with CURVAS 2024 only (arXiv:2505.08685). The spread is the
    root of the mean squared deviation; all volumes equal: the distance from them.
    """
    mean, spread = float(rater_volumes.mean()), float(rater_volumes.std())
    distance = float(sample_volumes.mean()) - mean
    if spread == 0:
        return abs(distance)
    z = distance / spread
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    central = math.erf(z / math.sqrt(2))  # 2 F(z) - 1
    return spread * (z * central + 2 * density - 1 / math.sqrt(math.pi))
