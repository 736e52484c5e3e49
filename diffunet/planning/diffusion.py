"""Noise schedule and loss: from the size of what is decided."""

import math

from diffunet.planning.choice import Choice
from diffunet.planning.topology import IMAGE_BASE_CHANNELS
from diffunet.plans import DiffusionPlan

SMALLEST_INPUT_SCALE = 0.03
LARGEST_INPUT_SCALE = 1.0

_BIAS_OFFSET = 0.6  # so that N = 100 gives -4, P1's best
MOST_SIGNED_LABELS = IMAGE_BASE_CHANNELS // 2 - 1  # with the background, half of those channels


def choose_input_scale(decision_size: Choice[float | None]) -> Choice[float]:
    """Choose b = N^(-1/2), clipped to [0.03, 1].

    A matched filter sees a region of N voxels of -1 or +1 in noise with d' = 2 sqrt(N SNR). With a
    cosine schedule scaled by b, SNR(t = 1/2) = b^2, where log SNR changes slowest: b = N^(-1/2)
    puts d' = 2, where the decision falls, there.
    """
    size = decision_size.value
    if size is None:
        return Choice(
            DiffusionPlan.input_scale,
            f"P1's value for small objects: {decision_size.reason}.",
            "The input scale is a default: set diffusion.input_scale to 1/sqrt(N), N the typical "
            "size of an object in voxels, if you know it.",
        )
    wanted = size**-0.5
    value = min(LARGEST_INPUT_SCALE, max(SMALLEST_INPUT_SCALE, wanted))
    value = float(f"{value:.3g}")
    reason = f"b = N^(-1/2) = {wanted:.3g}; {decision_size.reason}."
    if wanted >= SMALLEST_INPUT_SCALE:
        return Choice(value, reason)
    warning = (
        f"The input scale would be {wanted:.3g} for regions of N = {size:.4g} voxels and is "
        f"clipped to {value:g}: regions of this size are rarely ambiguous as a whole. Try "
        f"diffusion.input_scale = {2 * value:g} too."
    )
    return Choice(
        value, f"{reason} Clipped to {value:g}: P1's authors found smaller ones worse.", warning
    )


def choose_loss_weighting_bias(input_scale: float) -> Choice[float]:
    """Choose the bias -ln N + 0.6 of the sigmoid weighting, N = b^-2 (the clipped N)."""
    value = round(2 * math.log(input_scale) + _BIAS_OFFSET, 2)
    return Choice(
        value,
        f"-ln N + {_BIAS_OFFSET:g} with N = b^-2 = {input_scale**-2:.4g}: errors weigh alike at "
        "all noise levels at which a region of N voxels can be seen, less where noise hides it.",
    )


def choose_encoding(num_labels: int, *, is_regions: bool) -> Choice[str]:
    """Choose how labels become signed channels: one for each class, of many classes the bits.

    The network of the sampling steps is at least twice as wide as x_t has channels. With one for
    each class it may get as wide as the image encoder of the default size is at the finest stage,
    and not wider: its work grows with the square, and it runs at every step.
    """
    if is_regions:
        return Choice("signed", "Regions may overlap: one channel each.")
    if num_labels == 1:
        return Choice("signed", "One label: one channel, -1 outside and +1 inside.")
    if num_labels > MOST_SIGNED_LABELS:
        return Choice(
            "analog_bits",
            f"The {num_labels.bit_length()} bits of the class number. One channel for each of the "
            f"{num_labels + 1} classes would make the network of the sampling steps wider, at full "
            "resolution, than the image encoder.",
        )
    return Choice("signed", f"One channel for each of the {num_labels + 1} classes.")
