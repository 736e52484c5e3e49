"""How the intensities of a channel are normalised: nnU-Net's schemes, as numbers."""

from dataclasses import dataclass

import numpy as np

from diffunet.data.store.case import LARGEST_INTENSITY, IntensityNormalization
from diffunet.errors import DatasetError
from diffunet.plans import NormalizationPlan

_RGB_MAXIMUM = 255.0
_SLAB_VOXELS = 2**20


@dataclass(frozen=True)
class _Statistics:
    minimum: float
    maximum: float
    mean: float
    std: float


def case_normalization(
    channel: np.ndarray, plan: NormalizationPlan, *, mask: np.ndarray | None
) -> IntensityNormalization:
    """Return how a channel of a case is normalised.

    Args:
        channel: (*spatial), in units of the source.
        mask: for "zscore": where statistics are taken; None for everywhere.

    Raises:
        DatasetError: a value is NaN or infinite, or outside [0, 255] with "rgb_to_0_1".
    """
    if plan.scheme == "ct":
        _require_finite(channel)
        if plan.mean is None or plan.std is None:
            raise ValueError("the scheme 'ct' needs mean and std")
        return IntensityNormalization(
            lower=plan.lower, upper=plan.upper, shift=plan.mean, scale=plan.std or 1.0
        )
    if plan.scheme == "none":
        _require_finite(channel)
        return IntensityNormalization()
    if plan.scheme == "rgb_to_0_1":
        lowest, highest = float(channel.min()), float(channel.max())
        if not (lowest >= 0 and highest <= _RGB_MAXIMUM):
            raise DatasetError(
                f"the normalisation 'rgb_to_0_1' expects intensities in [0, 255], found {lowest:g} "
                f"to {highest:g}; choose 'rescale_to_0_1' or correct 'channel_names'"
            )
        return IntensityNormalization(scale=_RGB_MAXIMUM)
    statistics = _statistics(channel, mask if plan.uses_mask else None)
    if plan.scheme == "rescale_to_0_1":
        extent = statistics.maximum - statistics.minimum
        return IntensityNormalization(shift=statistics.minimum, scale=extent or 1.0)
    return IntensityNormalization(shift=statistics.mean, scale=statistics.std or 1.0)


def _statistics(channel: np.ndarray, mask: np.ndarray | None) -> _Statistics:
    """Return statistics in float64, slab by slab, so that no large copy is made."""
    slabs = [
        channel[rows] if mask is None else channel[rows][mask[rows]] for rows in _slabs(channel)
    ]
    slabs = [slab for slab in slabs if slab.size]
    if not slabs:
        return _Statistics(0.0, 0.0, 0.0, 0.0)
    count = sum(slab.size for slab in slabs)
    mean = sum(float(slab.sum(dtype=np.float64)) for slab in slabs) / count
    if not np.isfinite(mean):
        raise _not_finite()
    minimum = min(float(slab.min()) for slab in slabs)
    maximum = max(float(slab.max()) for slab in slabs)
    _require_bounded(minimum, maximum)
    squares = sum(float(np.square(slab - mean, dtype=np.float64).sum()) for slab in slabs)
    # Rounding of the mean leaves a trace of spread in a constant image.
    std = np.sqrt(squares / count) if maximum > minimum else 0.0
    return _Statistics(minimum, maximum, mean, float(std))


def _slabs(channel: np.ndarray) -> list[slice]:
    thickness = max(1, _SLAB_VOXELS * len(channel) // max(1, channel.size))
    return [slice(start, start + thickness) for start in range(0, len(channel), thickness)]


def _require_finite(channel: np.ndarray) -> None:
    if channel.dtype.itemsize >= 4:
        _require_bounded(float(channel.min()), float(channel.max()))


def _require_bounded(lowest: float, highest: float) -> None:
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise _not_finite()
    if max(-lowest, highest) > LARGEST_INTENSITY:
        raise DatasetError(
            f"expected intensities up to {LARGEST_INTENSITY:g}, found {lowest:g} to {highest:g}; "
            "replace the numbers that stand for 'no value' in the raw file"
        )


def _not_finite() -> DatasetError:
    return DatasetError(
        "expected finite intensities, found NaN or infinity; replace them in the raw file"
    )
