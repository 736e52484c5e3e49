"""What a network's output means: x_0, noise or v, and how each becomes the others.

x_t = alpha_t x_0 + sigma_t noise and v = alpha_t noise - sigma_t x_0 (Salimans & Ho 2022,
arXiv:2202.00512, Sec. 4). Everything here broadcasts one log SNR per sample over
channels and voxels; coefficients are float64 and cast where they meet the image.
"""

from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from diffunet.diffusion.schedules import alpha_sigma

Prediction = Literal["x_0", "v", "noise"]


def add_noise(
    x_0: Float[Tensor, "batch channel *spatial"],
    noise: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return x_t = alpha_t x_0 + sigma_t noise."""
    alpha, sigma = coefficients(log_snr, like=x_0)
    return alpha * x_0 + sigma * noise


def v_from_x_0_and_noise(
    x_0: Float[Tensor, "batch channel *spatial"],
    noise: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return v = alpha_t noise - sigma_t x_0."""
    alpha, sigma = coefficients(log_snr, like=x_0)
    return alpha * noise - sigma * x_0


def x_0_from_v(
    v: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return x_0 = alpha_t x_t - sigma_t v; magnifies no error at any log SNR."""
    alpha, sigma = coefficients(log_snr, like=x_t)
    return alpha * x_t - sigma * v


def noise_from_v(
    v: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return noise = sigma_t x_t + alpha_t v; magnifies no error at any log SNR."""
    alpha, sigma = coefficients(log_snr, like=x_t)
    return sigma * x_t + alpha * v


def x_0_from_noise(
    noise: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return x_0 = (x_t - sigma_t noise) / alpha_t; errors grow by exp(-log_snr / 2)."""
    alpha, sigma = coefficients(log_snr, like=x_t)
    return (x_t - sigma * noise) / alpha


def noise_from_x_0(
    x_0: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return noise = (x_t - alpha_t x_0) / sigma_t; errors grow by exp(log_snr / 2)."""
    alpha, sigma = coefficients(log_snr, like=x_t)
    return (x_t - alpha * x_0) / sigma


def v_from_x_0(
    x_0: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> Float[Tensor, "batch channel *spatial"]:
    """Return v = (alpha_t x_t - x_0) / sigma_t; errors grow by 1 / sigma_t."""
    alpha, sigma = coefficients(log_snr, like=x_t)
    return (alpha * x_t - x_0) / sigma


def x_0_from_output(
    output: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
    prediction: Prediction,
) -> Float[Tensor, "batch channel *spatial"]:
    """Return x_0_hat of a network's output, in the dtype of x_t; not clipped.

    Raises:
        ValueError: an unknown prediction.
    """
    output = output.to(x_t.dtype)
    if prediction == "x_0":
        return output
    if prediction == "v":
        return x_0_from_v(output, x_t, log_snr=log_snr)
    if prediction == "noise":
        return x_0_from_noise(output, x_t, log_snr=log_snr)
    raise ValueError(f"prediction should be 'x_0', 'v' or 'noise', got '{prediction}'")


def clip_x_0(
    x_0_hat: Float[Tensor, "batch channel *spatial"],
    x_t: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
) -> tuple[
    Float[Tensor, "batch channel *spatial"],
    Float[Tensor, "batch channel *spatial"],
]:
    """Return x_0_hat clipped to [-1, 1], and the noise that goes with it.

    The noise is recomputed from x_t, so that x_t = alpha_t x_0 + sigma_t noise holds again; with
    the noise from before the clip it would not. The steps in `samplers` take x_t and the clipped
    x_0 and do the same without making the noise.
    """
    x_0 = x_0_hat.clamp(-1, 1)
    return x_0, noise_from_x_0(x_0, x_t, log_snr=log_snr)


def output_target(
    x_0: Float[Tensor, "batch channel *spatial"],
    noise: Float[Tensor, "batch channel *spatial"],
    *,
    log_snr: Float64[Tensor, " batch"],
    prediction: Prediction,
) -> Float[Tensor, "batch channel *spatial"]:
    """Return what the network should put out.

    Raises:
        ValueError: an unknown prediction.
    """
    if prediction == "x_0":
        return x_0
    if prediction == "v":
        return v_from_x_0_and_noise(x_0, noise, log_snr=log_snr)
    if prediction == "noise":
        return noise
    raise ValueError(f"prediction should be 'x_0', 'v' or 'noise', got '{prediction}'")


def coefficients(
    log_snr: Float64[Tensor, " batch"], *, like: Float[Tensor, "batch channel *spatial"]
) -> tuple[Tensor, Tensor]:
    """Return alpha_t and sigma_t shaped (batch, 1, ...), with dtype and device of `like`."""
    alpha, sigma = alpha_sigma(log_snr)
    shape = (-1, *(1 for _ in like.shape[1:]))
    return alpha.reshape(shape).to(like), sigma.reshape(shape).to(like)


def x_0_error_factor(
    log_snr: Float64[Tensor, "*shape"], *, prediction: Prediction
) -> Float64[Tensor, "*shape"]:
    """Return c with ||x_0_hat - x_0||^2 = c ||output - target||^2.

    1 for x_0, sigma_t^2 for v, sigma_t^2 / alpha_t^2 for noise.

    Raises:
        ValueError: an unknown prediction.
    """
    if prediction == "x_0":
        return torch.ones_like(log_snr)
    if prediction == "v":
        return torch.sigmoid(-log_snr)
    if prediction == "noise":
        return torch.exp(-log_snr)
    raise ValueError(f"prediction should be 'x_0', 'v' or 'noise', got '{prediction}'")
