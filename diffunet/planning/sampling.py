"""How many steps and samples to draw: from the schedule and from how much raters differ."""

import math
from collections.abc import Mapping

from diffunet.fingerprint.fingerprint import LabelFingerprint
from diffunet.planning.choice import Choice
from diffunet.plans import SamplingPlan

_STEPS_IN_WINDOW = 4.0  # what 10 steps, P1's number, have at b = N^(-1/2)
_FEWEST_STEPS, _MOST_STEPS = 10, 50
_LARGEST_GED_EXCESS = 0.035
_FEWEST_SAMPLES, _MOST_SAMPLES = 8, 32
SEEN, CERTAIN = 1.0, 4.0
"""The visibility d' between which it is decided whether a region is there."""


def share_of_decision(*, decision_size: float, input_scale: float) -> float:
    """Return the share of evenly spaced times at which the decision is open, 1 < d' < 4.

    For the cosine schedule SNR = b^2 cot^2(pi t / 2), so that d' = 2 sqrt(N) b cot(pi t / 2) and
    t(d') = 2/pi atan(2 sqrt(N) b / d').
    """
    scale = 2 * math.sqrt(decision_size) * input_scale
    return 2 / math.pi * (math.atan(scale / SEEN) - math.atan(scale / CERTAIN))


def choose_num_steps(*, decision_size: float | None, input_scale: float) -> Choice[int]:
    """Choose the sampling steps so that four of them fall where the decision is open."""
    if decision_size is None:
        return Choice(SamplingPlan.num_steps, "P1's number.")
    share = share_of_decision(decision_size=decision_size, input_scale=input_scale)
    wanted = math.ceil(round(_STEPS_IN_WINDOW / share, 6))
    value = min(_MOST_STEPS, max(_FEWEST_STEPS, wanted))
    return Choice(
        value,
        f"{share:.0%} of the times lie where the decision falls (1 < d' < 4), so that about "
        f"{value * share:.0f} of {value} steps do; P1 needs four of ten.",
    )


def choose_num_samples(labels: Mapping[str, LabelFingerprint] | None) -> Choice[int]:
    """Choose the number of samples so that the GED is within 0.035 of that of many samples.

    With n samples GED exceeds its limit by D / n, where D is the mean distance 1 - IoU of two
    samples; a good model's is that of two raters. Rounded up to 8, 16 or 32.
    """
    distances = [
        1 - label.disagreement.iou.mean
        for label in (labels or {}).values()
        if label.disagreement is not None
    ]
    if not distances:
        why = "Masks were not opened" if labels is None else "No case has two raters"
        return Choice(
            _FEWEST_SAMPLES,
            f"{why}: {_FEWEST_SAMPLES} samples make a steady majority; draw more "
            "(--num_samples) for smooth uncertainty maps.",
        )
    distance = sum(distances) / len(distances)
    wanted = max(1.0, distance / _LARGEST_GED_EXCESS)
    value = min(_MOST_SAMPLES, max(_FEWEST_SAMPLES, 2 ** math.ceil(math.log2(wanted))))
    return Choice(
        value,
        f"Two raters are 1 - IoU = {distance:.2f} apart, so a GED of {value} samples is "
        f"{distance / value:.3f} above that of many.",
    )
