"""What each method minimises: a batch in, named loss terms out; each term a sum and a count.

Ranks add up sums and counts, so that the loss over several ranks equals that of one process with
the same global batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, cast, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Integer, Shaped
from torch import Tensor, nn
from torch.nn import functional

from diffunet.build import (
    build_encoding,
    build_rater_tags,
    build_segmentation_encoding,
    build_weighting,
)
from diffunet.data.batches.transfer import on_device
from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.encoding import Encoding
from diffunet.diffusion.stable_target import Alternatives
from diffunet.diffusion.times import stratified_times
from diffunet.diffusion.weighting import Weighting
from diffunet.labels import LabelScheme
from diffunet.plans import ConfigurationPlan
from diffunet.randomness import derive_seed, numpy_generator

DICE_SMOOTHING_VOXELS = 1.0
"""Added to both sides of the Dice fraction: a patch without the label, predicted so, scores 1."""


@dataclass(frozen=True, kw_only=True)
class TensorBatch:
    """A `Batch` on the training's device.

    Attributes:
        images: float32 (sample, channel, *spatial).
        label_maps: (sample, *spatial); None where the method learns from `tags`.
        other_label_maps: (sample, rater, *spatial) of the raters that were not drawn, `num_others`
            of each sample; None or none where they are not asked for.
        num_others: one per sample; empty where there are none.
        tags: float32 (sample, class), 0 or 1 per image-level label.
        iteration: optimiser step, counted from 0.
        indices: of the samples in the global batch.
        global_size: samples of the global batch.
        weights: how much the loss of each sample counts; None: all count alike.
        raters: names of who drew the label maps, one per sample, for a network that is told.
    """

    images: Float[Tensor, "sample channel *spatial"]
    label_maps: Integer[Tensor, "sample *spatial"] | None
    tags: Float[Tensor, "sample class"]
    iteration: int
    indices: tuple[int, ...]
    global_size: int
    weights: Float[Tensor, " sample"] | None = None
    raters: tuple[str, ...] = ()
    other_label_maps: Integer[Tensor, "sample rater *spatial"] | None = None
    num_others: tuple[int, ...] = ()

    def weighted(self, values: Float[Tensor, "sample *any"]) -> Float[Tensor, "sample *any"]:
        """Return `values` times the weight of their sample.

        Only sums are weighted, never counts: weights are 1 on average over draws, and dividing by
        their sum would bend the loss of small batches.
        """
        if self.weights is None:
            return values
        return values * self.weights.reshape(-1, *[1] * (values.ndim - 1))

    def masks(
        self, labels: LabelScheme
    ) -> tuple[Bool[Tensor, "sample label *spatial"], Bool[Tensor, "sample 1 *spatial"] | None]:
        """Return `masks_of` the label maps.

        Raises:
            ValueError: there are none.
        """
        if self.label_maps is None:
            raise ValueError("this batch was made without label maps")
        return masks_of(self.label_maps, labels)


@dataclass(frozen=True)
class LossTerm:
    """One part of a loss, over the samples of this rank: its value is total / count over all ranks.

    Attributes:
        total: has gradients.
        count: of the values that were summed; no gradients.
    """

    total: Float[Tensor, ""]
    count: Float[Tensor, ""]


class Objective(Protocol):
    """What the model of a method minimises.

    Attributes:
        reads_all_raters: batches should hold the label maps of all raters of a case.
    """

    @property
    def reads_all_raters(self) -> bool: ...

    def components(self, model: nn.Module) -> tuple[nn.Module, ...]:
        """Return the parts of the model that do not share a gradient; each is clipped by itself."""
        ...

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        """Return the terms whose sum is the loss; a pure function of model, batch and seed."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class DiffusionObjective:
    """Denoising of one rater's mask: the weighted error of x_0 at random times (P1).

    Attributes:
        seed: of the training; times and noise depend on it, the iteration and the global index.
    """

    configuration: ConfigurationPlan
    labels: LabelScheme
    seed: int

    @cached_property
    def encoding(self) -> Encoding:
        return build_encoding(self.labels, self.configuration.diffusion)

    @cached_property
    def weighting(self) -> Weighting:
        return build_weighting(self.configuration.diffusion)

    @property
    def reads_all_raters(self) -> bool:
        return self.configuration.training.has_stable_target

    def components(self, model: nn.Module) -> tuple[nn.Module, ...]:
        """Return the whole model."""
        return (model,)

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        """Return the weighted denoising error per valid voxel and channel."""
        num_draws = self.configuration.training.num_draws
        masks, ignored = batch.masks(self.labels)
        x_0 = repeated(self.encoding.encode(masks, ignored), num_draws)
        denoiser = cast(Denoiser, model)
        is_told = self._is_told(batch)
        condition = None
        if is_told is not None:
            tags = build_rater_tags(batch.raters, self.configuration.diffusion)
            tags = on_device(tags, batch.images.device)
            told = is_told[:, None] * tags.sum(dim=1, keepdim=True)
            condition = told * denoiser.embed_labels(tags)
        loss = denoiser.loss(
            x_0,
            times_of(batch, seed=self.seed, num_draws=num_draws),
            noise_of(batch, x_0.shape[1:], seed=self.seed, num_draws=num_draws),
            features=tuple(
                repeated(feature, num_draws) for feature in denoiser.encode_image(batch.images)
            ),
            condition=None if condition is None else repeated(condition, num_draws),
            weighting=self.weighting,
            is_decoupled=self.configuration.diffusion.is_weighting_decoupled,
            valid=None if ignored is None else repeated(~ignored, num_draws),
            alternatives=self._alternatives(batch, ignored=ignored, is_told=is_told),
            told=self._told_x_0_hat(batch, num_draws=num_draws),
        )
        total = batch.weighted(loss.weighted_sum.reshape(-1, num_draws)).sum()
        return {"denoising": LossTerm(total, loss.num_valid.sum().float())}

    def _is_told(self, batch: TensorBatch) -> Bool[Tensor, " sample"] | None:
        """Return for which samples the network is told who drew; None where it never is."""
        if not self.configuration.diffusion.conditions_on_rater:
            return None
        draws = numpy_generator(self.seed, "rater dropout", batch.iteration).random(
            batch.global_size
        )[list(batch.indices)]
        is_told = draws >= self.configuration.training.rater_dropout
        return on_device(is_told, batch.images.device)

    def _told_x_0_hat(self, batch: TensorBatch, *, num_draws: int) -> Int64[Tensor, " row"] | None:
        """Return the rows for which the network sees its own x_0_hat: every other draw.

        Which ones alternates with the iteration, and depends on no other sample of the batch.
        """
        if not self.configuration.diffusion.is_self_conditioned:
            return None
        draws = np.array(_draws_of(batch.indices, num_draws))
        rows = np.flatnonzero((draws + batch.iteration) % 2 == 0)
        return on_device(rows, batch.images.device)

    def _alternatives(
        self,
        batch: TensorBatch,
        *,
        ignored: Bool[Tensor, "sample 1 *spatial"] | None,
        is_told: Bool[Tensor, " sample"] | None,
    ) -> Alternatives | None:
        """Return the masks that were as likely to be drawn as those of the batch.

        A rater who left out other voxels is none of them, and nobody is where the network is told
        who drew.
        """
        maps = batch.other_label_maps
        if maps is None or not batch.num_others or not self.reads_all_raters:
            return None
        numbers = on_device(np.array(batch.num_others), maps.device)
        x_0: list[Tensor] = []
        is_possible: list[Tensor] = []
        for index in range(maps.shape[1]):
            masks, also_ignored = masks_of(maps[:, index], self.labels)
            is_there = index < numbers
            if ignored is not None:
                is_there &= (ignored == also_ignored).flatten(1).all(dim=1)
            if is_told is not None:
                is_there &= ~is_told
            x_0.append(self.encoding.encode(masks, also_ignored).to(torch.int8))
            is_possible.append(is_there)
        num_draws = self.configuration.training.num_draws
        return Alternatives(
            torch.stack([repeated(each, num_draws) for each in x_0]),
            torch.stack([repeated(each, num_draws) for each in is_possible]),
        )


@final
@dataclass(frozen=True, kw_only=True)
class SupervisedObjective:
    """Soft Dice and cross entropy of one rater's mask, drawn anew for each sample.

    Cross entropy alone (`training.dice_weight` 0) learns each voxel's share of raters; the Dice of
    single masks moves it to 0 or 1, so that the network learns about their majority. The seed is
    not used: nothing is random.
    """

    reads_all_raters: ClassVar[bool] = False

    configuration: ConfigurationPlan
    labels: LabelScheme
    seed: int

    @cached_property
    def encoding(self) -> Encoding:
        return build_segmentation_encoding(self.labels)

    def components(self, model: nn.Module) -> tuple[nn.Module, ...]:
        """Return the whole model."""
        return (model,)

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        """Return cross entropy per valid voxel, and weighted 1 - Dice per sample and label."""
        masks, ignored = batch.masks(self.labels)
        target = (self.encoding.encode(masks, None) + 1) / 2
        valid = torch.ones_like(target[:, :1]) if ignored is None else (~ignored).float()
        logits = model(batch.images)
        is_exclusive = not self.labels.is_regions and target.shape[1] > 1
        if is_exclusive:
            cross_entropy = -(target * logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)
            probabilities = logits.softmax(dim=1)[:, 1:]
        else:
            cross_entropy = functional.binary_cross_entropy_with_logits(
                logits, target, reduction="none"
            )
            probabilities = logits.sigmoid()
        num_values = valid.sum() * cross_entropy.shape[1]
        total = (cross_entropy * batch.weighted(valid)).sum()
        terms = {"cross_entropy": LossTerm(total, num_values)}
        weight = self.configuration.training.dice_weight
        if weight:
            one_minus_dice = 1 - soft_dice(probabilities, masks.float(), valid)
            dice = weight * batch.weighted(one_minus_dice).sum()
            terms["dice"] = LossTerm(dice, torch.full_like(dice, one_minus_dice.numel()))
        return terms


def masks_of(
    label_maps: Integer[Tensor, "sample *spatial"], labels: LabelScheme
) -> tuple[Bool[Tensor, "sample label *spatial"], Bool[Tensor, "sample 1 *spatial"] | None]:
    """Return the mask of each label, and the voxels not annotated (None where all always are)."""
    masks = []
    for values in labels.values:
        mask = label_maps == values[0]
        for value in values[1:]:
            mask |= label_maps == value
        masks.append(mask)
    ignored = None
    if labels.ignore_value is not None:
        ignored = (label_maps == labels.ignore_value).unsqueeze(1)
    return torch.stack(masks, dim=1), ignored


def repeated(rows: Shaped[Tensor, "row *any"], number: int) -> Shaped[Tensor, "more_rows *any"]:
    """Return each row `number` times, one after the other; the rows themselves for one."""
    return rows if number == 1 else rows.repeat_interleave(number, dim=0)


def times_of(batch: TensorBatch, *, seed: int, num_draws: int = 1) -> Float64[Tensor, " draw"]:
    """Return the times of a batch's samples, stratified over the global batch.

    Args:
        seed: of the training.
        num_draws: of each sample, one after the other.
    """
    times = stratified_times(
        batch.global_size * num_draws, derive_seed(seed, "times", batch.iteration)
    )
    return on_device(times[_draws_of(batch.indices, num_draws)], batch.images.device)


def noise_of(
    batch: TensorBatch, shape: Sequence[int], *, seed: int, num_draws: int = 1
) -> Float[Tensor, "draw *shape"]:
    """Return the noise of a batch's samples, each of `shape`; see `times_of`, `sample_noise`."""
    return sample_noise(
        shape,
        seed=seed,
        iteration=batch.iteration,
        indices=_draws_of(batch.indices, num_draws),
        global_size=batch.global_size * num_draws,
        device=batch.images.device,
    )


def _draws_of(indices: Sequence[int], num_draws: int) -> list[int]:
    """Return the numbers, among all draws of the global batch, of those of some samples."""
    return [index * num_draws + draw for index in indices for draw in range(num_draws)]


def sample_noise(
    shape: Sequence[int],
    *,
    seed: int,
    iteration: int,
    indices: Sequence[int],
    global_size: int,
    device: torch.device,
) -> Float[Tensor, "sample *shape"]:
    """Return standard normal noise, drawn on `device`; each sample's depends on no other's.

    On the CPU every sample has its own seed. A GPU draws for the whole global batch in one call,
    and a rank keeps its samples: one call per sample would take longer than the step.
    """
    generator = torch.Generator(device)
    if device.type == "cuda":
        generator.manual_seed(derive_seed(seed, "noise", iteration))
        drawn = torch.empty((global_size, *shape), device=device).normal_(generator=generator)
        return drawn if len(indices) == global_size else drawn[list(indices)]
    noise = torch.empty((len(indices), *shape), device=device)
    for row, index in zip(noise, indices, strict=True):
        generator.manual_seed(derive_seed(seed, "noise", iteration, index))
        row.normal_(generator=generator)
    return noise


def soft_dice(
    probabilities: Float[Tensor, "sample label *spatial"],
    target: Float[Tensor, "sample label *spatial"],
    valid: Float[Tensor, "sample 1 *spatial"],
) -> Float[Tensor, "sample label"]:
    """Return the Dice score of probabilities, over the voxels where `valid` is 1."""
    probabilities, target = (probabilities * valid).flatten(2), (target * valid).flatten(2)
    overlap = 2 * (probabilities * target).sum(dim=2) + DICE_SMOOTHING_VOXELS
    return overlap / (probabilities.sum(dim=2) + target.sum(dim=2) + DICE_SMOOTHING_VOXELS)


def loss_of(terms: Mapping[str, LossTerm], counts: Tensor, *, num_ranks: int) -> Tensor:
    """Return this rank's part of the loss, whose gradients DistributedDataParallel averages.

    Args:
        counts: of each term, over all ranks.
        num_ranks: the average over ranks divides by it, a sum over ranks does not.
    """
    parts = [term.total / count for term, count in zip(terms.values(), counts, strict=True)]
    return num_ranks * torch.stack(parts).sum()
