"""The scores of one case: its consensus mask, its samples, and the trivial answers beside them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from jaxtyping import Bool, Int

from diffunet.evaluation.baselines import centre_blob, majority, redraw_raters
from diffunet.evaluation.calibration import Reliability
from diffunet.evaluation.distribution import score_distribution
from diffunet.evaluation.kept_masks import KeptLabel, KeptMasks
from diffunet.evaluation.label_masks import LabelMasks, MaskBlock, MasksInMemory
from diffunet.evaluation.mask_pool import MaskPool
from diffunet.evaluation.overlap import Confusion, relative_volume_error, volume_error
from diffunet.evaluation.surface import surface_distances


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What is scored, and how.

    Attributes:
        surface_tolerance_mm: of the surface Dice.
        has_surface_scores: HD95 and surface Dice, the slowest scores of large volumes.
        has_trivial_answers: score the trivial answers too.
        subset_sizes: numbers of first samples whose GED is reported beside that of all.
        seed: of the oracle that redraws raters, and of the bootstrap.
        num_bootstrap_draws: of patients, for intervals.
    """

    surface_tolerance_mm: float = 1.0
    has_surface_scores: bool = True
    has_trivial_answers: bool = True
    subset_sizes: tuple[int, ...] = (4, 16)
    seed: int = 0
    num_bootstrap_draws: int = 2000


DEFAULT_OPTIONS = ScoreOptions()


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """The scores of one label on one case; an undefined score is NaN.

    Attributes:
        consensus: of the one mask that stands for all samples, nnU-Net's names where it has one.
        distribution: of the samples, by name.
        perfect_model: what samples drawn as the raters draw score on average, where it is known.
        trivial_answers: the same scores of each trivial answer, with the same number of samples.
        reliability: of the samples.
    """

    consensus: dict[str, int | float]
    distribution: dict[str, float]
    perfect_model: dict[str, float]
    trivial_answers: dict[str, dict[str, float]]
    reliability: Reliability


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """The scores of a case, one `LabelScores` per label, and their means over labels."""

    labels: tuple[LabelScores, ...]
    num_samples: int
    num_raters: int

    @property
    def consensus(self) -> dict[str, float]:
        return mean_scores([label.consensus for label in self.labels])

    @property
    def distribution(self) -> dict[str, float]:
        return mean_scores([label.distribution for label in self.labels])

    @property
    def perfect_model(self) -> dict[str, float]:
        return mean_scores([label.perfect_model for label in self.labels])

    @property
    def trivial_answers(self) -> dict[str, dict[str, float]]:
        return {
            name: mean_scores([label.trivial_answers[name] for label in self.labels])
            for name in self.labels[0].trivial_answers
        }


def mean_scores(scores: Sequence[Mapping[str, int | float]]) -> dict[str, float]:
    """Return each score's mean over the entries of `scores` in which it is defined (not NaN)."""
    means: dict[str, float] = {}
    for name in scores[0]:
        defined = [each[name] for each in scores if not math.isnan(each[name])]
        means[name] = sum(defined) / len(defined) if defined else math.nan
    return means


def score_case(
    samples: Bool[np.ndarray, "sample label *spatial"] | KeptMasks,
    raters: Bool[np.ndarray, "rater label *spatial"],
    *,
    spacing_mm: Sequence[float],
    ignored: Bool[np.ndarray, "*spatial"] | None = None,
    consensus: Bool[np.ndarray, "label *spatial"] | None = None,
    case: str = "",
    blob_volumes: Sequence[float] | None = None,
    options: ScoreOptions = DEFAULT_OPTIONS,
) -> CaseScores:
    """Score the samples of a case, and their consensus, against its raters.

    Args:
        samples: drawn masks, in an array or as bits; a deterministic method gives one.
        raters: at least one; a rater who saw nothing gives an empty mask.
        spacing_mm: voxel size per spatial axis; 1.0 for natural images.
        ignored: voxels that count nowhere.
        consensus: None: the voxels that more than half of the samples mark, per label.
        case: identifier; it seeds the oracle that redraws raters.
        blob_volumes: volume of the centre blob per label, mm^3 (mm^2 in 2D): the mean volume of the
            non-empty masks of other cases, or of all. None leaves that trivial answer out.

    Raises:
        ValueError: shapes differ, or there is no sample, rater or label.
    """
    shape = samples.shape if isinstance(samples, KeptMasks) else samples.shape[1:]
    _check_shapes(
        shape,
        raters,
        num_samples=len(samples),
        consensus=consensus,
        ignored=ignored,
        spacing_mm=spacing_mm,
    )
    labels = [
        score_label(
            _masks_of(
                samples,
                label,
                raters=raters[:, label],
                consensus=None if consensus is None else consensus[label],
                ignored=ignored,
            ),
            spacing_mm=spacing_mm,
            case=case,
            blob_volume=None if blob_volumes is None else blob_volumes[label],
            options=options,
        )
        for label in range(shape[0])
    ]
    return CaseScores(labels=tuple(labels), num_samples=len(samples), num_raters=len(raters))


def _masks_of(
    samples: Bool[np.ndarray, "sample label *spatial"] | KeptMasks,
    label: int,
    *,
    raters: Bool[np.ndarray, "rater *spatial"],
    consensus: Bool[np.ndarray, "*spatial"] | None,
    ignored: Bool[np.ndarray, "*spatial"] | None,
) -> LabelMasks:
    """Return all masks of one label."""
    if isinstance(samples, KeptMasks):
        return KeptLabel(
            samples=samples, label=label, raters=raters, consensus=consensus, ignored=ignored
        )
    return MasksInMemory(
        samples=samples[:, label], raters=raters, consensus=consensus, ignored=ignored
    )


def score_label(
    masks: LabelMasks,
    *,
    spacing_mm: Sequence[float],
    case: str,
    blob_volume: float | None,
    options: ScoreOptions,
) -> LabelScores:
    """Score one label of a case; arguments as of `score_case`."""
    num_samples, num_raters = masks.num_samples, masks.num_raters
    num_masks = num_samples + num_raters
    whole = _WholeMasks(masks.shape) if options.has_surface_scores else None
    pool = MaskPool.of_blocks(
        _pooled_blocks(masks, whole, spacing_mm=spacing_mm, blob_volume=blob_volume)
    )
    sample_numbers = np.arange(num_samples)
    rater_numbers = np.arange(num_samples, num_masks)
    consensus_scores = _score_overlap(
        pool,
        num_masks,
        [*range(num_samples, num_masks), num_masks + 1],
        voxel_volume=math.prod(spacing_mm),
    )
    if whole is not None:
        consensus_scores |= _score_surfaces(
            whole.consensus,
            whole.references(masks),
            num_raters=num_raters,
            spacing_mm=spacing_mm,
            options=options,
        )
    answers: dict[str, Int[np.ndarray, " sample"]] = {}
    if options.has_trivial_answers:
        redrawn = redraw_raters(num_raters, num_samples=num_samples, seed=options.seed, case=case)
        answers["always_empty"] = np.full(num_samples, pool.empty)
        answers["oracle_majority"] = np.full(num_samples, num_masks + 1)
        if blob_volume is not None:
            answers["centre_blob"] = np.full(num_samples, num_masks + 2)
        answers["oracle_raters"] = rater_numbers[redrawn]
    score = partial(
        score_distribution,
        pool,
        raters=rater_numbers,
        voxel_volume=math.prod(spacing_mm),
        subset_sizes=options.subset_sizes,
    )
    scored = score(sample_numbers)
    return LabelScores(
        consensus=consensus_scores,
        distribution=scored.scores,
        perfect_model=scored.perfect_model,
        trivial_answers={name: score(numbers).scores for name, numbers in answers.items()},
        reliability=scored.reliability,
    )


def _score_overlap(
    pool: MaskPool, mask: int, references: Sequence[int], *, voxel_volume: float
) -> dict[str, int | float]:
    """Score mask number `mask`; the last of `references` is the majority of the others."""
    *raters, against_majority = [pool.confusion(mask, reference) for reference in references]
    error = volume_error(against_majority, voxel_volume=voxel_volume)
    relative_error = relative_volume_error(against_majority)
    return {
        "Dice": against_majority.dice,
        "IoU": against_majority.iou,
        **_counts(against_majority),
        "volume_error": error,
        "relative_volume_error": relative_error,
        "absolute_volume_error": abs(error),
        "absolute_relative_volume_error": abs(relative_error),
        "Dice_over_raters": float(np.mean([confusion.dice for confusion in raters])),
        "IoU_over_raters": float(np.mean([confusion.iou for confusion in raters])),
    }


def _counts(confusion: Confusion) -> dict[str, int]:
    return {
        "TP": confusion.true_positive,
        "FP": confusion.false_positive,
        "FN": confusion.false_negative,
        "TN": confusion.true_negative,
        "n_pred": confusion.predicted_voxels,
        "n_ref": confusion.reference_voxels,
    }


def _score_surfaces(
    mask: Bool[np.ndarray, "*spatial"],
    references: Iterable[Bool[np.ndarray, "*spatial"]],
    *,
    num_raters: int,
    spacing_mm: Sequence[float],
    options: ScoreOptions,
) -> dict[str, float]:
    """As `_score_overlap`, for surfaces; ignored voxels are background in all masks.

    Args:
        references: the raters and their majority, made one at a time.
    """
    hd95: list[float] = []
    surface_dice: list[float] = []
    for reference in islice(references, num_raters + (num_raters > 1)):
        distances = surface_distances(mask, reference, spacing_mm=spacing_mm)
        hd95.append(distances.hd95)
        surface_dice.append(distances.surface_dice(tolerance_mm=options.surface_tolerance_mm))
    return {
        "HD95": hd95[-1],
        "surface_dice": surface_dice[-1],
        "HD95_over_raters": float(np.mean(hd95[:num_raters])),
        "surface_dice_over_raters": float(np.mean(surface_dice[:num_raters])),
    }


class _WholeMasks:
    """The masks whose surfaces are measured, put together from their blocks.

    Attributes:
        consensus: without ignored voxels.
    """

    def __init__(self, shape: Sequence[int]):
        self.consensus: Bool[np.ndarray, "*spatial"] = np.zeros(shape, bool)
        self._majority: Bool[np.ndarray, "*spatial"] = np.zeros(shape, bool)
        self._ignored: Bool[np.ndarray, "*spatial"] | None = None

    def take(
        self,
        block: MaskBlock,
        consensus: Bool[np.ndarray, "*block"],
        rater_majority: Bool[np.ndarray, "*block"],
    ) -> None:
        """Put the masks of one block into their places."""
        self.consensus[block.rows] = consensus
        self._majority[block.rows] = rater_majority
        if block.ignored is not None:
            if self._ignored is None:
                self._ignored = np.zeros(self.consensus.shape, bool)
            self._ignored[block.rows] = block.ignored
            self.consensus[block.rows] &= ~block.ignored
            self._majority[block.rows] &= ~block.ignored

    def references(self, masks: LabelMasks) -> Iterator[Bool[np.ndarray, "*spatial"]]:
        """Yield the masks of the raters, then their majority, without ignored voxels."""
        for number in range(masks.num_raters):
            mask = masks.rater(number)
            yield mask if self._ignored is None else np.greater(mask, self._ignored)
        yield self._majority


def _pooled_blocks(
    masks: LabelMasks,
    whole: _WholeMasks | None,
    *,
    spacing_mm: Sequence[float],
    blob_volume: float | None,
) -> Iterator[tuple[list[Bool[np.ndarray, "*block"]], Bool[np.ndarray, "*block"] | None]]:
    """Yield samples, raters, consensus, majority and blob of each block, and what is ignored."""
    for block in masks.blocks():
        consensus = majority(block.samples) if block.consensus is None else block.consensus
        rater_majority = majority(block.raters)
        pooled = [*block.samples, *block.raters, consensus, rater_majority]
        if blob_volume is not None:
            pooled.append(
                centre_blob(masks.shape, spacing_mm=spacing_mm, volume=blob_volume, rows=block.rows)
            )
        if whole is not None:
            whole.take(block, consensus, rater_majority)
        yield pooled, block.ignored


def _check_shapes(
    shape: tuple[int, ...],
    raters: Bool[np.ndarray, "rater other_label *other_spatial"],
    *,
    num_samples: int,
    consensus: np.ndarray | None,
    ignored: np.ndarray | None,
    spacing_mm: Sequence[float],
) -> None:
    if 0 in (num_samples, len(raters), *shape[:1]):
        raise ValueError(
            f"expected at least one sample, rater and label, found samples {(num_samples, *shape)} "
            f"and raters {raters.shape}"
        )
    shapes = {"raters": raters.shape[1:]}
    if consensus is not None:
        shapes["consensus"] = consensus.shape
    if ignored is not None:
        shapes["ignored"] = shape[:1] + ignored.shape
    for name, found in shapes.items():
        if found != shape:
            raise ValueError(f"{name} have shape {found} (label, *spatial), the samples {shape}")
    if len(spacing_mm) != len(shape) - 1:
        raise ValueError(f"spacing_mm {tuple(spacing_mm)} does not fit the shape {shape[1:]}")
