"""How long a training takes on two cores of a CPU, estimated from its plans alone.

The same plans give the same estimate on every machine, so that a size can be chosen by it. The work
is counted on the networks themselves, as memory is (`diffunet.planning.memory`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffunet.build import build_encoding, weak_plan_of
from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.image_model import ImageModel
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.memory import fill_with_zeros, forward_cost, measured_patch
from diffunet.plans import ConfigurationPlan, ResolvedPlans

# Of one core of a server (AMD EPYC, Zen 3, 2.4 GHz), fitted to training steps of nine networks of
# half, usual and double width, in 2D and 3D, which are met within 40 %. Narrow networks spend much
# of their time on moving values, not on multiplying them.
_MULTIPLY_ADDS_PER_S = 25e9
_KEPT_BYTES_PER_S = 0.67e9

# Two threads against one, in steps a second of a small convolutional network.
_TWO_CORES = 1.4

# Forward and backward pass: twice as much as forward alone is computed backward.
_PASSES_OF_A_STEP = 3

_BATCH_SIZE = 2
_SLICES_OF_A_VOLUME = 64  # which the plans of a slicewise configuration do not say


@dataclass(frozen=True, kw_only=True)
class Work:
    """Seconds of a forward pass per voxel of the plans' patch, on two cores.

    Attention takes longer per voxel in larger patches, so this holds for that patch alone.

    Attributes:
        image: of what runs once per image; of methods without samples, all of it; of the diffusion
            of images, the classifier.
        draw: of what runs for each noise level of a training step, and at each step of a sample.
    """

    image: float
    draw: float

    def of_step(self, configuration: ConfigurationPlan) -> float:
        """Return the seconds of an optimiser step."""
        plan = configuration.training
        voxels = plan.batch_size * math.prod(configuration.patch_size)
        return _PASSES_OF_A_STEP * voxels * (self.image + plan.num_draws * self.draw)

    def of_training(self, configuration: ConfigurationPlan) -> float:
        """Return the seconds of all optimiser steps."""
        return configuration.training.num_iterations * self.of_step(configuration)

    def of_case(self, plans: ResolvedPlans, *, shape: Sequence[int] | None = None) -> float:
        """Return the seconds in which the masks of a case are predicted.

        Only of methods that learn from masks: the others make maps, whose work this does not count.

        Args:
            shape: of the case on the grid of training; None: the median one.
        """
        configuration, sampling = plans.configuration, plans.configuration.sampling
        is_sliced = len(plans.transpose_forward) > configuration.dimensions
        if shape is None:
            num_slices, lengths = _SLICES_OF_A_VOLUME, configuration.median_shape
        else:
            num_slices, lengths = shape[0], shape[is_sliced:]
        # the median shape is for information alone: an edited file may have any
        shapes = zip(lengths, configuration.patch_size, strict=False)
        voxels = math.prod(
            edge if length <= edge else length / sampling.tile_step_size for length, edge in shapes
        )
        if is_sliced:
            voxels *= num_slices
        return voxels * (self.image + sampling.num_samples * sampling.num_steps * self.draw)


def measure_work(plans: ResolvedPlans, labels: LabelScheme) -> Work:
    """Return the work of the networks that these plans train.

    Raises:
        PlansError: they describe no network.
    """
    configuration = plans.configuration
    num_image_channels = len(configuration.preprocessing.normalization)
    with torch.device("meta"):
        model = METHODS[plans.method].build_model(
            configuration, num_image_channels=num_image_channels, labels=labels
        )
    fill_with_zeros(model)
    is_of_images = METHODS[plans.method].learns_from == "image_labels"
    network = weak_plan_of(configuration).network if is_of_images else configuration.network
    patch = measured_patch(network)
    image = torch.zeros(_BATCH_SIZE, num_image_channels, *patch)

    num_measured = math.prod(configuration.patch_size) / math.prod(patch)

    def seconds(forward: Callable[[], Any]) -> float:
        cost = forward_cost(model, forward)
        multiply_adds = cost.multiply_adds + num_measured * cost.attention_multiply_adds
        of_core = (
            multiply_adds / _MULTIPLY_ADDS_PER_S + cost.kept / _KEPT_BYTES_PER_S / _PASSES_OF_A_STEP
        )
        return of_core / _TWO_CORES / (_BATCH_SIZE * math.prod(patch))

    if isinstance(model, ImageModel):
        t = image.new_zeros(_BATCH_SIZE)
        tags = model.embed_labels(torch.zeros(_BATCH_SIZE, len(labels.names)))
        return Work(
            image=seconds(lambda: model.classifier(image, t)),
            draw=seconds(lambda: model.denoiser.network(image, t, None, tags)),
        )
    if not isinstance(model, Denoiser):
        return Work(image=seconds(lambda: model(image)), draw=0.0)
    num_labels = build_encoding(labels, configuration.diffusion).num_channels
    x_t = torch.zeros(_BATCH_SIZE, num_labels, *patch)
    features = tuple(each.detach() for each in model.encode_image(image))
    return Work(
        image=seconds(lambda: model.encode_image(image)),
        draw=seconds(lambda: model.predict_x_0(x_t, 0.5, features=features)),
    )
