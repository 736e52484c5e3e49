"""How the work of a prediction is cut; it changes time and memory, never the result."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from diffunet.errors import UsageError
from diffunet.names import is_number

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "float16"]
"""The precision in which networks compute."""

_GIB = 1024**3

CPU_BATCH_VOXELS = 2**16
"""Voxels per network call on a CPU: enough to amortise a call, few enough for the caches."""

SMALL_CPU_TILE = 2**17
"""Voxels of a tile up to which a CPU takes two at once. With one thread, torch convolves a single
small volume without oneDNN: a step of a tile of 40 x 40 x 40 then took 0.45 s, in place of 0.07."""

GPU_BATCH_VOXELS = 2**22
"""Voxels per network call on a GPU; halved when memory runs out."""

GPU_STATE_SHARE = 0.25
"""Share of a GPU's free memory that the state of a group of samples may take."""


def device_of(name: str) -> torch.device:
    """Return the device that "auto" means here; any other name as it is.

    Raises:
        UsageError: there is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if not available.get(kind) or (index and not is_number(index)):
        found = ", ".join(kind for kind, count in available.items() if count)
        raise UsageError(f"-device {name}: expected one of {found}")
    if index and int(index) >= available[kind]:
        raise UsageError(f"-device {name}: there are {available[kind]} devices of this kind")
    return torch.device(name)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device, precision and memory of a prediction.

    Attributes:
        device: where the network runs.
        precision: "float32" is exact on a GPU too (no TF32), so that batches and tiles leave no
            trace; the others run the network under autocast, and all else in float32.
        state_gib: memory for samples drawn together on the whole image, in GiB; at least one sample
            is always drawn.
        feature_gib: for the features of tiles that are kept through all steps, in GiB.
        batch_voxels: voxels per network call; None chooses by device.
    """

    device: torch.device
    precision: Precision = "float32"
    state_gib: float = 2.0
    feature_gib: float = 1.0
    batch_voxels: int | None = None

    def __post_init__(self) -> None:
        """Check that the device computes in this precision.

        Raises:
            UsageError: it does not.
        """
        if not computes_in(self.precision, self.device):
            able = [each for each in get_args(Precision) if computes_in(each, self.device)]
            raise UsageError(
                f"--precision {self.precision}: the device '{self.device}' computes in "
                f"{' or '.join(able)}; choose one of these, or another device (-device)"
            )

    def batch_size(self, tile: Sequence[int]) -> int:
        """Return how many tiles to give to the network at once."""
        default = CPU_BATCH_VOXELS if self.device.type == "cpu" else GPU_BATCH_VOXELS
        return max(self.fewest_tiles(tile), (self.batch_voxels or default) // math.prod(tile))

    def fewest_tiles(self, tile: Sequence[int]) -> int:
        """Return how many tiles the network should have at once at least, where there are more."""
        chooses = self.device.type == "cpu" and self.batch_voxels is None
        return 2 if chooses and math.prod(tile) <= SMALL_CPU_TILE else 1

    def group_size(self, shape: Sequence[int], *, num_volumes: int) -> int:
        """Return how many samples of (channel, *spatial) `shape` to draw together.

        Args:
            num_volumes: of x_t's size that drawing takes.
        """
        return max(1, int(self.state_gib * _GIB / _state_bytes(shape, num_volumes)))

    def state_device(self, shape: Sequence[int], *, num_volumes: int) -> torch.device:
        """Return where x_t of (sample, channel, *spatial) `shape` stays: on `device` if it fits."""
        if self.device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(self.device)
            if _state_bytes(shape, num_volumes) > GPU_STATE_SHARE * free_bytes:
                return torch.device("cpu")
        return self.device

    @property
    def feature_bytes(self) -> int:
        return int(self.feature_gib * _GIB)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Give the network its precision."""
        dtype = getattr(torch, self.precision)
        with _without_tf32():
            if dtype == torch.float32:
                yield
            else:
                with torch.autocast(self.device.type, dtype):
                    yield

    def in_range(self, output: Tensor) -> Tensor:
        """Return a network's output in float32.

        Raises:
            UsageError: the output exceeds 65504, the largest number of float16.
        """
        if self.precision == "float16" and not output.isfinite().all():
            raise UsageError(
                "--precision float16: numbers inside the network grew beyond what float16 "
                "holds; predict with --precision float32"
            )
        return output.float()


def parts(number: int, *, size: int, fewest: int) -> list[int]:
    """Return how many of `number` tiles or samples to give to the network at a time.

    Args:
        size: of a part.
        fewest: a rest of fewer joins the part before it, if there is one.
    """
    whole, rest = divmod(number, size)
    sizes = [size] * whole
    if sizes and rest < fewest:
        sizes[-1] += rest
    elif rest:
        sizes.append(rest)
    return sizes


def computes_in(precision: Precision, device: torch.device) -> bool:
    """Return whether a device computes in a precision by itself; emulation does not count."""
    if precision == "float32":
        return True
    if device.type == "cuda":
        return precision == "float16" or _has_bfloat16(device)
    return device.type == "cpu" and precision == "bfloat16"


def _has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def run_in_memory(run: Callable[[int], Result], batch_size: int) -> tuple[Result, int]:
    """Return `run(batch_size)`, with halved batches as often as a GPU's memory runs out.

    Returns:
        The result, and the batch size that fitted.

    Raises:
        UsageError: not even one tile fits.
    """
    while True:
        try:
            return run(batch_size), batch_size
        except torch.cuda.OutOfMemoryError as cause:
            if batch_size == 1:
                raise UsageError(
                    "the GPU's memory does not hold the network and one tile; stop other programs "
                    "that use it, or predict on the CPU (-device cpu)"
                ) from cause
        torch.cuda.empty_cache()
        batch_size //= 2
        logger.warning("the GPU's memory ran out; going on with batches of %d tiles", batch_size)


def _state_bytes(shape: Sequence[int], num_volumes: int) -> int:
    return 4 * num_volumes * math.prod(shape)


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute convolutions of float32 in float32; what the caller set returns after."""
    cudnn: Any = torch.backends.cudnn
    try:
        place, name, off = cudnn, "allow_tf32", False
        before = cudnn.allow_tf32
    except RuntimeError:  # the caller set single operators (torch 2.9 and later)
        place, name, off = cudnn.conv, "fp32_precision", "ieee"
        before = cudnn.conv.fp32_precision
    setattr(place, name, off)
    try:
        yield
    finally:
        setattr(place, name, before)
