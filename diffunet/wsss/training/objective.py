"""What weak supervision minimises, from images and their image-level labels, without masks."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional

from diffunet.build import (
    build_weighting,
    weak_plan_of,
)
from diffunet.data.batches.balance import is_plain_turn
from diffunet.diffusion.image_model import CLEAN_TIME, ImageModel
from diffunet.diffusion.process import add_noise
from diffunet.diffusion.schedules import Schedule
from diffunet.diffusion.weighting import Weighting
from diffunet.labels import LabelScheme
from diffunet.networks.classification import ClassificationNetwork
from diffunet.plans import ConfigurationPlan
from diffunet.training.objective import LossTerm, TensorBatch, noise_of, times_of


@final
@dataclass(frozen=True, kw_only=True)
class CdmObjective:
    """The diffusion of images under their labels, and the classifier of its noised images (P2).

    Both see the same x_t at the same t. They share no weights, so this costs nothing, and the
    classifier learns on exactly the noise at which it later guides. A planned share of the samples
    is drawn as often as images occur: the classifier sees these without noise, and the diffusion
    does not see them at all. It learns only from samples whose labels do not tell their position.
    Times are uniform in [0, 1), stratified over the global batch, on DDPM's grids too: what lies
    between two timesteps is then trained as well, and log SNRs need not be rounded to the grid.

    Attributes:
        seed: of the training; times and noise depend on it, the iteration and the global index.
    """

    reads_all_raters: ClassVar[bool] = False

    configuration: ConfigurationPlan
    labels: LabelScheme
    seed: int

    @cached_property
    def weighting(self) -> Weighting:
        return build_weighting(weak_plan_of(self.configuration).diffusion)

    def components(self, model: nn.Module) -> tuple[nn.Module, ...]:
        """Return denoiser and classifier: neither's gradients scale down the other's."""
        image_model = cast(ImageModel, model)
        return (image_model.denoiser, cast(ClassificationNetwork, image_model.classifier))

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        """Return the denoising error per voxel and channel, and cross entropy per label."""
        image_model = cast(ImageModel, model)
        x_0 = batch.images
        times = times_of(batch, seed=self.seed)
        noise = noise_of(batch, x_0.shape[1:], seed=self.seed)
        is_clean = clean_turns(batch, share=weak_plan_of(self.configuration).clean_share)
        noised = [row for row, is_plain in enumerate(is_clean) if not is_plain]
        has_noised = float(bool(noised))
        noised = noised or list(range(len(x_0)))  # without weight: ranks wait for its gradients
        denoising = image_model.denoiser.loss(
            x_0[noised],
            times[noised],
            noise[noised],
            features=None,
            condition=image_model.embed_labels(batch.tags[noised]),
            weighting=self.weighting,
            is_decoupled=False,
            valid=None,
        )
        image, image_times = classified_images(
            x_0, times, noise, schedule=image_model.schedule, is_clean=is_clean
        )
        logits = image_model.classifier(image, image_times.to(image))
        return {
            "denoising": LossTerm(
                has_noised * denoising.weighted_sum.sum(), has_noised * denoising.num_valid.sum()
            ),
            "classification": classification_term(logits, batch.tags),
        }


@final
@dataclass(frozen=True, kw_only=True)
class ClassifierObjective:
    """The classifier of images as they are, whose feature maps the class activation maps weigh.

    The seed is not used: nothing is random.
    """

    reads_all_raters: ClassVar[bool] = False

    configuration: ConfigurationPlan
    labels: LabelScheme
    seed: int

    def components(self, model: nn.Module) -> tuple[nn.Module, ...]:
        """Return the whole model."""
        return (model,)

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        """Return cross entropy per sample and label."""
        return {"classification": classification_term(model(batch.images), batch.tags)}


def clean_turns(batch: TensorBatch, *, share: float) -> tuple[bool, ...]:
    """Return which samples of a batch the classifier sees without noise.

    They are those that `PatchSampler` draws as often as they occur. Neither the times, which are in
    random order, nor the images of a turn depend on its number.
    """
    first = batch.iteration * batch.global_size
    return tuple(is_plain_turn(first + index, share=share) for index in batch.indices)


def classified_images(
    x_0: Float[Tensor, "sample channel *spatial"],
    times: Float64[Tensor, " sample"],
    noise: Float[Tensor, "sample channel *spatial"],
    *,
    schedule: Schedule,
    is_clean: tuple[bool, ...],
) -> tuple[Float[Tensor, "sample channel *spatial"], Float64[Tensor, " sample"]]:
    """Return what the classifier of noised images sees, and the time that it is told.

    Args:
        is_clean: per sample: x_0 itself at `CLEAN_TIME`, instead of x_t at t.
    """
    x_t = add_noise(x_0, noise, log_snr=schedule.log_snr(times))
    chosen = torch.tensor(is_clean)
    mask = chosen.to(x_0.device).reshape(-1, *(1 for _ in x_0.shape[1:]))
    return torch.where(mask, x_0, x_t), times.masked_fill(chosen.to(times.device), CLEAN_TIME)


def classification_term(
    logits: Float[Tensor, "sample class"], tags: Float[Tensor, "sample class"]
) -> LossTerm:
    """Return the binary cross entropy of each sample and label."""
    total = functional.binary_cross_entropy_with_logits(logits, tags, reduction="sum")
    return LossTerm(total, torch.full_like(total, tags.numel()))
