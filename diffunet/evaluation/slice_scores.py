"""Scores of single slices: how well a label is found, or what is marked where there is none.

Weak supervision is scored by slice, as in the papers, separately on positive slices (the reference
marks something) and healthy ones. A 2D case is one slice; a volume is cut along its first axis.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from diffunet.evaluation.bootstrap import PairedDifference, bootstrap_means, paired_difference
from diffunet.evaluation.overlap import Confusion, count_confusion
from diffunet.evaluation.summary import without_nan
from diffunet.evaluation.surface import SurfaceDistances, surface_distances

POSITIVE_SCORES = (
    "Dice",
    "IoU",
    "HD95",
    "misses_all",
    "dice_p2",
    "foreground_iou_p2",
    "hd95_pixels_p2",
)
"""Scores of positive slices. `HD95` is in mm, the image's diagonal where nothing is marked, and
`misses_all` is 1 there. Those of P2's code (Hu et al. 2023, arXiv:2306.03878): Dice with 1e-5 added
to numerator and denominator; the foreground's IoU, which the paper calls mIoU; and medpy's HD95 in
pixels, 0 where nothing is marked, which flatters."""

HEALTHY_SCORES = ("false_positive_pixels", "false_positive_mm2", "marks_anything")
"""Scores of healthy slices: the area that is marked, and 1 where any is."""

_P2_SMOOTHING = 1e-5


@dataclass(frozen=True, kw_only=True)
class SliceScores:
    """The scores of one label on one slice.

    Attributes:
        slice_index: along the first array axis; None of a 2D case.
        is_positive: the reference marks something.
        scores: those of `POSITIVE_SCORES`, or of `HEALTHY_SCORES`.
    """

    case: str
    slice_index: int | None
    patient: str
    is_positive: bool
    scores: dict[str, float]


def score_slices(
    prediction: Bool[np.ndarray, "*spatial"],
    reference: Bool[np.ndarray, "*other_spatial"],
    *,
    spacing_mm: Sequence[float],
    case: str,
    patient: str,
    ignored: Bool[np.ndarray, "*spatial"] | None = None,
) -> list[SliceScores]:
    """Score every slice of a case, in order.

    Args:
        prediction, reference: (y, x) or (slice, y, x).
        spacing_mm: per axis, in array order; its last two are those of a pixel.
        ignored: pixels that count nowhere; they are background in both masks.

    Raises:
        ValueError: another number of axes, or shapes that differ.
    """
    if prediction.shape != reference.shape or reference.ndim not in (2, 3):
        raise ValueError(
            f"expected two masks (y, x) or (slice, y, x) of one shape, found {prediction.shape} "
            f"and {reference.shape}"
        )
    if ignored is not None:
        prediction, reference = prediction & ~ignored, reference & ~ignored
    is_volume = reference.ndim == 3
    pairs = zip(prediction, reference, strict=True) if is_volume else [(prediction, reference)]
    scored: list[SliceScores] = []
    for index, (mask, target) in enumerate(pairs):
        is_positive = bool(target.any())
        score = _score_positive if is_positive else _score_healthy
        scored.append(
            SliceScores(
                case=case,
                slice_index=index if is_volume else None,
                patient=patient,
                is_positive=is_positive,
                scores=score(mask, target, pixel_mm=(spacing_mm[-2], spacing_mm[-1])),
            )
        )
    return scored


def summarise_slices(
    slices: Sequence[SliceScores], *, num_draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Average the scores of slices, with 95 % bootstrap intervals over patients.

    Returns:
        an object for JSON, None standing for "undefined": `positive` and `healthy` hold
        `num_slices`, `num_patients` and `scores` ({score: {mean, lower, upper}}).
    """
    blocks: dict[str, Any] = {}
    for kind, names in (("positive", POSITIVE_SCORES), ("healthy", HEALTHY_SCORES)):
        chosen = [each for each in slices if each.is_positive == (kind == "positive")]
        patients = [each.patient for each in chosen]
        values = np.array([[each.scores[name] for name in names] for each in chosen], np.float64)
        intervals = bootstrap_means(
            values.reshape(len(chosen), len(names)), patients, num_draws=num_draws, seed=seed
        )
        blocks[kind] = {
            "num_slices": len(chosen),
            "num_patients": len(set(patients)),
            "scores": {
                name: {"mean": interval.mean, "lower": interval.lower, "upper": interval.upper}
                for name, interval in zip(names, intervals, strict=True)
            },
        }
    return without_nan(blocks)


def compare_slices(
    first: Sequence[SliceScores], second: Sequence[SliceScores], *, score: str
) -> PairedDifference:
    """Compare a score of two methods, paired by slice, with an interval over patients.

    Args:
        first, second: the same slices, in any order.
        score: of `POSITIVE_SCORES` or `HEALTHY_SCORES`; slices of the other kind have none.

    Raises:
        ValueError: the slices differ, or there is no such score.
    """
    if score not in (*POSITIVE_SCORES, *HEALTHY_SCORES):
        known = ", ".join((*POSITIVE_SCORES, *HEALTHY_SCORES))
        raise ValueError(f"expected a score among {known}, got '{score}'")
    by_slice = [
        {(each.case, each.slice_index): each for each in each_of} for each_of in (first, second)
    ]
    if by_slice[0].keys() != by_slice[1].keys():
        different = sorted(map(str, by_slice[0].keys() ^ by_slice[1].keys()))
        raise ValueError(
            f"expected the same slices of two methods, found {len(different)} of one only, such as "
            f"{different[0]}"
        )
    pairs = [(each, by_slice[1][key]) for key, each in by_slice[0].items() if score in each.scores]
    return paired_difference(
        [one.scores[score] for one, _ in pairs],
        [other.scores[score] for _, other in pairs],
        [one.patient for one, _ in pairs],
    )


def _score_positive(
    mask: Bool[np.ndarray, "y x"],
    reference: Bool[np.ndarray, "y x"],
    *,
    pixel_mm: tuple[float, float],
) -> dict[str, float]:
    confusion = count_confusion(mask, reference)
    distances = surface_distances(mask, reference, spacing_mm=pixel_mm)
    return {
        "Dice": confusion.dice,
        "IoU": confusion.iou,
        "HD95": distances.hd95,
        "misses_all": float(confusion.predicted_voxels == 0),
        "dice_p2": _dice_p2(confusion),
        "foreground_iou_p2": confusion.iou,
        "hd95_pixels_p2": _hd95_pixels_p2(mask, reference, distances, pixel_mm=pixel_mm),
    }


def _score_healthy(
    mask: Bool[np.ndarray, "y x"],
    reference: Bool[np.ndarray, "y x"],
    *,
    pixel_mm: tuple[float, float],
) -> dict[str, float]:
    pixels = count_confusion(mask, reference).false_positive
    return {
        "false_positive_pixels": float(pixels),
        "false_positive_mm2": pixels * pixel_mm[0] * pixel_mm[1],
        "marks_anything": float(pixels > 0),
    }


def _dice_p2(confusion: Confusion) -> float:
    shared = 2 * confusion.true_positive
    total = confusion.predicted_voxels + confusion.reference_voxels
    return (shared + _P2_SMOOTHING) / (total + _P2_SMOOTHING)


def _hd95_pixels_p2(
    mask: Bool[np.ndarray, "y x"],
    reference: Bool[np.ndarray, "y x"],
    distances: SurfaceDistances,
    *,
    pixel_mm: tuple[float, float],
) -> float:
    if not mask.any():
        return 0.0
    if pixel_mm[0] == pixel_mm[1]:
        return distances.hd95 / pixel_mm[0]
    return surface_distances(mask, reference, spacing_mm=(1.0, 1.0)).hd95
