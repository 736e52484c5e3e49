"""From many drawn masks to one label map, probabilities, an uncertainty map and volumes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from diffunet.data.image_io import ImageGeometry

_SLAB_VALUES = 2**22
"""Values, of all labels, that are worked on at once: float maps are never needed whole."""


@dataclass(frozen=True, kw_only=True)
class VolumeSummary:
    """The distribution of a label's volume over the samples.

    Attributes:
        unit: "mm^3", or "mm^2" for a 2D image; "voxels" or "pixels" of files without a spacing.
        samples: one per sample.
        percentile_5, percentile_95: Weibull quantiles (at rank p (n + 1)), as the evaluation's.
    """

    unit: str
    mean: float
    median: float
    percentile_5: float
    percentile_95: float
    samples: tuple[float, ...]

    @classmethod
    def of(cls, num_voxels: Sequence[int], *, geometry: ImageGeometry) -> "VolumeSummary":
        """Summarise the voxel counts of the samples' masks."""
        volumes = np.asarray(num_voxels, np.float64) * math.prod(geometry.spacing_mm)
        lower, upper = np.quantile(volumes, [0.05, 0.95], method="weibull")
        return cls(
            unit=geometry.volume_unit,
            mean=float(volumes.mean()),
            median=float(np.median(volumes)),
            percentile_5=float(lower),
            percentile_95=float(upper),
            samples=tuple(volumes.tolist()),
        )


def volumes_of(
    num_voxels: Mapping[int, Sequence[int]], *, names: Sequence[str], geometry: ImageGeometry
) -> dict[str, VolumeSummary]:
    """Return the volumes of each label, by its name.

    Args:
        num_voxels: of each label, by the number of the sample.
        names: of the labels.
    """
    return {
        name: VolumeSummary.of(
            [num_voxels[sample][label] for sample in sorted(num_voxels)], geometry=geometry
        )
        for label, name in enumerate(names)
    }


def disagreements_of(votes: "Votes", volumes: Mapping[str, VolumeSummary]) -> dict[str, float]:
    """Return how far two samples differ in each label, by its name; nothing without samples.

    Args:
        volumes: by the label's name, in the order of the labels.
    """
    found = {
        name: votes.disagreement(label, num_empty=of_label.samples.count(0.0))
        for label, (name, of_label) in enumerate(volumes.items())
    }
    return {name: value for name, value in found.items() if value is not None}


@final
class Votes:
    """How much of the vote each label has at each voxel; background has what is left.

    Samples vote with one each, counted in uint8 (uint16 above 255 samples); a supervised model
    votes with its probabilities.

    Attributes:
        votes: (label, *spatial).
        total: votes per voxel and, where labels overlap, per label.
        is_exclusive: labels do not overlap.
    """

    def __init__(self, votes: np.ndarray, *, total: int, is_exclusive: bool):
        self.votes = votes
        self.total = total
        self.is_exclusive = is_exclusive

    @classmethod
    def none_of(cls, shape: Sequence[int], *, num_samples: int, is_exclusive: bool) -> "Votes":
        """Return room for the votes of `num_samples` masks of (label, *spatial) `shape`."""
        dtype = np.uint8 if num_samples < 256 else np.uint16
        return cls(np.zeros(shape, dtype), total=num_samples, is_exclusive=is_exclusive)

    def add(self, masks: np.ndarray) -> None:
        """Count one sample's boolean masks (label, *spatial)."""
        np.add(self.votes, masks, out=self.votes, casting="unsafe")

    def consensus(self) -> np.ndarray:
        """Return the boolean masks (label, *spatial) that most votes are for.

        Exclusive labels: the label with most votes, if they are more than background's; among
        equals the first label. Labels that overlap: where more than half of the votes are for it.
        """
        masks = np.empty(self.votes.shape, bool)
        for slab, votes in self._slabs():
            masks[slab] = self._winners(votes)
        return masks

    def probability(self, label: int) -> np.ndarray:
        """Return the share of the votes for a label, (*spatial), float32 in [0, 1]."""
        probability = self.votes[label].astype(np.float32)
        probability /= self.total
        return probability

    def uncertainty(self) -> np.ndarray:
        """Return the entropy of the vote over its maximum, (*spatial), float32 in [0, 1].

        Exclusive labels: of the distribution over background and all labels, over log(labels + 1).
        Labels that overlap: the mean over labels of the entropy, in bits, of inside and outside.
        """
        uncertainty = np.empty(self.votes.shape[1:], np.float32)
        for slab, votes in self._slabs():
            shares = votes.astype(np.float32)
            shares /= self.total
            uncertainty[slab[1:]] = self._entropy(shares)
        return uncertainty

    def disagreement(self, label: int, *, num_empty: int) -> float | None:
        """Return how far two samples differ in a label, in [0, 1]; None of fewer than two samples.

        An estimate of D_ss from the votes: over pairs of different samples that are not both empty
        1 - E|s and s'| / E|s or s'|, times the share of such pairs. It is D_ss where each sample is
        empty or the same mask. Elsewhere large masks count more in it than small ones.

        Args:
            num_empty: samples that do not mark the label.
        """
        n = self.total
        if n < 2 or not np.issubdtype(self.votes.dtype, np.integer):
            return None
        num_voxels = np.zeros(n + 1)
        for _, votes in self._slabs():
            num_voxels += np.bincount(votes[label].reshape(-1), minlength=n + 1)
        k = np.arange(n + 1)
        both, either = num_voxels @ (k * (k - 1)), num_voxels @ (k * (2 * n - k - 1))
        marked = 1 - num_empty * (num_empty - 1) / (n * (n - 1))
        return float(marked * (1 - both / either)) if either else 0.0

    def _slabs(self) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """Yield slices of (label, *spatial) along the first spatial axis, and the votes there."""
        num_labels, length, *others = self.votes.shape
        thickness = max(1, _SLAB_VALUES // max(1, num_labels * math.prod(others)))
        for start in range(0, length, thickness):
            slab = (slice(None), slice(start, start + thickness))
            yield slab, self.votes[slab]

    def _winners(self, votes: np.ndarray) -> np.ndarray:
        if not self.is_exclusive:
            return votes * 2.0 > self.total
        masks = np.zeros(votes.shape, bool)
        best = self.total - votes.sum(axis=0, dtype=np.float64)
        for label, of_label in enumerate(votes):
            wins = of_label > best
            masks[:label, wins] = False
            masks[label] = wins
            np.maximum(best, of_label, out=best)
        return masks

    def _entropy(self, shares: np.ndarray) -> np.ndarray:
        if not self.is_exclusive:
            return (_surprise(shares) + _surprise(1 - shares)).mean(axis=0) / math.log(2)
        background = np.clip(1 - shares.sum(axis=0), 0, 1)
        entropy = _surprise(shares).sum(axis=0) + _surprise(background)
        return np.clip(entropy / math.log(len(shares) + 1), 0, 1)


def _surprise(share: np.ndarray) -> np.ndarray:
    """Return -p log p, 0 at p = 0."""
    return -share * np.log(np.maximum(share, np.finfo(np.float32).tiny))
