"""The only place that turns the words of plans into objects."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from diffunet.backbones import BACKBONES
from diffunet.backbones.shape import unet_shape
from diffunet.diffusion.denoiser import Denoiser, DenoisingNetwork, LabelledNetwork
from diffunet.diffusion.encoding import ENCODINGS, Encoding
from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import DiscreteSchedule, ScaledSchedule
from diffunet.diffusion.samplers import SAMPLERS, Step
from diffunet.diffusion.sampling import draw, num_volumes, sampling_steps, sampling_times
from diffunet.diffusion.schedules import DDPM_GRIDS, SCHEDULES, Schedule
from diffunet.diffusion.weighting import WEIGHTINGS, Weighting
from diffunet.errors import PlansError
from diffunet.labels import LabelScheme
from diffunet.networks.classification import ClassificationNetwork
from diffunet.networks.task import NetworkTask
from diffunet.plans import (
    ConfigurationPlan,
    DiffusionPlan,
    ImageDiffusionPlan,
    NetworkPlan,
    NoisePlan,
    SamplingPlan,
    WeakPlan,
)


@dataclass(frozen=True, kw_only=True)
class PlannedSampler:
    """A reverse process with all its settings but the network and the noise.

    Attributes:
        times: falling from 1 to 0.
        steps: between all times but the last.
    """

    times: tuple[float, ...]
    steps: tuple[Step, ...]

    @property
    def num_volumes(self) -> int:
        """Volumes of x_t's size that drawing a sample takes at most."""
        return num_volumes(self.steps)

    def __call__(
        self,
        predict_x_0: Callable[[Tensor, float], Tensor],
        x_T: Tensor,
        *,
        noise_source: Callable[[int], Tensor],
    ) -> Tensor:
        """Return x_0_hat of the last step, in [-1, 1]; see `diffusion.sampling.draw`.

        x_T and all predictions are given away.
        """
        return draw(
            predict_x_0,
            x_T,
            times=self.times,
            steps=self.steps,
            noise_source=noise_source,
            takes_predictions=True,
        )


def build_schedule(plan: NoisePlan) -> Schedule:
    """Return the noise schedule with its input scale and limit, or one of DDPM's grids."""
    if isinstance(plan, ImageDiffusionPlan) and plan.schedule in DDPM_GRIDS:
        return DiscreteSchedule(plan.schedule, plan.num_timesteps)
    return ScaledSchedule(
        base=SCHEDULES[plan.schedule](),
        input_scale=plan.input_scale,
        log_snr_limit=plan.log_snr_limit,
    )


def build_encoding(labels: LabelScheme, plan: DiffusionPlan) -> Encoding:
    """Return how masks of `labels` are written as x_0."""
    name = "regions" if labels.is_regions else plan.encoding
    return ENCODINGS[name](len(labels.names))


def build_rater_tags(
    raters: Sequence[str], plan: DiffusionPlan
) -> Float[np.ndarray, "sample rater"]:
    """Return what the network is told of who drew: 1 for that rater, 0 for the others.

    All are 0 of a rater whom the plan does not know.
    """
    is_drawn_by = [[rater == name for name in plan.rater_names] for rater in raters]
    return np.array(is_drawn_by, np.float32).reshape(len(raters), len(plan.rater_names))


def build_segmentation_encoding(labels: LabelScheme) -> Encoding:
    """Return how the logits of the supervised network stand for masks, and how to decode them.

    One channel per region, or one per class with background first; a single label has one channel.
    """
    return ENCODINGS["regions" if labels.is_regions else "signed"](len(labels.names))


def build_weighting(plan: NoisePlan) -> Weighting:
    """Return the weight of the x_0 error as a function of log SNR."""
    return partial(WEIGHTINGS[plan.loss_weighting], bias=plan.loss_weighting_bias)


def build_sampler(plan: SamplingPlan, *, schedule: Schedule) -> PlannedSampler:
    """Return the reverse process of `plan` along `schedule`."""
    times = sampling_times(plan.num_steps, plan.step_spacing, schedule)
    sampler = SAMPLERS[plan.sampler]
    steps = sampling_steps(sampler, times, schedule=schedule, variance=plan.variance)
    return PlannedSampler(times=times, steps=tuple(steps))


def build_denoiser(
    configuration: ConfigurationPlan, *, num_image_channels: int, labels: LabelScheme
) -> Denoiser:
    """Return the network of a diffusion on segmentations, joined with its schedule.

    Raises:
        PlansError: the plan describes no network.
    """
    prediction = PREDICTIONS[configuration.diffusion.prediction]
    network = build_denoising_network(
        configuration.network,
        num_image_channels=num_image_channels,
        num_label_channels=build_encoding(labels, configuration.diffusion).num_channels,
        num_raters=configuration.diffusion.num_raters,
        is_output_bounded=prediction.is_bounded,
        is_self_conditioned=configuration.diffusion.is_self_conditioned,
    )
    return Denoiser(
        network,
        schedule=build_schedule(configuration.diffusion),
        prediction=prediction,
        is_self_conditioned=configuration.diffusion.is_self_conditioned,
    )


def build_segmentation_network(
    configuration: ConfigurationPlan, *, num_image_channels: int, labels: LabelScheme
) -> nn.Module:
    """Return the supervised network, whose logits `build_segmentation_encoding` decodes.

    Raises:
        PlansError: the plan describes no network.
    """
    return build_supervised_network(
        configuration.network,
        num_image_channels=num_image_channels,
        num_label_channels=build_segmentation_encoding(labels).num_channels,
    )


def build_image_model(
    configuration: ConfigurationPlan, *, num_image_channels: int, labels: LabelScheme
) -> ImageModel:
    """Return the class-conditional diffusion of images, and the classifier of noised images.

    Raises:
        PlansError: the plan describes no network, or has no block for weak supervision.
    """
    plan = weak_plan_of(configuration)
    network, classifier = build_image_networks(
        plan, num_image_channels=num_image_channels, num_classes=len(labels.names)
    )
    return ImageModel(
        Denoiser(
            network,
            schedule=build_schedule(plan.diffusion),
            prediction=PREDICTIONS[plan.diffusion.prediction],
        ),
        classifier,
    )


def build_image_networks(
    plan: WeakPlan, *, num_image_channels: int, num_classes: int
) -> tuple[LabelledNetwork, ClassificationNetwork]:
    """Return the network that denoises images, and the classifier of noised images.

    Args:
        num_classes: image-level labels.

    Raises:
        PlansError: the plan describes no network.
    """
    with _faults_of("weak.network"):
        network = BACKBONES[plan.network.conditioning].denoising(
            plan.network,
            NetworkTask(
                num_image_channels=0,
                num_label_channels=num_image_channels,
                num_classes=num_classes,
            ),
        )
        classifier = _classification_network(
            plan, num_image_channels=num_image_channels, num_classes=num_classes, has_time=True
        )
    return network, classifier


def build_classifier(
    configuration: ConfigurationPlan, *, num_image_channels: int, labels: LabelScheme
) -> ClassificationNetwork:
    """Return the classifier of images as they are, the class activation maps' network.

    Raises:
        PlansError: the plan describes no network, or has no block for weak supervision.
    """
    with _faults_of("weak.network"):
        return _classification_network(
            weak_plan_of(configuration),
            num_image_channels=num_image_channels,
            num_classes=len(labels.names),
            has_time=False,
        )


def weak_plan_of(configuration: ConfigurationPlan) -> WeakPlan:
    """Return the plan of weak supervision.

    Raises:
        PlansError: there is none.
    """
    if configuration.weak is None:
        raise PlansError(
            "the plans have no block 'weak'; declare image_labels in dataset.json and plan anew "
            "with diffunet_plan_experiment, or take the methods 'diffusion' or 'supervised'"
        )
    return configuration.weak


@contextlib.contextmanager
def _faults_of(block: str) -> Iterator[None]:
    """Turn what a backbone says of a field of a plan into a PlansError that names its block."""
    try:
        yield
    except ValueError as cause:
        raise PlansError(f"{block}: {cause}") from None


def _classification_network(
    plan: WeakPlan, *, num_image_channels: int, num_classes: int, has_time: bool
) -> ClassificationNetwork:
    return ClassificationNetwork(
        num_image_channels=num_image_channels,
        num_classes=num_classes,
        shape=unet_shape(plan.network),
        has_time=has_time,
    )


def build_denoising_network(
    plan: NetworkPlan,
    *,
    num_image_channels: int,
    num_label_channels: int,
    num_raters: int = 0,
    is_output_bounded: bool,
    is_self_conditioned: bool = False,
) -> DenoisingNetwork:
    """Return a network that predicts x_0, noise or v.

    Args:
        num_raters: that can be told to have drawn; 0 for none.
        is_output_bounded: only then does the plan's final tanh apply.
        is_self_conditioned: x_t comes with an earlier x_0_hat.

    Raises:
        PlansError: the plan describes no network.
    """
    task = NetworkTask(
        num_image_channels=num_image_channels,
        num_label_channels=num_label_channels,
        num_classes=num_raters,
        has_final_tanh=plan.has_final_tanh and is_output_bounded,
        sees_x_0_hat=is_self_conditioned,
    )
    with _faults_of("network"):
        return BACKBONES[plan.conditioning].denoising(plan, task)


def build_supervised_network(
    plan: NetworkPlan, *, num_image_channels: int, num_label_channels: int
) -> nn.Module:
    """Return a network from image to logits, of the image encoder's capacity where there is one.

    Raises:
        PlansError: the plan describes no network.
    """
    task = NetworkTask(num_image_channels=num_image_channels, num_label_channels=num_label_channels)
    with _faults_of("network"):
        return BACKBONES[plan.conditioning].supervised(plan, task)
