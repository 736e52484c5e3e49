"""The noise of a volume that is drawn slice by slice: all slices of a sample follow one rater.

A network of slices sees one slice at a time, so only noise can make slices agree. Two things are
the same in all slices of a sample: the field itself, and one number per channel, how far the noise
points towards "mark more of the doubtful region" in each slice. The field alone is not enough:
which of two raters a slice follows depends on the noise where they differ, and that place moves
from slice to slice. Noise stays standard normal in every slice, because the direction depends on
the image and not on the noise.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.inference.noise import draw_noise, draw_numbers

PILOT = -1
"""Number of the sample whose noise finds the direction; no sample that is asked for has it."""


def doubt_of(mean: Float[Tensor, "channel slice y x"]) -> Float[Tensor, "channel slice y x"]:
    """Return for each channel and slice the unit vector towards "mark more of the doubtful region".

    If the raters' masks lie within each other, they differ where the mean is neither -1 nor 1, all
    with the same sign. Voxels count by their variance, not by its root, since very many may be
    nearly sure.

    Args:
        mean: of x_0 in [-1, 1], given the image alone: x_0_hat of pure noise.
    """
    variance = 1 - mean.clamp(-1, 1).square()
    length = torch.linalg.vector_norm(variance, dim=(-2, -1), keepdim=True)
    return variance.div_(length.clamp(min=torch.finfo(length.dtype).tiny))


def draw_slice_noise(
    doubt: Float[Tensor, "channel slice y x"],
    *,
    seed: int,
    case: str,
    samples: Sequence[int],
    step: int,
) -> Float[Tensor, "sample channel slice y x"]:
    """Return noise of all slices: standard normal in each, tied along the first spatial axis.

    A slice's noise is a function of the named numbers and of its own doubt, not of where it lies or
    how many others there are. The other arguments are those of `draw_noise`.

    Args:
        doubt: what `doubt_of` returned; zeros leave the same field in all slices.

    Returns:
        On the device of `doubt`.
    """
    names = {"seed": seed, "case": case, "step": step}
    noise = doubt.new_empty(len(samples), *doubt.shape)
    plane = (doubt.shape[0], *doubt.shape[2:])
    for of_sample, sample in zip(noise, samples, strict=True):
        field = draw_noise(plane, samples=[sample], **names)[0].to(doubt.device)
        numbers = draw_numbers(len(field), sample=sample, **names).to(doubt.device)
        for target, direction, shared, number in zip(of_sample, doubt, field, numbers, strict=True):
            along = direction.flatten(1) @ shared.flatten()
            torch.mul(direction, (number - along)[:, None, None], out=target).add_(shared)
    return noise
