"""The diffusion of segmentations, its sampling, the networks and their training."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DiffusionPlan:
    """The noise process on the segmentation, and its loss.

    Attributes:
        schedule: log SNR as a function of time, before the input scale.
        input_scale: b; SNR_b = b^2 SNR (P1). Smaller is harder.
        log_snr_limit: log SNR is mapped affinely to [-limit, limit] (P1: 20).
        prediction: what the network's output means.
        loss_weighting: weight of ||x_0_hat - x_0||^2 as a function of log SNR; evaluated in the
            space of the network's own output.
        loss_weighting_bias: of "sigmoid": weight = sigmoid(log_snr - bias).
        is_weighting_decoupled: multiply the weight by -d log_snr / dt.
        encoding: of exclusive labels: "signed": one channel per class; "analog_bits": the bits of
            the class number. Regions always have one signed channel each.
    """

    schedule: Literal["cosine", "linear", "linear_gamma", "parabola"] = "cosine"
    input_scale: float = 0.1
    log_snr_limit: float = 20.0
    prediction: Literal["x_0", "v", "noise"] = "x_0"
    loss_weighting: Literal["snr", "snr_plus_one", "snr_truncated", "uniform", "sigmoid"] = (
        "sigmoid"
    )
    loss_weighting_bias: float = -4.0
    is_weighting_decoupled: bool = False
    encoding: Literal["signed", "analog_bits"] = "signed"

    def __post_init__(self) -> None:
        if not 0 < self.input_scale <= 1:
            raise ValueError(f"input_scale should be in (0, 1], got {self.input_scale}")
        if not 1 <= self.log_snr_limit <= 40:
            raise ValueError(f"log_snr_limit should be in [1, 40], got {self.log_snr_limit}")


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """How segmentations are drawn.

    Attributes:
        sampler: the reverse process.
        num_steps: sampling steps; network evaluations per sample.
        num_samples: segmentations per case, over all folds together.
        step_spacing: times of the steps: evenly in t, or evenly in log SNR.
        variance: of "ddpm": P1's (1 - r) sigma_t^2 ("large") or the posterior's ("small").
        tile_step_size: distance of neighbouring tiles, in tiles.
        is_mirrored: average x_0 over mirrored inputs within each step (2^axes times the work).
    """

    sampler: Literal["ddpm", "ddim", "dpm_solver_2m"] = "ddpm"
    num_steps: int = 10
    num_samples: int = 16
    step_spacing: Literal["t", "log_snr"] = "t"
    variance: Literal["large", "small"] = "large"
    tile_step_size: float = 0.5
    is_mirrored: bool = False

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps should be at least 1, got {self.num_steps}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples should be at least 1, got {self.num_samples}")
        if not 0 < self.tile_step_size <= 1:
            raise ValueError(f"tile_step_size should be in (0, 1], got {self.tile_step_size}")


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """The U-Net's topology; every tuple has one entry per resolution stage, finest first.

    Attributes:
        conditioning: "concatenated": the image is a channel of the input (P1); "encoded": a
            separate image encoder runs once per image, a lighter network at every step.
        channels: of the per-step network.
        strides: per stage the down-sampling per axis on entering it; all ones at the first.
        kernel_sizes: per stage and axis, 1 or 3.
        num_blocks: residual blocks per stage of the encoder.
        num_decoder_blocks: the same for the decoder.
        num_middle_blocks: residual blocks at the coarsest resolution between the two.
        has_attention: per stage.
        num_heads: of attention.
        num_groups: of group normalisation; lowered to the largest divisor of a stage's channels.
        image_channels: of the image encoder; empty where there is none: when "concatenated", and in
            `weak`.
        num_image_blocks: of the image encoder; empty as `image_channels`.
        has_final_tanh: bound a predicted x_0 to (-1, 1); v and noise are never bounded.
        dropout: probability.
    """

    conditioning: Literal["encoded", "concatenated"] = "encoded"
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    num_blocks: tuple[int, ...]
    num_decoder_blocks: tuple[int, ...]
    num_middle_blocks: int = 2
    has_attention: tuple[bool, ...]
    num_heads: int = 4
    num_groups: int = 32
    image_channels: tuple[int, ...] = ()
    num_image_blocks: tuple[int, ...] = ()
    has_final_tanh: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        num_stages = len(self.channels)
        per_stage = ["strides", "kernel_sizes", "num_blocks", "num_decoder_blocks", "has_attention"]
        if self.conditioning == "encoded" and (self.image_channels or self.num_image_blocks):
            per_stage += ["image_channels", "num_image_blocks"]
        for name in per_stage:
            found = len(getattr(self, name))
            if found != num_stages:
                raise ValueError(
                    f"{name} should have {num_stages} entries, as channels; found {found}"
                )
        if self.conditioning == "concatenated" and self.image_channels:
            raise ValueError("image_channels are only for conditioning 'encoded'")
        if num_stages and any(stride != 1 for stride in self.strides[0]):
            raise ValueError(f"strides of the first stage should be 1, got {self.strides[0]}")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The optimisation, the same for every method.

    Attributes:
        num_iterations: optimiser steps.
        batch_size: patches per iteration, over all ranks together.
        weight_decay: of AdamW.
        num_warmup_iterations: linear rise of the learning rate.
        decay_share: of all iterations, at their end.
        learning_rate: peak; reached after `num_warmup_iterations`, falls to 0 as a cosine over the
            last `decay_share` of the iterations.
        gradient_clip_norm: largest norm of all gradients together; of "cdm", of those of the
            denoiser and of those of the classifier, each by itself.
        ema_decay: of the averaged weights that are used for prediction.
        num_validations: sampled validations, spread evenly over the training.
        num_validation_cases: cases drawn (by patient) for each of them.
        num_final_validation_cases: cases of the final validation, unless all are asked for.
    """

    num_iterations: int = 20000
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    num_warmup_iterations: int = 1000
    decay_share: float = 0.25
    gradient_clip_norm: float = 1.0
    ema_decay: float = 0.9999
    num_validations: int = 20
    num_validation_cases: int = 16
    num_final_validation_cases: int = 100

    def __post_init__(self) -> None:
        for name in ("num_iterations", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, got {getattr(self, name)}")
        for name in ("decay_share", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} should be in [0, 1], got {getattr(self, name)}")
