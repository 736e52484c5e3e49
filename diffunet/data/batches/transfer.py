"""From this process's memory to a training's device, without waiting for it."""

import numpy as np
import torch
from torch import Tensor


def on_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Return `values` on `device`.

    To a GPU they go from pinned memory, so that the copy is queued behind the work before it and
    this process goes on. A copy from ordinary memory would wait until the GPU has nothing to do.
    """
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
