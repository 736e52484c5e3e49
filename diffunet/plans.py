"""Everything that is chosen for a dataset: the one place of every parameter's name and default.

`diffunet_plans.json` holds a `Plans`. A run narrows it to one configuration and one method
(`Plans.resolve`), applies `--set`, and keeps the result as `plans.resolved.json`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from diffunet.errors import PlansError
from diffunet.jsonio import read_json, write_json
from diffunet.records import record_from_json

FORMAT_VERSION = 1
_SET_BY_USER = "set by the user to"

Method = Literal["diffusion", "supervised", "cdm", "classifier"]

DiffusionSaliency = Literal["cdm", "cg_cdm", "cg_diff"]
CamSaliency = Literal["grad_cam", "grad_cam++", "score_cam", "layer_cam"]
SaliencyMethod = Literal[
    "cdm", "cg_cdm", "cg_diff", "grad_cam", "grad_cam++", "score_cam", "layer_cam"
]


@dataclass(frozen=True, kw_only=True)
class NormalizationPlan:
    """How one channel's intensities are brought to about [-1, 1] or unit variance.

    Attributes:
        scheme: "ct": clip to [lower, upper], subtract mean, divide by std (all of the dataset's
            foreground); "zscore": mean and std of the case; "rescale_to_0_1": minimum and maximum
            of the case; "rgb_to_0_1": divide by 255; "none".
        uses_mask: with "zscore": statistics over the non-zero region, and 0 outside of it.
        lower, upper, mean, std: of the dataset's foreground (0.5 and 99.5 percentile, mean,
            standard deviation), in units of the source; for "ct" only.
    """

    scheme: Literal["ct", "zscore", "rescale_to_0_1", "rgb_to_0_1", "none"] = "zscore"
    uses_mask: bool = False
    lower: float | None = None
    upper: float | None = None
    mean: float | None = None
    std: float | None = None

    def __post_init__(self) -> None:
        missing = None in (self.lower, self.upper, self.mean, self.std)
        if self.scheme == "ct" and missing:
            raise ValueError("the scheme 'ct' needs lower, upper, mean and std")


@dataclass(frozen=True, kw_only=True)
class PreprocessingPlan:
    """What is done to a case before training.

    Attributes:
        spacing_mm: voxel size to resample to, in (transposed) array order; for a 2d configuration
            of volumes the two axes of a slice.
        normalization: one per channel.
        image_order: spline order of image resampling (3 cubic, 1 linear, 0 nearest).
        separate_axis_anisotropy: where the largest spacing is more than this times the smallest,
            the coarse axis is resampled by nearest neighbour, apart from the others.
    """

    spacing_mm: tuple[float, ...]
    normalization: tuple[NormalizationPlan, ...]
    image_order: Literal[0, 1, 3] = 3
    separate_axis_anisotropy: float = 3.0


@dataclass(frozen=True, kw_only=True)
class CropPlan:
    """How training patches are cut.

    Attributes:
        policy: "whole": images fit into the patch, nothing is cut; "random": anywhere;
            "foreground": `foreground_share` of the patches hold a voxel that some rater marked.
        foreground_share: in [0, 1]. Never depends on the rater whose mask is drawn.
    """

    policy: Literal["whole", "random", "foreground"] = "random"
    foreground_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.foreground_share <= 1:
            raise ValueError(f"foreground_share should be in [0, 1], got {self.foreground_share}")
        if self.policy != "foreground" and self.foreground_share:
            raise ValueError(f"the policy '{self.policy}' takes no foreground_share")


@dataclass(frozen=True, kw_only=True)
class AugmentationPlan:
    """Random changes of a training patch, all raters alike; a probability of 0 switches one off.

    Attributes:
        mirror_axes: axes of the patch that may be flipped, each with probability 0.5.
        rotation_probability: for each patch, as all probabilities here.
        rotation_degrees: largest angle; in 3D the same for every axis.
        scaling_probability: zoom, the same for all axes.
        scaling_range: smallest and largest factor.
        treats_first_axis_apart: rotate and scale 3D patches in the plane only (coarse first axis).
        gaussian_noise_probability: variance up to 0.1, in units of normalised intensity.
        gaussian_blur_probability: sigma 0.5 to 1 voxel.
        brightness_probability: factor 0.75 to 1.25.
        contrast_probability: factor 0.75 to 1.25 around the patch's mean.
        low_resolution_probability: down to half the resolution and back.
        inverted_gamma_probability: gamma 0.7 to 1.5 on the negative image.
        gamma_probability: gamma 0.7 to 1.5.
    """

    mirror_axes: tuple[int, ...] = ()
    rotation_probability: float = 0.2
    rotation_degrees: float = 30.0
    scaling_probability: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    treats_first_axis_apart: bool = False
    gaussian_noise_probability: float = 0.1
    gaussian_blur_probability: float = 0.2
    brightness_probability: float = 0.15
    contrast_probability: float = 0.15
    low_resolution_probability: float = 0.25
    inverted_gamma_probability: float = 0.1
    gamma_probability: float = 0.3

    def without_intensity(self) -> "AugmentationPlan":
        """Return what moves voxels alone."""
        return dataclasses.replace(
            self,
            gaussian_noise_probability=0.0,
            gaussian_blur_probability=0.0,
            brightness_probability=0.0,
            contrast_probability=0.0,
            low_resolution_probability=0.0,
            inverted_gamma_probability=0.0,
            gamma_probability=0.0,
        )


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
class ImageDiffusionPlan:
    """The noise process on images that image-level labels condition (P2), and its loss.

    Attributes:
        schedule: log SNR as a function of time; "ddpm_linear" and "ddpm_cosine" are DDPM's grids of
            `num_timesteps` noise levels, with log SNR interpolated between them.
        num_timesteps: of the two grids.
        input_scale: b; SNR_b = b^2 SNR. Of the continuous schedules.
        log_snr_limit: log SNR is mapped affinely to [-limit, limit]. Of the continuous schedules.
        prediction: what the network's output means.
        loss_weighting: weight of ||x_0_hat - x_0||^2 as a function of log SNR; with "v",
            "snr_plus_one" is the plain error of v.
        loss_weighting_bias: of "sigmoid": weight = sigmoid(log_snr - bias).
    """

    schedule: Literal[
        "cosine", "linear", "linear_gamma", "parabola", "ddpm_linear", "ddpm_cosine"
    ] = "cosine"
    num_timesteps: int = 1000
    input_scale: float = 1.0
    log_snr_limit: float = 20.0
    prediction: Literal["x_0", "v", "noise"] = "v"
    loss_weighting: Literal["snr", "snr_plus_one", "snr_truncated", "uniform", "sigmoid"] = (
        "snr_plus_one"
    )
    loss_weighting_bias: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.input_scale <= 1:
            raise ValueError(f"input_scale should be in (0, 1], got {self.input_scale}")
        if not 1 <= self.log_snr_limit <= 40:
            raise ValueError(f"log_snr_limit should be in [1, 40], got {self.log_snr_limit}")
        if self.num_timesteps < 21:
            raise ValueError(f"num_timesteps should be at least 21, got {self.num_timesteps}")


@dataclass(frozen=True, kw_only=True)
class TrajectoryPlan:
    """CDM and CG-CDM: two denoising trajectories from one noised image (P2, Algorithm 1).

    Attributes:
        log_snr: Q, the noise level at which both trajectories start.
        timestep: Q as P2 counts it, an index on the grid of "ddpm_linear" or "ddpm_cosine"; the
            steps then go from timestep to timestep, and `log_snr` and `log_snr_step` are not used.
        num_steps: R; each trajectory evaluates the network as often.
        log_snr_step: rise of log SNR in each step.
        tau: weight of the first condition in the mixed one, in [0, 1).
        num_draws: K; noise draws whose maps are averaged.
        guidance_scale: s of the classifier's gradient; 0 for CDM.
        is_guidance_mixed: the second trajectory is guided towards the mixed condition, as its
            embedding is; otherwise towards the absent label, as P2's text says.
    """

    log_snr: float = 1.0
    timestep: int | None = None
    num_steps: int = 10
    log_snr_step: float = 0.05
    tau: float = 0.0
    num_draws: int = 8
    guidance_scale: float = 0.0
    is_guidance_mixed: bool = True

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, got {getattr(self, name)}")
        if not 0 <= self.tau < 1:
            raise ValueError(f"tau should be in [0, 1), got {self.tau}")
        if self.log_snr_step <= 0:
            raise ValueError(f"log_snr_step should be positive, got {self.log_snr_step}")
        if self.timestep is not None and self.timestep < self.num_steps:
            raise ValueError(
                f"timestep should be at least num_steps = {self.num_steps}, got {self.timestep}"
            )


@dataclass(frozen=True, kw_only=True)
class EncodingPlan:
    """CG-Diff: encode the image into noise by DDIM, decode it guided to "absent" (Wolleb 2022).

    Attributes:
        log_snr: L, the noise level up to which the image is encoded.
        num_steps: of the encoding, and of the decoding.
        guidance_scale: s of the classifier's gradient.
    """

    log_snr: float = -1.5
    num_steps: int = 50
    guidance_scale: float = 100.0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps should be at least 1, got {self.num_steps}")


@dataclass(frozen=True, kw_only=True)
class CamPlan:
    """Class activation maps of the classifier.

    Attributes:
        stage: of the classifier's encoder whose feature maps are weighted, 0 the finest; negative
            counts from the coarsest.
        is_smoothed: average over mirrored and rescaled images, and keep the first principal
            component of the weighted maps (P2's "aug_smooth" and "eigen_smooth").
    """

    stage: int = -2
    is_smoothed: bool = True


@dataclass(frozen=True, kw_only=True)
class MaskPlan:
    """How a map of saliency becomes a mask.

    Attributes:
        sign: whether the label makes voxels brighter ("positive") or darker ("negative") in the
            map, or either ("absolute").
        smoothing_voxels: sigma of the Gaussian that the map is smoothed with, in voxels of the grid
            of training; 0 for none.
        edge_smoothing_voxels: sigma of a second smoothing that stops at the edges of the image
            (`diffunet.wsss.edges`), in voxels; 0 for none.
        edge_contrast: of that smoothing: the difference of normalised intensity that is an edge.
        threshold: "otsu": of each slice; "otsu_upper": Otsu's again, among what exceeds the first;
            "otsu_volume": of all slices of a case that show the label together; "otsu_mean": the
            mean of the slices' thresholds, over all predicted images that show the label;
            "maximum": `maximum_share` of each slice's largest value; "fixed": `threshold_value`.
        threshold_value: of "fixed", in units of the smoothed map.
        maximum_share: of "maximum", in (0, 1).
        components: which connected components of each slice to keep: "all" of them, the "largest",
            or the "strongest", which holds the largest value.
        unsure_share: of a second stage, which ignores unsure pixels: how much of the way from the
            threshold to the mean of its side a pixel must have gone to be sure, in [0, 1].
    """

    sign: Literal["positive", "negative", "absolute"] = "positive"
    smoothing_voxels: float = 1.0
    edge_smoothing_voxels: float = 0.0
    edge_contrast: float = 0.3
    threshold: Literal["otsu", "otsu_upper", "otsu_volume", "otsu_mean", "maximum", "fixed"] = (
        "otsu"
    )
    threshold_value: float | None = None
    maximum_share: float = 0.5
    components: Literal["all", "largest", "strongest"] = "all"
    unsure_share: float = 0.7

    def __post_init__(self) -> None:
        for name in ("smoothing_voxels", "edge_smoothing_voxels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} should be at least 0, got {getattr(self, name)}")
        if self.edge_contrast <= 0:
            raise ValueError(f"edge_contrast should be above 0, got {self.edge_contrast}")
        if not 0 <= self.unsure_share <= 1:
            raise ValueError(f"unsure_share should be in [0, 1], got {self.unsure_share}")
        if not 0 < self.maximum_share < 1:
            raise ValueError(f"maximum_share should be in (0, 1), got {self.maximum_share}")
        if (self.threshold == "fixed") != (self.threshold_value is not None):
            raise ValueError(
                "threshold_value belongs to the threshold 'fixed', got "
                f"'{self.threshold}' and {self.threshold_value}"
            )


@dataclass(frozen=True, kw_only=True)
class WeakPlan:
    """Weak supervision: masks from image-level labels (P2), and the maps it is compared with.

    Attributes:
        network: of the image diffusion, which sees no image but the noised one: "encoded" takes the
            lighter body without an image encoder, "concatenated" P1's body. Its encoder's widths,
            depths and strides are those of both classifiers too, so that all methods have one
            budget.
        diffusion: of images.
        clean_share: share of the samples, in [0, 1), that are drawn as often as they occur and that
            the noised classifier sees without noise: there it decides whether a label is present.
            All others, which teach maps, are drawn so that their labels say nothing about where
            in the patient they lie.
        changes_intensity: train "cdm" with augmentation's changes of intensity too; "classifier"
            always has them.
        presence_thresholds: least probability at which a label counts as present; one per label,
            or empty for 0.5.
        has_slice_labels: the image-level labels of volumes are of their slices, at least in some
            cases: presence is decided per slice. Otherwise it is decided per case.
        is_mirrored: average maps and probabilities over the mirror images that augmentation trains
            on; draws of noise take turns with them.
        default_saliency: what a model of "cdm" predicts masks from, unless asked otherwise.
        default_cam: the same for a model of "classifier".
        cdm, cg_cdm: see below.
        cg_diff: see below.
        cam: of Grad-CAM, Grad-CAM++, Score-CAM and Layer-CAM.
        masks: from saliency to mask, by the name of the saliency method.
    """

    network: NetworkPlan
    diffusion: ImageDiffusionPlan = ImageDiffusionPlan()
    clean_share: float = 0.25
    changes_intensity: bool = False
    presence_thresholds: tuple[float, ...] = ()
    has_slice_labels: bool = False
    is_mirrored: bool = True
    default_saliency: DiffusionSaliency = "cg_cdm"
    default_cam: CamSaliency = "layer_cam"
    cdm: TrajectoryPlan = TrajectoryPlan()
    cg_cdm: TrajectoryPlan = TrajectoryPlan(guidance_scale=1.0)
    cg_diff: EncodingPlan = EncodingPlan()
    cam: CamPlan = CamPlan()
    masks: dict[str, MaskPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.network.image_channels:
            raise ValueError(
                "network.image_channels should be empty, since labels alone condition the images, "
                f"got {list(self.network.image_channels)}"
            )
        if not 0 <= self.clean_share < 1:
            raise ValueError(f"clean_share should be in [0, 1), got {self.clean_share}")
        unknown = sorted(set(self.masks).difference(get_args(SaliencyMethod)))
        if unknown:
            raise ValueError(
                f"masks: unknown saliency method {unknown[0]!r}; known are "
                f"{', '.join(get_args(SaliencyMethod))}"
            )

    def mask(self, saliency: SaliencyMethod) -> MaskPlan:
        """Return how maps of `saliency` become masks."""
        return self.masks.get(saliency, MaskPlan())


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


@dataclass(frozen=True, kw_only=True)
class ConfigurationPlan:
    """One way to train on a dataset.

    Attributes:
        dimensions: 2 or 3, of a patch.
        data_identifier: folder of the preprocessed cases; configurations with equal preprocessing
            may share one.
        median_shape: of the training cases at `preprocessing.spacing_mm`; information only.
        patch_size: voxels per axis.
        preprocessing, crop, augmentation, network, diffusion, sampling, training: see below.
        weak: of "cdm" and "classifier"; None where the dataset declares no image-level labels.
    """

    dimensions: Literal[2, 3]
    data_identifier: str
    median_shape: tuple[int, ...]
    patch_size: tuple[int, ...]
    preprocessing: PreprocessingPlan
    crop: CropPlan
    augmentation: AugmentationPlan
    network: NetworkPlan
    diffusion: DiffusionPlan
    sampling: SamplingPlan
    training: TrainingPlan
    weak: WeakPlan | None = None

    def __post_init__(self) -> None:
        if len(self.patch_size) != self.dimensions:
            raise ValueError(
                f"patch_size should have {self.dimensions} values, got {list(self.patch_size)}"
            )
        if len(self.preprocessing.spacing_mm) != self.dimensions:
            raise ValueError(
                f"preprocessing.spacing_mm should have {self.dimensions} values, "
                f"got {list(self.preprocessing.spacing_mm)}"
            )
        num_stages = len(self.network.channels)
        if self.network.conditioning == "encoded" and not self.network.image_channels:
            raise ValueError(
                f"network.image_channels should have {num_stages} entries, as channels; found 0"
            )
        self._check_divisibility("network", self.network)
        if self.weak is not None:
            self._check_divisibility("weak.network", self.weak.network)

    def _check_divisibility(self, name: str, network: NetworkPlan) -> None:
        for axis in range(self.dimensions):
            total = math.prod(stride[axis] for stride in network.strides)
            if self.patch_size[axis] % total:
                raise ValueError(
                    f"patch_size[{axis}] = {self.patch_size[axis]} should be a multiple of "
                    f"{total}, the product of {name}.strides along that axis"
                )


@dataclass(frozen=True, kw_only=True)
class Plans:
    """All that was chosen for a dataset, with the reasons.

    Attributes:
        format_version: of the file.
        dataset_name: DatasetXXX_NAME.
        plans_name: of the file without `.json`; part of the name of a results folder.
        method: what `diffunet_train` trains unless `-m` says otherwise.
        recommended_configuration: what `diffunet_train` trains unless `-c` says otherwise.
        configurations: by name ("2d", "3d_fullres", or a user's own).
        transpose_forward: order of a volume's axes in training, as indices of file axes.
        reasons: the same keys as the rest of the file, with a sentence for each chosen value.
    """

    format_version: int = FORMAT_VERSION
    dataset_name: str
    plans_name: str = "diffunet_plans"
    method: Method
    recommended_configuration: str
    transpose_forward: tuple[int, ...]
    configurations: dict[str, ConfigurationPlan]
    reasons: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ValueError(
                f"format_version should be {FORMAT_VERSION}, got {self.format_version}; plan again"
            )
        if self.recommended_configuration not in self.configurations:
            raise ValueError(
                f"recommended_configuration '{self.recommended_configuration}' is not one of "
                f"{sorted(self.configurations)}"
            )
        if sorted(self.transpose_forward) != list(range(len(self.transpose_forward))):
            raise ValueError(
                f"transpose_forward should be a permutation, got {self.transpose_forward}"
            )

    @classmethod
    def load(cls, path: Path) -> "Plans":
        """Read a plans file.

        Raises:
            PlansError: missing, not JSON, an unknown or missing key, a wrong type, or an
                inconsistency; with the full path of the field.
        """
        return record_from_json(cls, read_json(path, PlansError), where=path.name, error=PlansError)

    def save(self, path: Path) -> None:
        """Write the plans as JSON, atomically."""
        write_json(path, self)

    @property
    def transpose_backward(self) -> tuple[int, ...]:
        """The inverse permutation of `transpose_forward`."""
        return tuple(
            self.transpose_forward.index(axis) for axis in range(len(self.transpose_forward))
        )

    def configuration(self, name: str) -> ConfigurationPlan:
        """Return one configuration.

        Raises:
            PlansError: there is none of that name.
        """
        if name not in self.configurations:
            raise PlansError(
                f"the plans have no configuration '{name}'; they have "
                f"{', '.join(self.configurations)}"
            )
        return self.configurations[name]

    def resolve(
        self,
        configuration: str | None = None,
        *,
        method: str | None = None,
        settings: Sequence[str] = (),
    ) -> "Plans":
        """Return plans of one configuration and method, with `settings` applied.

        Args:
            configuration: None for the recommended one.
            method: None for the plans' own.
            settings: "path.to.field=value" each, relative to the configuration; values as in JSON,
                a bare word is a string.

        Raises:
            PlansError: an unknown configuration, method or field, or a value that does not fit.
        """
        name = configuration or self.recommended_configuration
        content = dataclasses.asdict(self.configuration(name))
        changed = {}
        for setting in settings:
            path, value = _parse_setting(setting)
            _replace(content, path, value, setting)
            changed[path] = value
        where = f"plans with --set: configurations.{name}" if settings else f"configurations.{name}"
        resolved = record_from_json(ConfigurationPlan, content, where=where, error=PlansError)
        return record_from_json(
            Plans,
            {
                **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
                "method": method or self.method,
                "recommended_configuration": name,
                "configurations": {},
                "reasons": _reasons_of(self.reasons, name, changed),
            }
            | {"configurations": {name: dataclasses.asdict(resolved)}},
            where="plans",
            error=PlansError,
        )

    @property
    def resolved(self) -> ConfigurationPlan:
        """The one configuration of plans that came from `resolve`.

        Raises:
            ValueError: there are several.
        """
        if len(self.configurations) != 1:
            raise ValueError(
                f"these plans have {len(self.configurations)} configurations; resolve them"
            )
        return next(iter(self.configurations.values()))

    def paths_set_by_user(self) -> frozenset[str]:
        """Return the fields that `resolve` was given, as paths in its one configuration."""
        reasons = self.reasons.get("configurations", {}).get(self.recommended_configuration, {})
        return frozenset(_set_by_user(reasons))


def _parse_setting(setting: str) -> tuple[str, Any]:
    path, separator, text = setting.partition("=")
    if not separator or not path:
        raise PlansError(
            f"--set {setting}: expected path.to.field=value, e.g. diffusion.input_scale=0.3"
        )
    try:
        return path.strip(), json.loads(text)
    except json.JSONDecodeError:
        return path.strip(), text.strip()


def _replace(content: dict[str, Any], path: str, value: Any, setting: str) -> None:
    *parents, last = path.split(".")
    for depth, name in enumerate([*parents, last]):
        if not isinstance(content, dict) or name not in content:
            reached = ".".join(path.split(".")[:depth]) or "the configuration"
            known = ", ".join(sorted(content)) if isinstance(content, dict) else "nothing below it"
            raise PlansError(f"--set {setting}: {reached} has no field '{name}'; known: {known}")
        if depth < len(parents):
            content = content[name]
    if isinstance(content[last], dict):
        raise PlansError(f"--set {setting}: '{path}' is a group; set one of its fields")
    content[last] = value


def _reasons_of(reasons: dict[str, Any], name: str, changed: dict[str, Any]) -> dict[str, Any]:
    kept = json.loads(json.dumps(reasons.get("configurations", {}).get(name, {})))
    for path, value in changed.items():
        *parents, last = path.split(".")
        block = kept
        for parent in parents:
            block = block.setdefault(parent, {})
        block[last] = f"{_SET_BY_USER} {value}"
    return {**reasons, "configurations": {name: kept}}


def _set_by_user(reasons: Mapping[str, Any], prefix: str = "") -> list[str]:
    paths = []
    for name, reason in reasons.items():
        if isinstance(reason, dict):
            paths.extend(_set_by_user(reason, f"{prefix}{name}."))
        elif isinstance(reason, str) and reason.startswith(_SET_BY_USER):
            paths.append(f"{prefix}{name}")
    return paths
