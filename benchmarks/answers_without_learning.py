"""Masks that need no network: what a map of saliency must beat.

Nothing here sees a mask, but for `true_area_disc`, an upper bound. Images are (y, x), of one
channel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffunet.evaluation.auc import area_under_curve
from diffunet.plans import MaskPlan
from diffunet.randomness import numpy_generator
from diffunet.wsss.masks.pseudo_masks import NUM_BINS, mask_of, smoothed_map, threshold_of

RADIUS_SHARES = tuple(round(0.05 * step, 2) for step in range(1, 11))
"""Radii of the centre disc that are compared, as shares of an image's shorter side."""


def otsu_mask(image: np.ndarray) -> np.ndarray:
    """Return the brighter class of Otsu's threshold, after the same smoothing as maps have."""
    plan = MaskPlan()
    prepared = smoothed_map(image - image.min(), plan=plan)
    return mask_of(prepared, threshold_of(prepared, plan=plan), plan=plan)


def three_class_mask(image: np.ndarray) -> np.ndarray:
    """Return the brightest of Otsu's three classes: background, tissue, and what is brighter.

    The two thresholds of the largest variance between classes, over all pairs (Otsu 1979, Sec. IV).
    """
    prepared = smoothed_map(image - image.min(), plan=MaskPlan())
    if prepared.max() == 0:
        return np.zeros(image.shape, bool)
    counts, edges = np.histogram(prepared, bins=NUM_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    num = np.concatenate([[0], np.cumsum(counts)]).astype(float)
    total = np.concatenate([[0], np.cumsum(counts * centres)])
    first, second = np.triu_indices(NUM_BINS, k=1)  # the lower two classes end before these bins
    variance = sum(
        _squared_sum_by_count(total[stop] - total[start], num[stop] - num[start])
        for start, stop in ((0, first), (first, second), (second, NUM_BINS))
    )
    return prepared >= edges[second[int(np.argmax(variance))]]


def centre_of(image: np.ndarray) -> tuple[float, float]:
    """Return the centroid of the intensities above the image's minimum: that of a head on black."""
    weights = image.astype(np.float64) - image.min()
    if weights.sum() == 0:
        return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    return (
        float((weights * rows).sum() / weights.sum()),
        float((weights * columns).sum() / weights.sum()),
    )


def centre_disc(image: np.ndarray, *, radius_share: float) -> np.ndarray:
    """Return the disc around `centre_of`, of a radius that is a share of the shorter side."""
    return _disc(image, radius_share * min(image.shape))


def true_area_disc(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the disc around `centre_of` with the reference's own area: an upper bound."""
    return _disc(image, math.sqrt(np.count_nonzero(reference) / math.pi))


def disc_brightness(image: np.ndarray) -> np.ndarray:
    """Return for each of `RADIUS_SHARES` how bright the disc is beside the rest of what is shown.

    That is the mean within the disc over the mean of the pixels that are brighter than average: the
    mean of the whole image would tell how much of it is air, and so the position of the slice.
    """
    shown = image[image > image.mean(dtype=np.float64)]
    if shown.size == 0:
        return np.zeros(len(RADIUS_SHARES))
    discs = (centre_disc(image, radius_share=share) for share in RADIUS_SHARES)
    return np.array([image[disc].mean() if disc.any() else 0.0 for disc in discs]) / shown.mean()


def choose_radius_share(brightness: np.ndarray, tags: np.ndarray) -> tuple[float, float]:
    """Return the share of the disc whose brightness tells the tags apart best, and its AUC.

    No mask says how large the disc should be; the tags of the training images do: where tagged
    images differ most from others, something is. Brighter and darker count alike.

    Args:
        brightness: (image, share), of `disc_brightness`.
        tags: (image,) of 0 and 1.
    """
    found = [tag_auc(column, tags) for column in brightness.T]
    best = int(np.argmax([abs(auc - 0.5) for auc in found]))
    return RADIUS_SHARES[best], found[best]


@dataclass(frozen=True)
class PositionModel:
    """Logistic regression of a tag on the relative position r of a slice: 1, r and r^2.

    Attributes:
        weights: of the three.
    """

    weights: tuple[float, float, float]

    @classmethod
    def fit(cls, positions: np.ndarray, tags: np.ndarray) -> "PositionModel":
        """Fit by Newton's method; a slight ridge keeps the weights of separable tags finite."""
        features = _features(positions)
        ridge = 1e-2 * np.eye(3)
        weights = np.zeros(3)
        for _ in range(50):
            chances = 1 / (1 + np.exp(-features @ weights))
            gradient = features.T @ (tags - chances) - ridge @ weights
            hessian = (features * (chances * (1 - chances))[:, None]).T @ features + ridge
            weights = weights + np.linalg.solve(hessian, gradient)
        return cls((float(weights[0]), float(weights[1]), float(weights[2])))

    def probability(self, positions: np.ndarray) -> np.ndarray:
        """Return the chance that slices at `positions` (in [0, 1]) are tagged."""
        return 1 / (1 + np.exp(-_features(positions) @ np.array(self.weights)))


def relative_positions(
    num_slices: Mapping[str, int], patients: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Return for each case where its slices lie: from 0, the first, to 1, the last.

    The slices of a volume are ordered by their index; 2D cases by their names among those of one
    patient. A patient's only slice lies at 1/2.

    Args:
        num_slices: of each case, 1 of a 2D case.
    """
    cases_of: dict[str, list[str]] = {}
    for case in sorted(num_slices):
        is_volume = num_slices[case] > 1
        cases_of.setdefault(f"volume {case}" if is_volume else patients[case], []).append(case)
    positions: dict[str, np.ndarray] = {}
    for cases in cases_of.values():
        total = sum(num_slices[case] for case in cases)
        all_places = np.arange(total) / (total - 1) if total > 1 else np.array([0.5])
        ends = np.cumsum([num_slices[case] for case in cases])
        positions |= dict(zip(cases, np.split(all_places, ends[:-1]), strict=True))
    return positions


def tag_auc(scores: np.ndarray, tags: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return P(score of a tagged slice > score of another), ties counted half; NaN if undefined."""
    weights = np.ones(len(scores)) if weights is None else weights
    ranked, order = np.unique(scores, return_inverse=True)
    per_class = [
        np.bincount(order, weights * (tags == kind), minlength=len(ranked)) for kind in (1, 0)
    ]
    found = area_under_curve(*per_class)
    return math.nan if found is None else found


def tag_auc_interval(
    scores: np.ndarray, tags: np.ndarray, patients: Sequence[str], *, num_draws: int = 2000
) -> dict[str, float]:
    """Return the AUC with its 95 % interval over draws of patients."""
    names, rows = np.unique(np.asarray(patients), return_inverse=True)
    generator = numpy_generator(0, "tag_auc")
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=num_draws)
    draws = [tag_auc(scores, tags, weights[rows].astype(float)) for weights in drawn]
    low, high = np.nanpercentile(draws, (2.5, 97.5)) if len(names) > 1 else (math.nan, math.nan)
    return {"mean": tag_auc(scores, tags), "lower": float(low), "upper": float(high)}


def _features(positions: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(positions), positions, positions**2], axis=-1)


def _disc(image: np.ndarray, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    row, column = centre_of(image)
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def _squared_sum_by_count(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return count * mean^2 of classes, 0 of empty ones: all that depends on the thresholds."""
    return np.divide(total**2, count, out=np.zeros_like(total), where=count > 0)
