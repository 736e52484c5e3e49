"""Weak supervision: the diffusion of images, saliency, and the way from a map to a mask."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from diffunet.diffusion.schedules import DDPM_GRIDS, SCHEDULES
from diffunet.methods import CamSaliency, DiffusionSaliency, SaliencyMethod
from diffunet.plans.model import (
    InputScale,
    LogSNR,
    NetworkPlan,
    NoisePlan,
    NumSteps,
    PredictionName,
    WeightingName,
)
from diffunet.ranges import Length, OneOf, Range, check_ranges

Guidance = Annotated[float, Range(0, 1e5)]
Share = Annotated[float, Range(0, 1)]
Sigma = Annotated[float, Range(0, 1000)]


@dataclass(frozen=True, kw_only=True)
class ImageDiffusionPlan(NoisePlan):
    """The noise process on images that image-level labels condition (P2), and its loss.

    Attributes:
        schedule: log SNR as a function of time; "ddpm_linear" and "ddpm_cosine" are DDPM's grids of
            `num_timesteps` noise levels, with log SNR interpolated between them. They have no
            `input_scale` and no `log_snr_limit`.
        loss_weighting: as of the diffusion of segmentations; with "v", "snr_plus_one" is the plain
            error of v.
        num_timesteps: of the two grids.
    """

    schedule: Annotated[str, OneOf(SCHEDULES, DDPM_GRIDS)] = "cosine"
    input_scale: InputScale = 1.0
    prediction: PredictionName = "v"
    loss_weighting: WeightingName = "snr_plus_one"
    loss_weighting_bias: LogSNR = 0.0
    num_timesteps: Annotated[int, Range(21, 100_000)] = 1000


@dataclass(frozen=True, kw_only=True)
class TrajectoryPlan:
    """CDM and CG-CDM: two denoising trajectories from one noised image (P2, Algorithm 1).

    Attributes:
        log_snr: Q, the noise level at which both trajectories start.
        timestep: Q as P2 counts it, an index on the grid of "ddpm_linear" or "ddpm_cosine"; the
            steps then go from timestep to timestep, and `log_snr` and `log_snr_step` are not used.
        num_steps: R, the network evaluations of each trajectory.
        log_snr_step: rise of log SNR in each step.
        tau: weight of the first condition in the mixed one.
        num_draws: K; noise draws whose maps are averaged.
        guidance_scale: s of the classifier's gradient; 0 for CDM.
        is_guidance_mixed: the second trajectory is guided towards the mixed condition, as its
            embedding is; otherwise towards the absent label, as P2's text says.
    """

    log_snr: LogSNR = 1.0
    timestep: Annotated[int, Range(1, 100_000)] | None = None
    num_steps: NumSteps = 10
    log_snr_step: Annotated[float, Range(0, 40, is_above=True)] = 0.05
    tau: Annotated[float, Range(0, 1, is_below=True)] = 0.0
    num_draws: Annotated[int, Range(1, 10_000)] = 8
    guidance_scale: Guidance = 0.0
    is_guidance_mixed: bool = True

    def __post_init__(self) -> None:
        check_ranges(self)
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

    log_snr: LogSNR = -1.5
    num_steps: NumSteps = 50
    guidance_scale: Guidance = 100.0

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class CamPlan:
    """Class activation maps of the classifier.

    Attributes:
        stage: of the classifier's encoder whose feature maps are weighted, 0 the finest; negative
            counts from the coarsest.
        is_smoothed: average over mirrored and rescaled images, and keep the first principal
            component of the weighted maps (P2's "aug_smooth" and "eigen_smooth").
    """

    stage: Annotated[int, Range(-10, 9)] = -2
    is_smoothed: bool = True

    def __post_init__(self) -> None:
        check_ranges(self)


def cam_plan_of(network: NetworkPlan) -> CamPlan:
    """Return the default plan of class activation maps, as far as `network` has its stage."""
    return CamPlan(stage=max(CamPlan.stage, -len(network.channels)))


@dataclass(frozen=True, kw_only=True)
class MaskPlan:
    """How a map of saliency becomes a mask.

    Attributes:
        sign: whether the label makes voxels brighter ("positive") or darker ("negative") in the
            map, or either ("absolute").
        smoothing_voxels: sigma of the Gaussian that the map is smoothed with, in voxels of the grid
            of training; 0 for none.
        edge_smoothing_voxels: sigma of a second smoothing that stops at the edges of the image
            (`diffunet.wsss.masks.edges`), in voxels; 0 for none.
        edge_contrast: of that smoothing: the difference of normalised intensity that is an edge.
        threshold: "otsu": of each slice; "otsu_upper": Otsu's again, among the values above the
            first threshold; "otsu_volume": of all slices of a case that show the label together;
            "otsu_mean": the mean of the slices' thresholds, over all predicted images that show the
            label; "maximum": `maximum_share` of each slice's largest value; "fixed":
            `threshold_value`.
        threshold_value: of "fixed", in units of the smoothed map.
        maximum_share: of "maximum".
        components: which connected components of each slice to keep: "all" of them, the "largest",
            or the "strongest", which holds the largest value.
        unsure_share: for a second stage, which ignores unsure pixels: the share of the way from the
            threshold to the mean of its side that a pixel must have gone to be sure.
    """

    sign: Literal["positive", "negative", "absolute"] = "positive"
    smoothing_voxels: Sigma = 1.0
    edge_smoothing_voxels: Sigma = 0.0
    edge_contrast: Annotated[float, Range(0, 1e6, is_above=True)] = 0.3
    threshold: Literal["otsu", "otsu_upper", "otsu_volume", "otsu_mean", "maximum", "fixed"] = (
        "otsu"
    )
    threshold_value: Annotated[float, Range(-1e30, 1e30)] | None = None
    maximum_share: Annotated[float, Range(0, 1, is_above=True, is_below=True)] = 0.5
    components: Literal["all", "largest", "strongest"] = "all"
    unsure_share: Share = 0.7

    def __post_init__(self) -> None:
        check_ranges(self)
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
            lighter U-Net without an image encoder, "concatenated" P1's U-Net. Its encoder's widths,
            depths and strides are those of both classifiers too, so that all methods have one
            budget.
        diffusion: of images.
        clean_share: share of the training images that are drawn as often as they occur and that the
            classifier of noised images sees without noise: from these it learns whether a label is
            present. All others, which teach maps, are drawn so that their labels say nothing about
            where in the patient they lie.
        changes_intensity: train "cdm" with augmentation's changes of intensity too; "classifier"
            always has them.
        presence_thresholds: least probability at which a label counts as present; one per label,
            or empty for 0.5.
        has_slice_labels: the image-level labels of volumes are of their slices, at least in some
            cases: presence is decided per slice. Otherwise it is decided per case.
        is_mirrored: average maps and probabilities over the mirror images that augmentation trains
            on; each draw of noise uses the next of them.
        default_saliency: the map that a model of "cdm" makes masks from by default.
        default_cam: the same for a model of "classifier".
        cdm, cg_cdm: see below.
        cg_diff: see below.
        cam: of Grad-CAM, Grad-CAM++, Score-CAM and Layer-CAM.
        masks: from saliency to mask, by the name of the saliency method.
    """

    network: NetworkPlan
    diffusion: ImageDiffusionPlan = ImageDiffusionPlan()
    clean_share: Annotated[float, Range(0, 1, is_below=True)] = 0.25
    changes_intensity: bool = False
    presence_thresholds: Annotated[tuple[Share, ...], Length(0, 65535)] = ()
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
        check_ranges(self)
        if self.network.image_channels:
            raise ValueError(
                "network.image_channels should be empty, since labels alone condition the images, "
                f"got {list(self.network.image_channels)}"
            )
        num_stages = len(self.network.channels)
        if not -num_stages <= self.cam.stage < num_stages:
            raise ValueError(
                f"cam.stage should be from {-num_stages} to {num_stages - 1}, since network has "
                f"{num_stages} stages, got {self.cam.stage}"
            )
        unknown = sorted(set(self.masks).difference(get_args(SaliencyMethod)))
        if unknown:
            raise ValueError(
                f"masks: unknown saliency method {unknown[0]!r}; known are "
                f"{', '.join(get_args(SaliencyMethod))}"
            )

    def mask(self, saliency: SaliencyMethod) -> MaskPlan:
        """Return how maps of `saliency` become masks."""
        return self.masks.get(saliency, MaskPlan())
