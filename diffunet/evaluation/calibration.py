"""Whether the share of samples per voxel, and the spread of volumes, match the raters'."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from diffunet.evaluation.mask_pool import Levels

NUM_BINS = 10  # of equal width over [0, 1]
VOLUME_INTERVAL = (0.05, 0.95)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A reliability diagram in sums, so that diagrams of several cases can be added.

    A voxel that k of n samples mark falls into bin floor(10 k / n), k = n into the last.

    Attributes:
        num_voxels: voxels per bin.
        predicted: sum over a bin's voxels of the share of samples that mark them.
        observed: sum over a bin's voxels of the share of raters who mark them.
    """

    num_voxels: Float[np.ndarray, " bin"]
    predicted: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]

    @classmethod
    def of(cls, levels: Levels) -> "Reliability":
        """Return the diagram of one label on one image."""
        level = np.arange(levels.num_samples + 1)
        bins = _bins(levels.num_samples)
        columns = (
            levels.num_voxels,
            levels.num_voxels * level / levels.num_samples,
            levels.rater_marks.mean(axis=1),
        )
        sums = [np.bincount(bins, weights=column, minlength=NUM_BINS) for column in columns]
        return cls(num_voxels=sums[0], predicted=sums[1], observed=sums[2])

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(
            num_voxels=self.num_voxels + other.num_voxels,
            predicted=self.predicted + other.predicted,
            observed=self.observed + other.observed,
        )

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over all voxels of their bin's |predicted - observed|.

        Most voxels are background, so it is small for small objects (Guo et al. 2017); NaN without
        voxels.
        """
        total = self.num_voxels.sum()
        return float(np.abs(self.predicted - self.observed).sum() / total) if total else math.nan

    @property
    def ace(self) -> float:
        """Average calibration error: each bin that holds voxels weighs the same; NaN without any.

        Source: Neumann et al. 2018. The gap of a bin is |mean predicted - mean observed|.
        """
        is_used = self.num_voxels > 0
        if not is_used.any():
            return math.nan
        gaps = np.abs(self.predicted - self.observed)[is_used] / self.num_voxels[is_used]
        return float(gaps.mean())


def ece_over_raters(levels: Levels) -> float:
    """Return the mean over raters of the ECE against that rater alone; NaN without voxels.

    The calibration error of several raters of CURVAS 2024 (arXiv:2505.08685), here of one label's
    share of samples. Samples drawn as raters draw do not reach 0: each rater differs from them.
    """
    total = levels.num_voxels.sum()
    share = np.arange(levels.num_samples + 1) / levels.num_samples
    gaps = np.zeros((NUM_BINS, levels.num_raters))
    of_level = (share * levels.num_voxels)[:, None] - levels.rater_marks
    np.add.at(gaps, _bins(levels.num_samples), of_level)
    return float(np.abs(gaps).sum(axis=0).mean() / total) if total else math.nan


def _bins(num_samples: int) -> Int[np.ndarray, " level"]:
    """Return the bin of voxels that 0, 1, ..., n samples mark."""
    level = np.arange(num_samples + 1)
    return np.minimum(level * NUM_BINS // num_samples, NUM_BINS - 1)


def volume_coverage(
    sample_volumes: Float[np.ndarray, " sample"], rater_volumes: Float[np.ndarray, " rater"]
) -> float:
    """Return the share of raters whose volume lies in the samples' 5 % to 95 % interval.

    The quantiles use Weibull's plotting positions, k / (n + 1). For exchangeable volumes without
    ties the expected share is then 0.9 if n >= 19. With fewer samples the interval spans all of
    them, and the expected share is (n - 1) / (n + 1) (`nominal_volume_coverage`).
    """
    lower, upper = np.quantile(sample_volumes, VOLUME_INTERVAL, method="weibull")
    return float(((rater_volumes >= lower) & (rater_volumes <= upper)).mean())


def nominal_volume_coverage(num_samples: int) -> float:
    """Return the `volume_coverage` that samples drawn as raters draw would have, without ties."""
    lower, upper = VOLUME_INTERVAL
    return min(upper - lower, (num_samples - 1) / (num_samples + 1))
