"""How well a set of drawn masks agrees with the set of masks that raters drew.

Notation: n samples s, m raters y, distance d = 1 - IoU. All functions take matrices of pairs or
    counts of voxels (see `mask_pool`), so that the masks are read only once.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# (strict mode: scipy has no types)

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment, linprog

from diffunet.evaluation.mask_pool import Levels


def ged(
    sample_rater_iou: Float[np.ndarray, "sample rater"],
    sample_iou: Float[np.ndarray, "sample sample"],
    rater_iou: Float[np.ndarray, "rater rater"],
) -> float:
    """Return the squared generalised energy distance 2 E d(s,y) - E d(s,s') - E d(y,y').

    A V-statistic: expectations are over all pairs, including each mask with itself; no root is
    taken. On average it exceeds its limit for many samples by D_ss / n (`ged_unbiased` does not).
    Source: Szekely and Rizzo 2013; for segmentation Kohl et al. 2018 (arXiv:1806.05034).
    """
    return float(
        2 * (1 - sample_rater_iou.mean()) - (1 - sample_iou.mean()) - (1 - rater_iou.mean())
    )


def ged_unbiased(
    sample_rater_iou: Float[np.ndarray, "sample rater"],
    sample_iou: Float[np.ndarray, "sample sample"],
    rater_iou: Float[np.ndarray, "rater rater"],
) -> float:
    """Return the GED with E d(s,s') over different samples only: what many samples would give.

    A U-statistic over the samples, and a V-statistic over the raters, since no others are asked. It
    may be negative. One sample: NaN.
    """
    distance = float(2 * (1 - sample_rater_iou.mean()) - (1 - rater_iou.mean()))
    return distance - mean_distance_of_different(sample_iou)


def ged_fully_unbiased(
    sample_rater_iou: Float[np.ndarray, "sample rater"],
    sample_iou: Float[np.ndarray, "sample sample"],
    rater_iou: Float[np.ndarray, "rater rater"],
) -> float:
    """Return 2 E d(s,y) - D_ss - D_yy, over pairs of different masks only.

    A U-statistic over samples and raters. Its expectation is 0 for samples drawn as the raters
    draw, whatever their numbers; it may be negative. One sample: NaN. One rater: `ged_unbiased`,
    since D_yy is not known; the best value is then D_yy and not 0.
    """
    between_raters = mean_distance_of_different(rater_iou) if len(rater_iou) > 1 else 0.0
    distance = 2 * (1 - float(sample_rater_iou.mean())) - between_raters
    return distance - mean_distance_of_different(sample_iou)


def energy_score(
    sample_rater_iou: Float[np.ndarray, "sample rater"],
    sample_iou: Float[np.ndarray, "sample sample"],
) -> float:
    """Return E d(s,y) - D_ss / 2, over pairs of different samples; one sample: NaN.

    One rater is enough for it. It is a proper score (Gneiting and Raftery 2007), since 1 - IoU is
    of negative type: over many cases none scores lower than who draws as the raters draw. That
    lowest value, D_yy / 2, is known with several raters only.
    """
    return 1 - float(sample_rater_iou.mean()) - mean_distance_of_different(sample_iou) / 2


def perfect_ged(distance: float, *, num_samples: int, num_raters: int) -> float:
    """Return the expected `ged` of samples drawn as the raters draw: D_yy (1/n + 1/R).

    No model has a lower one on average. From 2 D - (1 - 1/n) D - (1 - 1/R) D.

    Args:
        distance: D_yy, of different raters; NaN of one rater.
    """
    return distance * (1 / num_samples + 1 / num_raters)


def mean_distance_of_different(iou: Float[np.ndarray, "mask mask"]) -> float:
    """Return the mean 1 - IoU of different masks: D_ss, or D_yy of raters; one mask: NaN."""
    count = len(iou)
    if count < 2:
        return math.nan
    return float((1 - iou).sum() / (count * (count - 1)))


def hungarian_matched_iou(iou: Float[np.ndarray, "sample rater"]) -> float:
    """Return the mean IoU of the best one-to-one matching of samples and raters.

    With different numbers, both are repeated to their least common multiple (Kassapis et al. 2021,
    arXiv:2006.13144; Zbinden et al. 2023, arXiv:2303.08888). The matching is a transport problem
    between n and m points of equal weight. Where the repeated matrix would be large, that problem
    is solved instead; both have the same optimum.
    """
    num_samples, num_raters = iou.shape
    repeated = math.lcm(num_samples, num_raters)
    if repeated > _LARGEST_ASSIGNMENT:
        return _best_transport(iou)
    profit = np.repeat(
        np.repeat(iou, repeated // num_samples, axis=0), repeated // num_raters, axis=1
    )
    rows, columns = linear_sum_assignment(profit, maximize=True)
    return float(profit[rows, columns].mean())


def d_max(dice: Float[np.ndarray, "sample rater"]) -> float:
    """Return D_max, the mean over raters of the Dice of their best sample (Rahman et al. 2023)."""
    return float(dice.max(axis=0).mean())


def d_max_of_samples(dice: Float[np.ndarray, "sample rater"]) -> float:
    """Return the mean over samples of the Dice of their nearest rater.

    The code of D-Persona (Wu et al. 2024, arXiv:2403.13417) prints this as its maximal Dice,
    `d_max` as the reverse, and the mean of both.
    """
    return float(dice.max(axis=1).mean())


def match_dice(dice: Float[np.ndarray, "sample rater"]) -> float:
    """Return the mean Dice of the best matching that gives each rater a sample of its own.

    Samples are left over where there are more (D-Persona, Wu et al. 2024), so that it grows with
    their number. Fewer samples than raters: NaN.
    """
    if len(dice) < dice.shape[1]:
        return math.nan
    rows, columns = linear_sum_assignment(dice, maximize=True)
    return float(dice[rows, columns].mean())


def combined_sensitivity(levels: Levels) -> float:
    """Return S_c, the share of the raters' union that the samples' union covers.

    1 where no rater marks anything. Source: Rahman et al. 2023 (CIMD, arXiv:2304.04745).
    """
    shared, marked = levels.joint[1:, 1:].sum(), levels.joint[:, 1:].sum()
    return float(shared / marked) if marked else 1.0


def combined_sensitivity_ambdiffseg(levels: Levels) -> float:
    """Return what the published code of Christensen et al. 2025 calls S_c: a precision.

    It is the share of the *samples'* union that the raters' union covers, 1 where no sample marks
    anything: its two arguments are swapped. For comparison with published numbers only.
    """
    shared, marked = levels.joint[1:, 1:].sum(), levels.joint[1:, :].sum()
    return float(shared / marked) if marked else 1.0


def diversity_agreement(
    sample_variances: Float[np.ndarray, "sample sample"],
    rater_variances: Float[np.ndarray, "rater rater"],
) -> float:
    """Return D_a = 1 - (|V_min^s - V_min^y| + |V_max^s - V_max^y|) / 2 (Rahman et al. 2023).

    V_min and V_max are the smallest and the largest of `difference_variances` over pairs of
    *different* masks, 0 for a single mask. For small objects D_a is close to 1 whatever the masks,
    since the variance is over all voxels of the image. Compare it with the values of the trivial
    answers.
    """
    lowest = _of_different(sample_variances).min() - _of_different(rater_variances).min()
    highest = _of_different(sample_variances).max() - _of_different(rater_variances).max()
    return float(1 - (abs(lowest) + abs(highest)) / 2)


def diversity_agreement_ambdiffseg(
    sample_variances: Float[np.ndarray, "sample sample"],
    rater_variances: Float[np.ndarray, "rater rater"],
) -> float:
    """Return D_a as the published code of Christensen et al. 2025 has it.

    Its pairs include each mask with itself, so that V_min is always 0 and only V_max counts.
    """
    return float(1 - abs(sample_variances.max() - rater_variances.max()) / 2)


def difference_variances(
    intersections: Float[np.ndarray, "mask mask"], *, num_voxels: int
) -> Float[np.ndarray, "mask mask"]:
    """Return, for each pair of masks, the variance over all voxels of their difference."""
    volumes = np.diagonal(intersections)
    total = max(num_voxels, 1)
    differing = volumes[:, None] + volumes[None, :] - 2 * intersections
    return differing / total - ((volumes[:, None] - volumes[None, :]) / total) ** 2


def collective_insight(sensitivity: float, matched_dice: float, agreement: float) -> float:
    """Return CI = 3 S_c D_max D_a / (S_c + D_max + D_a) (Rahman et al. 2023); 0 if all are 0."""
    total = sensitivity + matched_dice + agreement
    return 3 * sensitivity * matched_dice * agreement / total if total else 0.0


def ncc(levels: Levels) -> float:
    """Return the mean over raters of the normalised cross-correlation of PHiSeg.

    It correlates two maps over the voxels: the cross-entropy of the samples with their mean, and
    that with a rater (Baumgartner et al. 2019, arXiv:1906.04045). For binary masks they become, up
    to one common factor, 2 p (1 - p) and |y - p|, where p is the share of samples that mark the
    voxel. This function uses these two forms. A rater for whom either map is constant counts as 0.
    """
    total = levels.num_voxels.sum()
    if not total:
        return 0.0
    share = np.arange(levels.num_samples + 1) / levels.num_samples
    spread = share * (1 - share)
    spread = spread - levels.num_voxels @ spread / total
    spread_variance = levels.num_voxels @ spread**2 / total
    marked = levels.rater_marks
    unmarked = levels.num_voxels[:, None] - marked
    mean = ((1 - share) @ marked + share @ unmarked) / total
    error_marked = (1 - share)[:, None] - mean
    error_unmarked = share[:, None] - mean
    error_variance = (error_marked**2 * marked + error_unmarked**2 * unmarked).sum(axis=0) / total
    covariance = spread @ (error_marked * marked + error_unmarked * unmarked) / total
    scale = np.sqrt(spread_variance * error_variance)
    is_constant = (spread_variance < _SMALLEST_VARIANCE) | (error_variance < _SMALLEST_VARIANCE)
    return float(np.divide(covariance, scale, out=np.zeros_like(scale), where=~is_constant).mean())


def soft_dice(levels: Levels) -> float:
    """Return the Dice of samples' share and raters' share, averaged over five thresholds.

    Both maps of shares are cut at > 0.1, 0.3, 0.5, 0.7 and 0.9 (Ji et al. 2021, MRNet); both empty
    after the cut counts as 1.
    """
    scores: list[float] = []
    for tenths in _SOFT_DICE_TENTHS:
        is_predicted = 10 * np.arange(levels.num_samples + 1) > tenths * levels.num_samples
        is_marked = 10 * np.arange(levels.num_raters + 1) > tenths * levels.num_raters
        predicted = levels.joint[is_predicted].sum()
        marked = levels.joint[:, is_marked].sum()
        shared = levels.joint[np.ix_(is_predicted, is_marked)].sum()
        scores.append(float(2 * shared / (predicted + marked)) if predicted + marked else 1.0)
    return float(np.mean(scores))


def is_kept_by_rel_area(
    volumes: Float[np.ndarray, " sample"], rel_area: float
) -> Bool[np.ndarray, " sample"]:
    """Return which samples are larger than this share of the largest; the others become empty.

    Christensen et al. 2025 report a GED after this ("rel_area0.5"). It is a trick of the metric:
    the GED improves because IoU(empty, empty) = 1.
    """
    return volumes > rel_area * volumes.max()


def _of_different(matrix: Float[np.ndarray, "mask mask"]) -> Float[np.ndarray, " pair"]:
    if len(matrix) < 2:
        return np.zeros(1)
    return matrix[np.triu_indices(len(matrix), k=1)]


def _best_transport(iou: Float[np.ndarray, "sample rater"]) -> float:
    """Return the largest mean of `iou` under a coupling with uniform margins."""
    num_samples, num_raters = iou.shape
    from_samples = np.kron(np.eye(num_samples), np.ones(num_raters))
    to_raters = np.kron(np.ones(num_samples), np.eye(num_raters))
    margins = np.repeat([1 / num_samples, 1 / num_raters], [num_samples, num_raters])
    result = linprog(-iou.ravel(), A_eq=np.vstack([from_samples, to_raters]), b_eq=margins)
    return float(-result.fun)


_LARGEST_ASSIGNMENT = 400  # above it the linear programme is faster than the repeated matrix
_SMALLEST_VARIANCE = 1e-20  # of rounding; one voxel of 1e9 that one of 1000 samples marks has 1e-15
_SOFT_DICE_TENTHS = (1, 3, 5, 7, 9)
