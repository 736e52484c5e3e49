"""The one door to the network: losses and samplers see x_0_hat and never the network's output."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from diffunet.diffusion.predictions import Prediction, coefficients
from diffunet.diffusion.process import add_noise
from diffunet.diffusion.schedules import Schedule
from diffunet.diffusion.stable_target import Alternatives, shift_to_mean
from diffunet.diffusion.weighting import Weighting

Features = tuple[Tensor, ...]


@runtime_checkable
class DenoisingNetwork(Protocol):
    """What `Denoiser` asks of a network."""

    def encode_image(self, image: Tensor) -> Features:
        """Return whatever depends on the image alone: tensors with the batch first."""
        ...

    def __call__(
        self, x_t: Tensor, t: Tensor, features: Features | None, condition: Tensor | None
    ) -> Tensor:
        """Return the prediction for times t (batch,), shaped as x_t without a given x_0_hat."""
        ...


@runtime_checkable
class LabelledNetwork(DenoisingNetwork, Protocol):
    """One that image-level labels can condition."""

    def embed_labels(self, tags: Tensor) -> Tensor:
        """Return the condition (batch, dim) for labels in [0, 1] (batch, class)."""
        ...


@dataclass(frozen=True)
class DenoisingLoss:
    """The loss of each sample as a sum and a count, so that ranks and patches average rightly.

    The loss of a global batch is the sum of all `weighted_sum` over the sum of all `num_valid`.

    Attributes:
        weighted_sum: weighted squared errors summed over channels and valid voxels; has gradients.
        num_valid: their number, channels times valid voxels.
    """

    weighted_sum: Float[Tensor, " batch"]
    num_valid: Int[Tensor, " batch"]


@final
class Denoiser(nn.Module):
    """Network, schedule and meaning of the output, joined.

    Args:
        network: maps (x_t, t, features, condition) to a prediction.
        schedule: log SNR of t.
        prediction: what the network puts out, of `PREDICTIONS`.
        is_self_conditioned: the network takes an earlier x_0_hat as more channels behind those of
            x_t, 0 where there is none (Chen et al. 2022, arXiv:2208.04202).
    """

    network: DenoisingNetwork

    def __init__(
        self,
        network: DenoisingNetwork,
        *,
        schedule: Schedule,
        prediction: Prediction,
        is_self_conditioned: bool = False,
    ):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.prediction = prediction
        self.is_self_conditioned = is_self_conditioned

    def encode_image(self, image: Float[Tensor, "batch channel *spatial"]) -> Features:
        """Return the image's features: once per image, for all samples and steps."""
        return self.network.encode_image(image)

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the condition for what is told of each sample, in [0, 1].

        These are image-level labels (P2), or who drew the mask (1 for the rater, 0 for others).
        """
        return self.network.embed_labels(tags)  # pyright: ignore  # of networks that are told any

    def predict_x_0(
        self,
        x_t: Float[Tensor, "batch channel *spatial"],
        t: float | Float64[Tensor, " batch"],
        *,
        features: Features | None,
        condition: Float[Tensor, "batch dim"] | None = None,
        x_0_hat: Float[Tensor, "batch channel *spatial"] | None = None,
    ) -> Float[Tensor, "batch channel *spatial"]:
        """Return x_0_hat in the dtype of x_t, not clipped.

        Args:
            t: in [0, 1], one for all or one per sample; on any device.
            features: of `encode_image`, one row per sample of x_t.
            condition: of `embed_labels`; None where nothing is told.
            x_0_hat: of an earlier call, in [-1, 1], for a self-conditioned denoiser; others do not
                look at it. None where there is none.
        """
        times = _per_sample(t, x_t)
        output = self._output(x_t, times, features, condition, x_0_hat).to(x_t.dtype)
        return self.prediction.x_0(output, x_t, log_snr=self.schedule.log_snr(times))

    def loss(
        self,
        x_0: Float[Tensor, "batch channel *spatial"],
        t: Float64[Tensor, " batch"],
        noise: Float[Tensor, "batch channel *spatial"],
        *,
        features: Features | None,
        weighting: Weighting,
        is_decoupled: bool,
        valid: Bool[Tensor, "batch 1 *spatial"] | None,
        condition: Float[Tensor, "batch dim"] | None = None,
        alternatives: Alternatives | None = None,
        told: Int[Tensor, " row"] | None = None,
    ) -> DenoisingLoss:
        """Return the weighted denoising error, evaluated in the output's own space.

        Args:
            noise: standard normal.
            weighting: weight of ||x_0_hat - x_0||^2 as a function of log SNR.
            is_decoupled: also weight by -d log_snr / dt.
            valid: voxels that count; None for all of them.
            alternatives: what x_0 might have been as well; the target is then their mean given x_t.
            told: rows of x_0 for which a self-conditioned network sees its own x_0_hat; None: none.
        """
        log_snr = self.schedule.log_snr(t)
        x_t = add_noise(x_0, noise, log_snr=log_snr)
        x_0_hat = None
        if told is not None and len(told):
            x_0_hat = self._first_x_0_hat(x_t, t, features, condition, rows=told)
        output = self._output(x_t, t, features, condition, x_0_hat)
        if alternatives is not None:
            shift = shift_to_mean(x_0, noise, alternatives, log_snr=log_snr)
            alpha, sigma = coefficients(log_snr, like=x_0)
            x_0, noise = x_0 - shift, noise + alpha / sigma * shift
        target = self.prediction.target(x_0, noise, log_snr=log_snr)
        squared_error = (output.to(target.dtype) - target).square()
        if valid is not None:
            squared_error = squared_error * valid
        weight = output_weight(
            t,
            self.schedule,
            prediction=self.prediction,
            weighting=weighting,
            is_decoupled=is_decoupled,
        )
        error = squared_error.flatten(1).sum(dim=1)
        return DenoisingLoss(weight.to(error) * error, _num_valid(x_0, valid))

    def _first_x_0_hat(
        self,
        x_t: Tensor,
        t: Tensor,
        features: Features | None,
        condition: Tensor | None,
        *,
        rows: Tensor,
    ) -> Tensor:
        """Return x_0_hat of some rows of x_t, in [-1, 1] and without gradients; 0 in the others."""
        x_0_hat = torch.zeros_like(x_t)
        with torch.no_grad():
            x_0_hat[rows] = self.predict_x_0(
                x_t[rows],
                t[rows],
                features=None if features is None else tuple(each[rows] for each in features),
                condition=None if condition is None else condition[rows],
            ).clamp_(-1, 1)
        torch.clear_autocast_cache()  # older torch keeps casts without gradients
        return x_0_hat

    def _output(
        self,
        x_t: Tensor,
        t: Tensor,
        features: Features | None,
        condition: Tensor | None,
        x_0_hat: Tensor | None,
    ) -> Tensor:
        if self.is_self_conditioned:
            x_0_hat = torch.zeros_like(x_t) if x_0_hat is None else x_0_hat
            x_t = torch.cat([x_t, x_0_hat], dim=1)
        return self.network(x_t, t.to(x_t), features, condition)


def output_weight(
    t: Float64[Tensor, " batch"],
    schedule: Schedule,
    *,
    prediction: Prediction,
    weighting: Weighting,
    is_decoupled: bool,
) -> Float64[Tensor, " batch"]:
    """Return the weight of ||output - target||^2 that equals the weighted x_0 error.

    In the output's own space nothing is divided by a small alpha_t. At log SNR -20, an x_0_hat that
    is made from predicted noise is wrong by 20,000 times the error of that noise.

    Args:
        weighting: weight of the x_0 error as a function of log SNR.
        is_decoupled: also multiply by -d log_snr / dt, so that the weighted loss is an integral
            over log SNR that does not depend on the schedule (Kingma & Gao 2023,
            arXiv:2303.00848).
    """
    log_snr = schedule.log_snr(t)
    weight = weighting(log_snr) * prediction.x_0_error_factor(log_snr)
    return -schedule.slope(t) * weight if is_decoupled else weight


def _per_sample(t: float | Tensor, x_t: Tensor) -> Tensor:
    if isinstance(t, Tensor):
        return t
    return torch.full((x_t.shape[0],), t, dtype=torch.float64)


def _num_valid(x_0: Tensor, valid: Tensor | None) -> Tensor:
    batch_size, num_channels = x_0.shape[:2]
    if valid is None:
        return torch.full((batch_size,), x_0[0].numel(), device=x_0.device)
    return valid.flatten(1).sum(dim=1) * num_channels
