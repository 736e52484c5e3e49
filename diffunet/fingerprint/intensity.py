"""What the voxel values of a case are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from diffunet.randomness import numpy_generator

_FEWEST_CASES = 5  # to say what most of them are
_FAR = 8  # times the spread within a case, or that of most cases' medians
_FLATTER = 20  # times; CTs of different devices and reconstructions differ by a factor of 3
_MAX_SLICES_FOR_NOISE = 16
_NOISE_CORRELATION = 0.3  # pure noise of real scanners: 0.04 to 0.26; the emptiest anatomy: 0.35


@dataclass(frozen=True, kw_only=True)
class ChannelMeasurement:
    """One channel of one case.

    Attributes:
        minimum, maximum: of the whole image.
        is_noise: neighbouring voxels are hardly correlated.
        foreground_minimum, foreground_maximum: of the foreground; None where it is empty.
        foreground_sample: values drawn from the foreground, with replacement.
    """

    minimum: float
    maximum: float
    is_noise: bool
    foreground_minimum: float | None
    foreground_maximum: float | None
    foreground_sample: np.ndarray


def measure_channel(
    channel: Shaped[np.ndarray, "*spatial"],
    foreground: Bool[np.ndarray, "*spatial"],
    *,
    case: str,
    num_drawn: int,
) -> ChannelMeasurement:
    """Measure one channel; what is drawn depends on `case` alone.

    Args:
        foreground: where values are drawn from.
        num_drawn: how many, with replacement, so that every case counts alike (as nnU-Net does).
    """
    values = channel[foreground]
    generator = numpy_generator("fingerprint", "intensity", case)
    drawn = values[generator.integers(0, values.size, num_drawn)] if values.size else values
    return ChannelMeasurement(
        minimum=float(channel.min()),
        maximum=float(channel.max()),
        is_noise=neighbour_correlation(channel) < _NOISE_CORRELATION,
        foreground_minimum=float(values.min()) if values.size else None,
        foreground_maximum=float(values.max()) if values.size else None,
        foreground_sample=drawn.astype(np.float32),
    )


def neighbour_correlation(channel: Shaped[np.ndarray, "*spatial"]) -> float:
    """Return the correlation of in-plane neighbours: about 0 for noise, near 1 for anatomy.

    A constant image gives 1, an image without neighbours too. Of a volume at most 16 slices along
    the first axis are looked at.
    """
    if channel.ndim > 2:
        channel = channel[:: max(1, -(-channel.shape[0] // _MAX_SLICES_FOR_NOISE))]
    centred = channel.astype(np.float64)
    centred -= centred.mean()
    variance = np.square(centred).mean()
    products = [
        np.mean(centred[..., 1:] * centred[..., :-1]) if channel.shape[-1] > 1 else variance,
        np.mean(centred[..., 1:, :] * centred[..., :-1, :]) if channel.shape[-2] > 1 else variance,
    ]
    return float(np.mean(products) / variance) if variance > 0 else 1.0


def in_another_unit(measurements: Mapping[str, ChannelMeasurement]) -> tuple[str, ...]:
    """Return the cases whose intensities lie far from those of most others.

    As where an offset of 1024 was not taken from a CT, or its values were scaled to 0..1. It says
    nothing of fewer than five cases with a foreground.
    """
    marked = {case: each for case, each in measurements.items() if each.foreground_sample.size}
    if len(marked) < _FEWEST_CASES:
        return ()
    medians = np.array([np.median(each.foreground_sample) for each in marked.values()])
    spreads = np.array([np.std(each.foreground_sample) for each in marked.values()])
    ranges = np.array([each.maximum - each.minimum for each in marked.values()])
    low, usual, high = np.percentile(medians, (25, 50, 75))
    is_far = np.abs(medians - usual) > _FAR * max(float(np.median(spreads)), high - low)
    is_flat = ranges * _FLATTER < np.median(ranges)
    return tuple(case for case, odd in zip(marked, is_far | is_flat, strict=True) if odd)
