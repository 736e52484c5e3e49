"""The diffusion of segmentations, its sampling, the networks and their training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from diffunet.backbones import BACKBONES, names_with_image_encoder
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.samplers import SAMPLERS, Variance
from diffunet.diffusion.schedules import SCHEDULES
from diffunet.diffusion.weighting import WEIGHTINGS
from diffunet.ranges import Length, OneOf, Range, check_ranges

PredictionName = Annotated[str, OneOf(PREDICTIONS)]
WeightingName = Annotated[str, OneOf(WEIGHTINGS)]
InputScale = Annotated[float, Range(0.0001, 1)]
LogSNR = Annotated[float, Range(-40, 40)]
NumSteps = Annotated[int, Range(1, 10_000)]
Cases = Annotated[int, Range(1, 10**6)]
Width = Annotated[int, Range(1, 4096)]
Kernel = Annotated[int, Range(1, 7, is_odd=True)]
Stride = Annotated[int, Range(1, 8)]
Blocks = Annotated[int, Range(0, 32)]
Stages = Length(1, 10)


@dataclass(frozen=True, kw_only=True)
class NoisePlan:
    """A noise process and its loss, whatever is noised.

    Attributes:
        schedule: log SNR as a function of time, before the input scale.
        input_scale: b; SNR_b = b^2 SNR (P1). Smaller is harder.
        log_snr_limit: log SNR is mapped affinely to [-limit, limit] (P1: 20).
        prediction: what the network's output means.
        loss_weighting: weight of ||x_0_hat - x_0||^2 as a function of log SNR; evaluated in the
            space of the network's own output.
        loss_weighting_bias: log SNR at which the weighting bends. Of "sigmoid": weight =
            sigmoid(log_snr - bias); of "min_snr": weight = min(SNR, exp(bias)).
    """

    schedule: Annotated[str, OneOf(SCHEDULES)] = "cosine"
    input_scale: InputScale = 0.1
    log_snr_limit: Annotated[float, Range(1, 40)] = 20.0
    prediction: PredictionName = "x_0"
    loss_weighting: WeightingName = "sigmoid"
    loss_weighting_bias: LogSNR = -4.0

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class DiffusionPlan(NoisePlan):
    """The noise process on the segmentation, and its loss.

    Attributes:
        is_weighting_decoupled: multiply the weight by -d log_snr / dt.
        is_self_conditioned: the network also sees its own x_0_hat: in half of the training that of
            a first pass without gradients, when drawing that of the step before, else 0 (Chen et
            al. 2022, arXiv:2208.04202).
        encoding: of exclusive labels: "signed": one channel per class; "analog_bits": the bits of
            the class number. Regions always have one signed channel each.
        conditions_on_rater: tell the network who drew the mask, so that it can draw as one of the
            raters; only where the same people, under the same numbers, drew all cases.
        rater_names: of all raters, in the order in which the network knows them.
    """

    is_weighting_decoupled: bool = False
    is_self_conditioned: bool = False
    encoding: Literal["signed", "analog_bits"] = "signed"
    conditions_on_rater: bool = False
    rater_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditions_on_rater and len(self.rater_names) < 2:
            raise ValueError(
                "conditions_on_rater needs two or more rater_names, such as "
                f'["r00", "r01"], got {list(self.rater_names)}; plan again, or set them too'
            )
        if len(set(self.rater_names)) != len(self.rater_names):
            raise ValueError(f"rater_names should differ, got {list(self.rater_names)}")

    @property
    def num_raters(self) -> int:
        """How many the network is told of; 0 if it is not told who drew."""
        return len(self.rater_names) if self.conditions_on_rater else 0


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

    sampler: Annotated[str, OneOf(SAMPLERS)] = "dpm_solver_2m"
    num_steps: NumSteps = 10
    num_samples: Annotated[int, Range(1, 10_000)] = 16
    step_spacing: Literal["t", "log_snr"] = "t"
    variance: Variance = "large"
    tile_step_size: Annotated[float, Range(0.1, 1)] = 0.5
    is_mirrored: bool = False

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """The U-Net's topology; every tuple has one entry per resolution stage, finest first.

    Attributes:
        conditioning: the backbone: how the networks see the image, and what they are made of.
        channels: of the per-step network.
        strides: per stage the down-sampling per axis on entering it. At the first stage, the voxels
            of each cell of this size become channels; the output has all voxels again.
        kernel_sizes: per stage and axis; the planner takes 1 and 3.
        num_blocks: residual blocks per stage of the encoder.
        num_decoder_blocks: the same for the decoder.
        num_middle_blocks: residual blocks at the coarsest resolution between the two.
        has_attention: per stage.
        num_heads: of attention.
        num_groups: of group normalisation; lowered to the largest divisor of a stage's channels.
        image_channels: of the image encoder; empty where there is none: in `weak`, and with a
            backbone that has none ("concatenated", "monai").
        num_image_blocks: of the image encoder; empty as `image_channels`.
        has_pooled_input: of a network with an image encoder: each coarser stage of the light
            network also sees x_t pooled to its resolution, where noise hides less. Of no effect on
            others.
        has_final_tanh: bound a predicted x_0 to (-1, 1); v and noise are never bounded.
        dropout: probability.
    """

    conditioning: Annotated[str, OneOf(BACKBONES)] = "encoded"
    channels: Annotated[tuple[Width, ...], Stages]
    strides: Annotated[tuple[Annotated[tuple[Stride, ...], Length(2, 3)], ...], Stages]
    kernel_sizes: Annotated[tuple[Annotated[tuple[Kernel, ...], Length(2, 3)], ...], Stages]
    num_blocks: Annotated[tuple[Blocks, ...], Stages]
    num_decoder_blocks: Annotated[tuple[Blocks, ...], Stages]
    num_middle_blocks: Blocks = 2
    has_attention: Annotated[tuple[bool, ...], Stages]
    num_heads: Annotated[int, Range(1, 1024)] = 4
    num_groups: Annotated[int, Range(1, 4096)] = 32
    image_channels: Annotated[tuple[Width, ...], Length(0, 10)] = ()
    num_image_blocks: Annotated[tuple[Blocks, ...], Length(0, 10)] = ()
    has_pooled_input: bool = False
    has_final_tanh: bool = True
    dropout: Annotated[float, Range(0, 1, is_below=True)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        backbone = BACKBONES[self.conditioning]
        per_stage = ["strides", "kernel_sizes", "num_blocks", "num_decoder_blocks", "has_attention"]
        if backbone.has_image_encoder and (self.image_channels or self.num_image_blocks):
            per_stage += ["image_channels", "num_image_blocks"]
        elif self.image_channels:
            names = " or ".join(map(repr, names_with_image_encoder()))
            raise ValueError(f"image_channels are only for conditioning {names}")
        for name in per_stage:
            require_stages(self, name)
        if len({len(each) for each in (*self.strides, *self.kernel_sizes)}) != 1:
            raise ValueError("strides and kernel_sizes should have one value per axis everywhere")
        backbone.check(self)

    @property
    def dimensions(self) -> int:
        """Of the patches that the network sees."""
        return len(self.strides[0])


def require_stages(plan: NetworkPlan, name: str) -> None:
    """Check that a field of a network has one entry per stage.

    Raises:
        ValueError: it has not.
    """
    num_stages, found = len(plan.channels), len(getattr(plan, name))
    if found != num_stages:
        raise ValueError(f"{name} should have {num_stages} entries, as channels; found {found}")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The optimisation, the same for every method unless a field says otherwise.

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
        dice_weight: of "supervised" alone: weight of 1 - Dice beside the cross entropy. At 1, the
            network learns about the raters' majority; at 0, their share at each voxel.
        num_draws: noise levels, each with noise of its own, at which a diffusion on masks sees each
            patch of an iteration. The image is encoded once for all of them.
        has_stable_target: of a diffusion on masks: what the loss compares with is the mean of all
            masks of the patch's raters, each by its chance given x_t, instead of the one that was
            made noisy. The mean of its gradient is the same, with less chance in it. Of no effect
            with one rater.
        rater_dropout: where the network is told who drew: share of samples for which it is not, so
            that it also learns to draw as raters together do.
        precision: of the networks in training: "float32", or "bfloat16", which takes less memory
            and on many devices less time; weights and losses are in float32 either way. "auto":
            bfloat16 on a GPU that has it, else float32.
        num_validations: sampled validations, spread evenly over the training.
        num_validation_cases: cases for each of them (spread over patients), or as many as the first
            had time for.
        num_final_validation_cases: cases of the final validation, without `--all_cases`.
    """

    num_iterations: Annotated[int, Range(1, 10**8)] = 20000
    batch_size: Annotated[int, Range(1, 2**16)] = 8
    learning_rate: Annotated[float, Range(0, 10, is_above=True)] = 1e-4
    weight_decay: Annotated[float, Range(0, 10)] = 0.01
    num_warmup_iterations: Annotated[int, Range(0, 10**8)] = 1000
    decay_share: Annotated[float, Range(0, 1)] = 0.25
    gradient_clip_norm: Annotated[float, Range(0, 1e6, is_above=True)] = 1.0
    ema_decay: Annotated[float, Range(0, 1, is_below=True)] = 0.9999
    dice_weight: Annotated[float, Range(0, 1e6)] = 1.0
    num_draws: Annotated[int, Range(1, 1024)] = 1
    has_stable_target: bool = False
    rater_dropout: Annotated[float, Range(0, 1)] = 0.3
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    num_validations: Annotated[int, Range(0, 10_000)] = 20
    num_validation_cases: Cases = 16
    num_final_validation_cases: Cases = 100

    def __post_init__(self) -> None:
        check_ranges(self)
