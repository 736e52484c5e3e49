"""How the work of a prediction is cut; it changes time and memory, never the result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

_GIB = 1024**3

CPU_BATCH_VOXELS = 2**16
"""Voxels per network call on a CPU: enough to amortise a call, few enough for the caches."""

GPU_BATCH_VOXELS = 2**22
"""Voxels per network call on a GPU; halved when memory runs out."""

STATE_FIELDS = 4
"""Fields of x_t's size alive in a sampling step; see `diffunet.diffusion.samplers`."""

GPU_STATE_SHARE = 0.25
"""Share of a GPU's free memory that the state of a group of samples may take."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device, precision and memory of a prediction.

    Attributes:
        device: where the network runs.
        precision: "bfloat16" runs the network under autocast; everything else is float32.
        state_gib: for what samples drawn together need on the whole image, in GiB; at least one
            sample is always drawn.
        feature_gib: for the features of tiles that are kept through all steps, in GiB.
        batch_voxels: voxels per network call; None chooses by device.
    """

    device: torch.device
    precision: Literal["float32", "bfloat16"] = "float32"
    state_gib: float = 2.0
    feature_gib: float = 1.0
    batch_voxels: int | None = None

    def batch_size(self, tile: Sequence[int]) -> int:
        """Return how many tiles to give to the network at once."""
        default = CPU_BATCH_VOXELS if self.device.type == "cpu" else GPU_BATCH_VOXELS
        return max(1, (self.batch_voxels or default) // math.prod(tile))

    def group_size(self, shape: Sequence[int]) -> int:
        """Return how many samples of (channel, *spatial) `shape` to draw together."""
        return max(1, int(self.state_gib * _GIB / _state_bytes(shape)))

    def state_device(self, shape: Sequence[int]) -> torch.device:
        """Return where x_t of (sample, channel, *spatial) `shape` stays: on `device` if it fits."""
        if self.device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(self.device)
            if _state_bytes(shape) > GPU_STATE_SHARE * free_bytes:
                return torch.device("cpu")
        return self.device

    @property
    def feature_bytes(self) -> int:
        return int(self.feature_gib * _GIB)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def _state_bytes(shape: Sequence[int]) -> int:
    return 4 * STATE_FIELDS * math.prod(shape)
