"""The target of the denoising loss where x_0 is one of several masks known for the image.

Whichever rater's mask was made noisy, others may have led to the same x_t. Their mean, each by its
chance given x_t, is the conditional expectation of the drawn target. A loss of squares therefore
has the same minimum, E[x_0 | x_t, image], and its gradient the same mean, but less of it is chance:
where noise hides everything, the target is the raters' mean instead of one of them. Xu et al. 2023,
arXiv:2302.00670, do so over the images of a batch, which bends the target; over the raters of one
image it is exact, since each was as likely to be drawn as the others.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Alternatives:
    """What x_0 might as well have been, with the same chance.

    Attributes:
        x_0: of any dtype, values in [-1, 1].
        is_possible: False where there is no such alternative; its x_0 does not matter.
    """

    x_0: Shaped[Tensor, "other batch channel *spatial"]
    is_possible: Bool[Tensor, "other batch"]


def shift_to_mean(
    x_0: Float[Tensor, "batch channel *spatial"],
    noise: Float[Tensor, "batch channel *spatial"],
    alternatives: Alternatives,
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return x_0 - E[x_0 | x_t] over x_0 and its alternatives, where x_t is x_0 made noisy.

    Bayes' rule with q(x_t | x_0) = N(alpha_t x_0, sigma_t^2): relative to x_0, an alternative
    x_0 - d has the log odds -(SNR_t |d|^2 / 2 + sqrt(SNR_t) <d, noise>). Only voxels that differ
    count, and nothing is divided by sigma_t. E[noise | x_t] is noise + sqrt(SNR_t) times the shift.

    Args:
        noise: that made x_t.
    """
    snr_root = (log_snr / 2).exp()
    log_odds = [torch.zeros_like(snr_root)]
    for other in alternatives.x_0:
        difference = x_0 - other
        squares = difference.square().flatten(1).sum(dim=1)
        products = (difference * noise).flatten(1).sum(dim=1)
        log_odds.append(-(snr_root**2 * squares / 2 + snr_root * products))
    others = torch.stack(log_odds[1:]).masked_fill(~alternatives.is_possible, -torch.inf)
    shares = torch.cat([log_odds[0][None], others]).softmax(dim=0)[1:].to(x_0)
    shift = torch.zeros_like(x_0)
    for share, other in zip(shares, alternatives.x_0, strict=True):
        shift += share.reshape(-1, *[1] * (x_0.ndim - 1)) * (x_0 - other)
    return shift
