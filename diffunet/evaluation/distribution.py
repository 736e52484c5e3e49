"""All scores of a distribution of masks, for one label on one image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from diffunet.evaluation import ambiguity
from diffunet.evaluation.calibration import Reliability, ece_over_raters, volume_coverage
from diffunet.evaluation.mask_pool import Levels, MaskPool
from diffunet.evaluation.volume_scores import mean_difference, volume_crps, volume_crps_curvas

_REL_AREA_OF_P1 = 0.5


@dataclass(frozen=True, kw_only=True)
class DistributionScores:
    """Scores by name (documentation/reference/scores.md), and the reliability diagram.

    Attributes:
        perfect_model: what samples drawn as the raters draw score on average, for the scores of
            which the raters tell it; NaN with one rater.
    """

    scores: dict[str, float]
    perfect_model: dict[str, float]
    reliability: Reliability


def score_distribution(
    pool: MaskPool,
    samples: Int[np.ndarray, " sample"],
    raters: Int[np.ndarray, " rater"],
    *,
    voxel_volume: float,
    subset_sizes: Sequence[int],
) -> DistributionScores:
    """Score samples against raters, both given as numbers of masks in `pool`.

    Args:
        voxel_volume: in mm^3, or mm^2 in 2D.
        subset_sizes: for each that is at most the number of samples, the GED of that many first
            samples, raw (`ged_4`) and post-processed (`ged_post_processed_4`).
    """
    levels = pool.levels(samples, raters)
    reliability = Reliability.of(levels)
    scores = _energy_distances(pool, samples, raters, subset_sizes=subset_sizes)
    between = np.ix_(samples, raters)
    scores |= {
        "D_ss": ambiguity.mean_distance_of_different(pool.iou[np.ix_(samples, samples)]),
        "D_yy": ambiguity.mean_distance_of_different(pool.iou[np.ix_(raters, raters)]),
        "hm_iou": ambiguity.hungarian_matched_iou(pool.iou[between]),
    }
    scores |= _collective_insight(pool, samples, raters, levels=levels)
    volumes = pool.volumes[samples] * voxel_volume, pool.volumes[raters] * voxel_volume
    scores |= {
        "ncc": ambiguity.ncc(levels),
        "soft_dice": ambiguity.soft_dice(levels),
        "ece": reliability.ece,
        "ace": reliability.ace,
        "ece_over_raters": ece_over_raters(levels),
        "volume_coverage": volume_coverage(pool.volumes[samples], pool.volumes[raters]),
        "volume_crps": volume_crps(*volumes),
        "volume_crps_curvas": volume_crps_curvas(*volumes),
    }
    return DistributionScores(
        scores=scores,
        perfect_model={"volume_crps": mean_difference(volumes[1]) / 2}
        | _perfect_model(
            scores, num_samples=len(samples), num_raters=len(raters), subset_sizes=subset_sizes
        ),
        reliability=reliability,
    )


def _perfect_model(
    scores: Mapping[str, float],
    *,
    num_samples: int,
    num_raters: int,
    subset_sizes: Sequence[int],
) -> dict[str, float]:
    """Return the expected scores of samples that are drawn as the raters of a case draw."""
    distance = scores["D_yy"]
    sizes = {"ged": num_samples}
    sizes |= {f"ged_{size}": size for size in subset_sizes if size <= num_samples}
    return {
        "ged_fully_unbiased": 0 * distance,  # NaN, too, with one rater
        "energy_score": distance / 2,
        "ged_unbiased": distance / num_raters,
        "D_ss": distance,
        **{
            name: ambiguity.perfect_ged(distance, num_samples=size, num_raters=num_raters)
            for name, size in sizes.items()
        },
    }


def _energy_distances(
    pool: MaskPool,
    samples: Int[np.ndarray, " sample"],
    raters: Int[np.ndarray, " rater"],
    *,
    subset_sizes: Sequence[int],
) -> dict[str, float]:
    rater_iou = pool.iou[np.ix_(raters, raters)]

    def ged_of(chosen: Int[np.ndarray, " chosen"]) -> float:
        return ambiguity.ged(
            pool.iou[np.ix_(chosen, raters)], pool.iou[np.ix_(chosen, chosen)], rater_iou
        )

    def post_processed(chosen: Int[np.ndarray, " chosen"]) -> Int[np.ndarray, " chosen"]:
        is_kept = ambiguity.is_kept_by_rel_area(pool.volumes[chosen], _REL_AREA_OF_P1)
        return np.where(is_kept, chosen, pool.empty)

    pairs = pool.iou[np.ix_(samples, raters)], pool.iou[np.ix_(samples, samples)], rater_iou
    scores = {
        "ged_fully_unbiased": ambiguity.ged_fully_unbiased(*pairs),
        "energy_score": ambiguity.energy_score(*pairs[:2]),
        "ged": ged_of(samples),
        "ged_unbiased": ambiguity.ged_unbiased(*pairs),
        "ged_post_processed": ged_of(post_processed(samples)),
    }
    for size in subset_sizes:
        if size <= len(samples):
            first = samples[:size]
            scores[f"ged_{size}"] = ged_of(first)
            scores[f"ged_post_processed_{size}"] = ged_of(post_processed(first))
    return scores


def _collective_insight(
    pool: MaskPool,
    samples: Int[np.ndarray, " sample"],
    raters: Int[np.ndarray, " rater"],
    *,
    levels: Levels,
) -> dict[str, float]:
    """Return CI and its factors, correct and as in the code of Christensen et al. 2025."""
    variances = ambiguity.difference_variances(pool.intersections, num_voxels=pool.num_voxels)
    within = variances[np.ix_(samples, samples)], variances[np.ix_(raters, raters)]
    dice = pool.dice[np.ix_(samples, raters)]
    matched_dice = ambiguity.d_max(dice)
    sensitivity = ambiguity.combined_sensitivity(levels)
    agreement = ambiguity.diversity_agreement(*within)
    published_sensitivity = ambiguity.combined_sensitivity_ambdiffseg(levels)
    published_agreement = ambiguity.diversity_agreement_ambdiffseg(*within)
    return {
        "D_max": matched_dice,
        "D_max_of_samples": ambiguity.d_max_of_samples(dice),
        "match_dice": ambiguity.match_dice(dice),
        "S_c": sensitivity,
        "D_a": agreement,
        "CI": ambiguity.collective_insight(sensitivity, matched_dice, agreement),
        "S_c_ambdiffseg": published_sensitivity,
        "D_a_ambdiffseg": published_agreement,
        "CI_ambdiffseg": ambiguity.collective_insight(
            published_sensitivity, matched_dice, published_agreement
        ),
    }
