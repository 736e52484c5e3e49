"""Scores against a distribution of masks that is known: no rater is drawn, so no chance of theirs.

Notation: n samples s; y and y' are independent draws of the truth; d = 1 - IoU.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (strict mode: jaxtyping hides the dtype of arrays)

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diffunet.evaluation.ambiguity import mean_distance_of_different
from diffunet.evaluation.calibration import VOLUME_INTERVAL

_NUM_BINS = 10


@dataclass(frozen=True, kw_only=True)
class TruthScores:
    """Samples of one label of one image against its true distribution.

    Attributes:
        ged: 2 E d(s,y) - E d(s,s') - E d(y,y'), s and s' different samples: on average 0 for
            samples of the truth, whatever n, and at least 0 for others. No bias.
        D_ss, D_yy: mean distance of two different samples, and of two draws of the truth.
        presence, true_presence: share of samples that mark anything, and how likely the truth does.
        volume_coverage: how likely a draw of the truth lies in the samples' 5 % to 95 % interval of
            volumes (Weibull's quantiles). Where volumes have ties, samples of the truth cover more
            than 0.9: compare with theirs.
        volume_distance: 2 E|v(s) - v(y)| - E|v(s) - v(s')| - E|v(y) - v(y')| of volumes v in
            voxels, of different samples: twice the CRPS less that of the truth. No bias.
    """

    ged: float
    D_ss: float
    D_yy: float
    presence: float
    true_presence: float
    volume_coverage: float
    volume_distance: float


def score_against_truth(
    samples: Bool[np.ndarray, "sample *spatial"],
    outcomes: Bool[np.ndarray, "outcome *spatial"],
    probabilities: Float[np.ndarray, " outcome"],
) -> TruthScores:
    """Score at least two samples of a label against all masks that there may be.

    Args:
        outcomes: masks; several may be the same.
        probabilities: of the outcomes; they add up to 1.
    """
    masks = np.concatenate([samples, outcomes]).reshape(len(samples) + len(outcomes), -1)
    is_used = masks.any(axis=0)
    counted = masks[:, is_used].astype(np.float32)
    intersections = (counted @ counted.T).astype(float)
    volumes = np.diagonal(intersections)
    unions = volumes[:, None] + volumes[None, :] - intersections
    iou = np.divide(intersections, unions, out=np.ones_like(unions), where=unions > 0)
    number = len(samples)
    sample_volumes, true_volumes = volumes[:number], volumes[number:]
    between = float((1 - iou[:number, number:]).mean(axis=0) @ probabilities)
    D_ss = mean_distance_of_different(iou[:number, :number])
    D_yy = float(probabilities @ (1 - iou[number:, number:]) @ probabilities)
    lower, upper = np.quantile(sample_volumes, VOLUME_INTERVAL, method="weibull")
    is_covered = (true_volumes >= lower) & (true_volumes <= upper)
    return TruthScores(
        ged=2 * between - D_ss - D_yy,
        D_ss=D_ss,
        D_yy=D_yy,
        presence=float((sample_volumes > 0).mean()),
        true_presence=float(probabilities[true_volumes > 0].sum()),
        volume_coverage=float(probabilities[is_covered].sum()),
        volume_distance=_volume_distance(sample_volumes, true_volumes, probabilities),
    )


def presence_calibration_error(scores: Sequence[TruthScores]) -> float:
    """Return the mean gap of drawn and true presence, in ten bins of the drawn, by cases.

    Few samples make it too large: a case whose drawn share is high by chance lands in a high bin.
    For 100 samples that is at most about 0.005; samples of the truth show how much.
    """
    drawn = np.array([each.presence for each in scores])
    true = np.array([each.true_presence for each in scores])
    bins = np.minimum((drawn * _NUM_BINS).astype(int), _NUM_BINS - 1)
    gaps = [abs((drawn - true)[bins == place].sum()) for place in range(_NUM_BINS)]
    return float(sum(gaps) / len(scores))


def presence_error(scores: Sequence[TruthScores], num_samples: int) -> float:
    """Return the root mean square of drawn less true presence over cases, without their chance.

    The variance of a share of `num_samples` is estimated without bias and taken off, so that
    samples of the truth have about 0 over many cases; below that it is 0.
    """
    drawn = np.array([each.presence for each in scores])
    true = np.array([each.true_presence for each in scores])
    chance = drawn * (1 - drawn) / (num_samples - 1)
    return float(np.sqrt(max(0.0, np.mean((drawn - true) ** 2 - chance))))


def _volume_distance(
    samples: Float[np.ndarray, " sample"],
    outcomes: Float[np.ndarray, " outcome"],
    probabilities: Float[np.ndarray, " outcome"],
) -> float:
    number = len(samples)
    between = np.abs(samples[:, None] - outcomes[None]).mean(axis=0) @ probabilities
    within = np.abs(samples[:, None] - samples[None]).sum() / (number * (number - 1))
    of_truth = probabilities @ np.abs(outcomes[:, None] - outcomes[None]) @ probabilities
    return float(2 * between - within - of_truth)
