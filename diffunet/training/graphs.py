"""A denoiser whose network runs as CUDA graphs while it trains.

A small network is a few thousand kernels a step, and queueing each of them takes a processor longer
than a GPU needs to run it. A graph queues them together.
"""

import logging
from typing import final

import torch
from torch import Tensor, nn

from diffunet.build import build_encoding
from diffunet.diffusion.denoiser import Denoiser, DenoisingNetwork, Features
from diffunet.inference.compute import Precision
from diffunet.labels import LabelScheme
from diffunet.networks.memory_order import CHANNELS_LAST
from diffunet.plans import ConfigurationPlan

logger = logging.getLogger(__name__)


def as_graphs(
    model: nn.Module,
    configuration: ConfigurationPlan,
    *,
    labels: LabelScheme,
    num_image_channels: int,
    precision: Precision,
) -> nn.Module:
    """Return a model that trains the weights of `model` by CUDA graphs, or `model` itself.

    Only a denoiser of segmentations on a GPU has graphs, without random operations of its own,
    without a condition and without its own x_0_hat.

    Args:
        configuration: patch and batch size.
    """
    device = next(model.parameters()).device
    is_random = configuration.network.dropout > 0
    is_told = configuration.diffusion.conditions_on_rater
    is_told |= configuration.diffusion.is_self_conditioned
    if device.type != "cuda" or is_random or is_told or not isinstance(model, Denoiser):
        return model
    shape = (configuration.training.batch_size, num_image_channels, *configuration.patch_size)
    order = CHANNELS_LAST[len(shape) - 2]
    image = torch.zeros(shape, device=device).contiguous(memory_format=order)
    num_labels = build_encoding(labels, configuration.diffusion).num_channels
    _accept_gradients_of_graphs()
    try:
        return graphed_denoiser(
            model,
            image=image,
            x_t=image.new_zeros(
                (shape[0] * configuration.training.num_draws, num_labels, *shape[2:])
            ),
            precision=torch.bfloat16 if precision == "bfloat16" else None,
        )
    except RuntimeError as cause:
        logger.warning("training goes on without CUDA graphs, more slowly: %s", cause)
        return model


def _accept_gradients_of_graphs() -> None:
    """Keep torch from warning that gradients come from the stream on which graphs were made."""
    name = "set_warn_on_accumulate_grad_stream_mismatch"  # newer than torch 2.8
    accept = getattr(torch.autograd.graph, name, None)
    if accept is not None:
        accept(False)


def graphed_denoiser(
    denoiser: Denoiser, *, image: Tensor, x_t: Tensor, precision: torch.dtype | None
) -> Denoiser:
    """Return a denoiser of the same weights for training steps of these shapes, on their GPU.

    Its gradients are those of `denoiser`; use `denoiser` itself for predictions.

    Args:
        image: of any content, (batch, channel, *spatial).
        x_t: of any content, (batch, label, *spatial); several times the batch of `image` where each
            image serves several.
        precision: of autocast; None for none.
    """
    dtype = precision or torch.float32
    # casts of weights belong into the graph: a cached one would be that of the first step
    with torch.autocast("cuda", dtype, enabled=precision is not None, cache_enabled=False):
        network = _GraphedNetwork(denoiser.network, image=image, x_t=x_t)
    return Denoiser(network, schedule=denoiser.schedule, prediction=denoiser.prediction)


@final
class _GraphedNetwork(nn.Module):
    """A network whose passes, forward and backward, are CUDA graphs for one shape.

    Args:
        network: takes no condition.
        image, x_t: see `graphed_denoiser`.
    """

    def __init__(self, network: DenoisingNetwork, *, image: Tensor, x_t: Tensor):
        super().__init__()
        t = torch.zeros(len(x_t), device=x_t.device)
        with torch.no_grad():  # a graph of autograd, alive, would tie the capture to this stream
            features = network.encode_image(image)
        is_encoded = features[0] is not image
        num_draws = len(x_t) // len(image)
        given = tuple(
            each.repeat_interleave(num_draws, dim=0).requires_grad_(is_encoded) for each in features
        )
        step, inputs = _Step(network), (x_t, t, *given)
        # modules become graphs in place
        self.encoder = _ImageEncoder(network) if is_encoded else None
        self.step = step
        if self.encoder is None:
            torch.cuda.make_graphed_callables(step, inputs, allow_unused_input=True)
        else:
            torch.cuda.make_graphed_callables(
                (self.encoder, step), ((image,), inputs), allow_unused_input=True
            )

    def encode_image(self, image: Tensor) -> Features:
        """Return the image's features; the image itself if the network does not encode it."""
        return (image,) if self.encoder is None else self.encoder(image)

    def forward(
        self, x_t: Tensor, t: Tensor, features: Features | None, condition: Tensor | None
    ) -> Tensor:
        """Return the network's prediction.

        Raises:
            ValueError: there are no features, or there is a condition.
        """
        if features is None or condition is not None:
            raise ValueError("a graphed network takes features and no condition")
        return self.step(x_t, t, *features)


class _ImageEncoder(nn.Module):
    def __init__(self, network: DenoisingNetwork):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Features:
        return self.network.encode_image(image)


class _Step(nn.Module):
    def __init__(self, network: DenoisingNetwork):
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, t: Tensor, *features: Tensor) -> Tensor:
        return self.network(x_t, t, features, None)
