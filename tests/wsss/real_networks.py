"""A small image model with real networks and random weights, none of them zero."""

import torch

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.networks.classification import ClassificationNetwork
from diffunet.networks.denoising import ConcatenatedNetwork
from diffunet.networks.task import NetworkTask
from diffunet.networks.unet import UNetShape
from tests.wsss.closed_form import SCHEDULE


def real_model(*, num_classes=2, schedule=SCHEDULE):
    shape = UNetShape(
        channels=(8, 16),
        strides=((1, 1), (2, 2)),
        kernel_sizes=((3, 3), (3, 3)),
        num_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        num_middle_blocks=1,
        has_attention=(False, True),
        num_heads=2,
        num_groups=4,
        dropout=0.0,
        embedding_dim=None,
    )
    network = ConcatenatedNetwork(
        NetworkTask(num_image_channels=0, num_label_channels=1, num_classes=num_classes),
        shape=shape,
        has_concatenated_skips=False,
    )
    classifier = ClassificationNetwork(
        num_image_channels=1, num_classes=num_classes, shape=shape, has_time=True
    )
    model = ImageModel(
        Denoiser(network, schedule=schedule, prediction=PREDICTIONS["v"]), classifier
    ).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = 0.15 * torch.randn(parameter.shape, generator=generator)
    return model
