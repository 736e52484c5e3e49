"""Networks small enough to reason about, with the interface of the real ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule
from diffunet.diffusion.schedules import SCHEDULES


class PointwiseNetwork(nn.Module):
    """Looks at one voxel only, so that no tile can tell where it lies."""

    def __init__(self, num_channels: int = 1):
        super().__init__()
        self.num_channels = num_channels
        self.num_encodings = 0
        self.batch_sizes: list[int] = []

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        self.num_encodings += len(image)
        return (image,)

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        self.batch_sizes.append(len(x_t))
        channels = torch.arange(1, self.num_channels + 1, dtype=x_t.dtype)
        channels = channels.view(-1, *[1] * (x_t.ndim - 2))
        return torch.tanh(0.7 * x_t + channels * features[0][:, :1] - 0.3 * t[0])


class SmoothingNetwork(nn.Module):
    """One convolution of noised labels and image, with zeros around each tile."""

    def __init__(
        self, dimensions: int = 2, num_channels: int = 1, *, kernel_size: int = 3, seed: int = 0
    ):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        self.convolution = convolution(
            num_channels + 1, num_channels, kernel_size, padding=kernel_size // 2
        )
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image,)

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        image = features[0].expand(len(x_t), *features[0].shape[1:])
        return torch.tanh(self.convolution(torch.cat([x_t, image], dim=1)) + 0.1 * t[0])


def denoiser_of(network: nn.Module, prediction: str = "x_0") -> Denoiser:
    schedule = ScaledSchedule(SCHEDULES["cosine"](), input_scale=0.1, log_snr_limit=20.0)
    return Denoiser(network, schedule=schedule, prediction=PREDICTIONS[prediction]).eval()


def random_image(*shape: int, seed: int = 0) -> Tensor:
    """Return a smooth random image (channel, *spatial)."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    pool = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(shape) - 1]
    return 3 * pool(noise[None], 3, stride=1, padding=1)[0]
