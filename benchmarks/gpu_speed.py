"""Time training and sampling on a GPU, of the planned network and of P1's.

    python benchmarks/gpu_speed.py WORKSPACE/preprocessed/Dataset001_NAME --output speed.json

Batches are real ones, made before the clock starts, so that the network's speed is apart from the
loader's, which is timed by itself. The share of time that the GPU is busy is the time of its
kernels (torch's profiler) over the time that passed.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffunet.build import build_denoiser
from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import Batch, BatchLoader, load_batch
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces
from diffunet.data.store.case_store import CaseStore
from diffunet.errors import UsageError
from diffunet.inference.compute import Compute
from diffunet.inference.draw import draw_x_0
from diffunet.jsonio import read_json, write_json
from diffunet.labels import LabelScheme
from diffunet.plans import ConfigurationPlan, Plans, ResolvedPlans
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.fold import compile_networks
from diffunet.training.graphs import graphed_denoiser
from diffunet.training.objective import DiffusionObjective
from diffunet.training.optim import build_optimizer
from diffunet.training.tensors import to_device

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
MODES = ["float32", "bfloat16", "compiled", "graphed"]
NETWORKS: dict[str, tuple[str, ...]] = {"planned": (), "p1": ("network=p1",)}
_NUM_BATCHES = 4
_WARM_UP_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Data:
    """A preprocessed dataset, and plans of its 2d configuration."""

    folder: Path
    plans: ResolvedPlans
    labels: LabelScheme

    @classmethod
    def open(cls, folder: Path, settings: Sequence[str]) -> "Data":
        plans = Plans.load(folder / "diffunet_plans.json")
        content = read_json(folder / "dataset.json", UsageError)
        return cls(
            folder=folder,
            plans=plans.resolve("2d", method="diffusion", settings=list(settings)),
            labels=LabelScheme.from_dataset_json(content),
        )

    @property
    def configuration(self) -> ConfigurationPlan:
        return self.plans.configuration

    def source(self, *, batch_size: int, augmentation: Any) -> PatchSampler:
        import dataclasses

        stores = self.folder / self.configuration.data_identifier
        images = CaseStore(stores / "images")
        return PatchSampler(
            PatchPlaces(
                images,
                CaseStore(stores / "labels"),
                cases=images.cases,
                configuration=dataclasses.replace(self.configuration, augmentation=augmentation),
                batch_size=batch_size,
                seed=0,
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a preprocessed dataset with images in 2D")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["bfloat16"])
    parser.add_argument("--format", choices=list(FORMATS), default="channels_last")
    parser.add_argument("--steps", type=int, default=40, help="timed training steps")
    parser.add_argument("--loaders", type=int, nargs="*", default=[], help="worker processes")
    parser.add_argument("--set", dest="settings", nargs="+", default=[], metavar="PATH=VALUE")
    given = parser.parse_args()
    device = torch.device(given.device)
    rows: list[dict[str, Any]] = []

    def note(**row: Any) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)
        write_json(
            given.output, {"device": _name(device), "torch": torch.__version__, "rows": rows}
        )

    note(what="machine", device=_name(device), torch=torch.__version__, cores=os.cpu_count())
    for num_processes in given.loaders:
        note(**time_loader(Data.open(given.folder, given.settings), num_processes=num_processes))
    for network in given.networks:
        data = Data.open(given.folder, [*NETWORKS[network], *given.settings])
        for mode in given.modes:
            for batch_size in given.batch_sizes:
                trained = Trained(
                    data, batch_size=batch_size, mode=mode, device=device, order=given.format
                )
                row = trained.time(given.steps)
                note(what="training", network=network, mode=mode, order=given.format, **row)
            note(what="sampling", network=network, mode=mode, **trained.time_sampling())
            del trained


def time_loader(data: Data, *, num_processes: int, batch_size: int = 128) -> dict[str, Any]:
    """Time the batches of so many processes, with what a GPU leaves to them."""
    source = data.source(
        batch_size=batch_size, augmentation=data.configuration.augmentation.before_batching()
    )
    begin = time.perf_counter()
    num_timed = 20 * num_processes
    loader = BatchLoader(
        source,
        indices=range(batch_size),
        first_iteration=0,
        num_iterations=10_000,
        num_processes=num_processes,
    )
    with loader:
        batches = iter(loader)
        for _ in range(3 * num_processes):
            next(batches)
        started = time.perf_counter()
        for _ in range(num_timed):
            next(batches)
        seconds = time.perf_counter() - started
    return {
        "what": "loader",
        "num_processes": num_processes,
        "samples_per_second": round(num_timed * batch_size / seconds, 1),
        "seconds_to_start": round(started - begin, 2),
    }


class Trained:
    """A network with all that a training step needs."""

    def __init__(self, data: Data, *, batch_size: int, mode: str, device: torch.device, order: str):
        self.data, self.device, self.batch_size = data, device, batch_size
        self.mode = mode
        configuration = data.configuration
        self.objective = DiffusionObjective(configuration=configuration, labels=data.labels, seed=0)
        torch.manual_seed(0)
        num_channels = len(configuration.preprocessing.normalization)
        model = build_denoiser(configuration, num_image_channels=num_channels, labels=data.labels)
        self.model = model.to(device).to(memory_format=FORMATS[order])
        self.num_parameters = sum(each.numel() for each in self.model.parameters())
        self.ema = ExponentialMovingAverage(self.model, decay=0.999)
        self.optimizer = build_optimizer(self.model, configuration.training)
        self.trained: Any = self.model
        if mode == "compiled":
            compile_networks(self.model)
        if mode == "graphed":
            shape = (batch_size, num_channels, *configuration.patch_size)
            image = torch.zeros(shape, device=device).contiguous(memory_format=FORMATS[order])
            labels = (batch_size, self.objective.encoding.num_channels, *configuration.patch_size)
            self.trained = graphed_denoiser(
                self.model,
                image=image,
                x_t=torch.zeros(labels, device=device),
                precision=torch.bfloat16,
            )
        plan = configuration.augmentation
        is_gpu = device.type == "cuda"
        self.augmentation = BatchAugmentation(plan=plan) if is_gpu else None
        source = data.source(
            batch_size=batch_size, augmentation=plan.before_batching() if is_gpu else plan
        )
        self.batches = [load_batch(source, i, range(batch_size)) for i in range(_NUM_BATCHES)]

    def step(self, batch: Batch, iteration: int) -> None:
        """Make one optimiser step, as `TrainingLoop` does."""
        tensors = to_device(
            batch,
            self.device,
            global_size=self.batch_size,
            seed=0,
            augmentation=self.augmentation,
        )
        is_half = self.mode != "float32"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            terms = self.objective(self.trained, tensors)
        loss = sum(term.total / term.count.clamp(min=1) for term in terms.values())
        self.optimizer.zero_grad(set_to_none=True)
        assert isinstance(loss, Tensor)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.ema.update(iteration)

    def time(self, num_steps: int) -> dict[str, Any]:
        """Return samples a second, the GPU's busy share and its peak memory."""
        begin = time.perf_counter()
        self._run(_WARM_UP_STEPS)
        seconds_to_start = time.perf_counter() - begin
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, queued = self._run(num_steps)
        result = {
            "num_parameters": self.num_parameters,
            "batch_size": self.batch_size,
            "samples_per_second": round(num_steps * self.batch_size / seconds, 1),
            "milliseconds_per_step": round(1e3 * seconds / num_steps, 2),
            "milliseconds_to_queue_a_step": round(1e3 * queued / num_steps, 2),
            "seconds_to_start": round(seconds_to_start, 2),
        }
        if self.device.type == "cuda":
            result["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
            result |= busy(lambda: self._run(10))
        return result

    def _run(self, num_steps: int) -> tuple[float, float]:
        """Return seconds until the steps were done, and until they were queued."""
        synchronize(self.device)
        begin = time.perf_counter()
        for iteration, batch in enumerate(islice(cycle(self.batches), num_steps)):
            self.step(batch, iteration)
        queued = time.perf_counter() - begin
        synchronize(self.device)
        return time.perf_counter() - begin, queued

    def time_sampling(self, *, num_samples: int = 16, num_rounds: int = 3) -> dict[str, Any]:
        """Return the seconds for samples of one image, as a prediction draws them."""
        configuration = self.data.configuration
        image = torch.from_numpy(self.batches[0].images[0]).to(self.device)
        precision = "float32" if self.mode == "float32" else "bfloat16"
        self.model.eval()

        def draw() -> None:
            drawn = draw_x_0(
                [self.model],
                image,
                num_channels=self.objective.encoding.num_channels,
                sampling=configuration.sampling,
                patch_size=configuration.patch_size,
                mirror_axes=(),
                seed=0,
                case="timed",
                compute=Compute(device=self.device, precision=precision),
            )
            for _, x_0 in drawn:
                self.objective.encoding.decode(x_0[None])

        with torch.inference_mode():
            seconds = sorted(_timed(draw, self.device) for _ in range(num_rounds + 1))
        self.model.train()
        return {
            "num_samples": configuration.sampling.num_samples,
            "num_steps": configuration.sampling.num_steps,
            "seconds": round(statistics.median(seconds[:num_rounds]), 4),
        }


def busy(run: Callable[[], Any]) -> dict[str, Any]:
    """Return which share of the time of `run` the GPU computes, and its five longest kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        begin = time.perf_counter()
        run()
        seconds = time.perf_counter() - begin
    kernels = sorted(
        profiler.key_averages(), key=lambda each: each.self_device_time_total, reverse=True
    )
    total = sum(each.self_device_time_total for each in kernels)
    return {
        "busy_share": round(total / 1e6 / seconds, 3),
        "num_kernels": sum(each.count for each in kernels if each.self_device_time_total),
        "longest": {
            each.key[:160]: round(each.self_device_time_total / total, 3) for each in kernels[:12]
        },
    }


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timed(run: Callable[[], None], device: torch.device) -> float:
    synchronize(device)
    begin = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - begin


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
