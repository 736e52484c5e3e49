"""Compare learning rates and lengths of weight averages by validation scores.

    python benchmarks/learning_rates.py --dataset Dataset001_LIDC --out lidc.jsonl \
        --learning_rates 1e-4 3e-4 1e-3 3e-3 --iterations 500 2000 8000 --seeds 0 1 2

The dataset is preprocessed; its folder is found as by the commands. A training keeps several
averages of its weights at once, so their lengths cost no trainings of their own. All trainings of
a seed see the same patches and the same noise, and validation draws every case from the same
noise. Only validation cases are scored. Each training adds a line per average to the file; one
that is there is not trained again.

Trainings of 150 iterations tell nothing: the order of the rates differed between three datasets. At
800 iterations with small networks it was the same in all three (documentation/development/log.md).
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import BatchLoader
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces
from diffunet.methods import METHODS
from diffunet.networks.memory_order import channels_last
from diffunet.plans import Plans, ResolvedPlans
from diffunet.randomness import derive_seed
from diffunet.training.distributed import Ranks
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.fold_data import FoldData, open_fold
from diffunet.training.loop import training_precision
from diffunet.training.objective import loss_of
from diffunet.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from diffunet.training.reporting import Pictures
from diffunet.training.tensors import to_device
from diffunet.workspace import Workspace

WARMUP_SHARE = 0.05


def plans_of(
    folder: Path, given: argparse.Namespace, *, learning_rate: float, iterations: int
) -> ResolvedPlans:
    """Return the plans of one training."""
    settings = [
        f"training.num_iterations={iterations}",
        f"training.learning_rate={learning_rate}",
        f"training.num_warmup_iterations={math.ceil(WARMUP_SHARE * iterations)}",
        f"training.num_validation_cases={given.cases}",
        *given.settings,
    ]
    plans = Plans.load(folder / "diffunet_plans.json")
    return plans.resolve(given.configuration, method=given.method, settings=settings)


def trained(
    data: FoldData,
    *,
    seed: int,
    lengths: Sequence[float],
    num_processes: int,
    device: torch.device,
) -> tuple[dict[float, nn.Module], float]:
    """Train once; returns the average of each length, and the mean loss of the last fifth.

    Args:
        lengths: of averages, as shares of the training; 0 for the weights themselves.
    """
    method, configuration = METHODS[data.plans.method].training(), data.plans.configuration
    plan = configuration.training
    objective = method.objective(configuration, labels=data.labels, seed=seed)
    torch.manual_seed(derive_seed(seed, "weights"))
    model = data.build_model().to(device)
    model = channels_last(model, dimensions=configuration.dimensions).train()
    optimizer = build_optimizer(model, plan)
    averages = {
        length: ExponentialMovingAverage(
            model, decay=max(0.0, 1 - 1 / (length * plan.num_iterations))
        )
        for length in lengths
        if length
    }
    is_bfloat16 = training_precision(device, plan) == "bfloat16"
    losses = []
    for iteration, batch in enumerate(_batches(data, seed=seed, num_processes=num_processes)):
        set_learning_rate(optimizer, learning_rate_at(iteration, plan))
        augmentation = None
        if device.type == "cuda":
            augmentation = BatchAugmentation(plan=method.augmentation(configuration))
        tensors = to_device(
            batch, device, global_size=plan.batch_size, seed=seed, augmentation=augmentation
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bfloat16):
            terms = objective(model, tensors)
        counts = torch.stack([term.count for term in terms.values()]).clamp(min=1)
        loss = loss_of(terms, counts, num_ranks=1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.gradient_clip_norm)
        optimizer.step()
        for average in averages.values():
            average.update(iteration)
        losses.append(loss.detach())
    models: dict[float, nn.Module] = {length: each.model for length, each in averages.items()}
    if 0 in lengths:
        models[0] = model.eval()
    return models, float(torch.stack(losses[-max(1, len(losses) // 5) :]).mean())


def _batches(data: FoldData, *, seed: int, num_processes: int) -> Iterator[Any]:
    configuration = data.plans.configuration
    plan = configuration.training
    source = PatchSampler(
        PatchPlaces(
            data.images,
            data.label_maps,
            cases=data.split.train,
            configuration=configuration,
            batch_size=plan.batch_size,
            seed=seed,
        )
    )
    loader = BatchLoader(
        source,
        indices=tuple(range(plan.batch_size)),
        first_iteration=0,
        num_iterations=plan.num_iterations,
        num_processes=num_processes,
    )
    with loader:
        yield from loader


def rows_of(
    data: FoldData,
    *,
    seed: int,
    lengths: Sequence[float],
    num_processes: int,
    device: torch.device,
    scratch: Path,
) -> Iterator[dict[str, Any]]:
    """Train once and yield a row for each average."""
    plan = data.plans.configuration.training
    begin = time.monotonic()
    models, loss = trained(
        data, seed=seed, lengths=lengths, num_processes=num_processes, device=device
    )
    seconds = time.monotonic() - begin
    method = METHODS[data.plans.method].training()
    validation = method.sampled_validation(data, pictures=Pictures(scratch))
    if validation is None:
        raise SystemExit("the fold has no validation cases")
    for length, model in models.items():
        scores = validation.run(
            model,
            budget_s=math.inf,
            seconds_per_round=None,
            ranks=Ranks(),
            should_stop=lambda: False,
        )
        if scores is None:
            raise SystemExit("the validation was stopped")
        yield {
            "learning_rate": plan.learning_rate,
            "iterations": plan.num_iterations,
            "batch_size": plan.batch_size,
            "seed": seed,
            "average": length,
            "criterion": float(np.mean(scores.criterion)),
            **scores.values,
            "num_cases": len(scores.criterion),
            "loss": loss,
            "seconds": round(seconds, 1),
            "device": str(device),
        }


def main() -> None:
    """Run what is not there yet."""
    given = parser().parse_args()
    workspace = Workspace.resolve(folder=None, environment=os.environ, current_folder=Path.cwd())
    folder = workspace.preprocessed / given.dataset
    device = torch.device(given.device)
    rows = []
    if given.out.exists():
        rows = [json.loads(line) for line in given.out.read_text().splitlines()]
    done = {(row["learning_rate"], row["iterations"], row["seed"]) for row in rows}
    wanted = [
        (rate, iterations, seed)
        for seed in given.seeds
        for iterations in given.iterations
        for rate in given.learning_rates
    ]
    for rate, iterations, seed in wanted:
        if (rate, iterations, seed) in done:
            continue
        plans = plans_of(folder, given, learning_rate=rate, iterations=iterations)
        found = rows_of(
            open_fold(plans, folder, fold="0", device=device),
            seed=seed,
            lengths=given.averages,
            num_processes=given.num_processes,
            device=device,
            scratch=given.out.parent,
        )
        lines = [json.dumps(row) + "\n" for row in found]
        with given.out.open("a") as file:
            file.writelines(lines)
        print(*lines, sep="", flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description="Compare learning rates and weight averages.")
    add = made.add_argument
    add("--dataset", required=True)
    add("--out", type=Path, required=True, help="lines are added")
    add("--method", default="diffusion", choices=("diffusion", "supervised"))
    add("--configuration")
    add("--learning_rates", type=float, nargs="+", required=True)
    add("--averages", type=float, nargs="+", default=[0, 0.02, 0.05, 0.1, 0.2])
    add("--iterations", type=int, nargs="+", required=True)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--cases", type=int, default=40, help="validation cases that are scored")
    add("--num_processes", type=int, default=0)
    add("--device", default="cpu")
    add("--set", dest="settings", nargs="+", default=[])
    return made


if __name__ == "__main__":
    main()
