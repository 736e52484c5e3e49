"""Trains on a miniature dataset, as a program: `python -m tests.training.run_fold ...`."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from diffunet.methods import METHODS
from diffunet.training.fold import train_fold
from diffunet.training.reporting import Pictures
from tests.training.folds import plans
from tests.wsss.weak_folds import weak_plans


def slowly(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
    """Give others the time to kill this process between two iterations."""
    for item in items:
        sys.stdout.write("iteration\n")
        sys.stdout.flush()
        time.sleep(0.05)
        yield item


def main(given: argparse.Namespace) -> None:
    """Train fold 0 of `root/preprocessed` into `root/NAME/fold_0`, saving at every iteration."""
    torch.set_num_threads(1)
    Pictures.update = lambda self: None  # type: ignore[method-assign]  # they take a second each
    make_plans = weak_plans if given.method in ("cdm", "classifier") else plans
    train_fold(
        make_plans(method=given.method, training={"num_iterations": given.num_iterations}),
        method=METHODS[given.method](),
        preprocessed_folder=given.root / "preprocessed",
        fold_folder=given.root / given.name / "fold_0",
        fold="0",
        seed=0,
        device=torch.device("cpu"),
        num_processes=given.num_processes,
        continues=given.continues,
        checkpoint_interval_s=0,
        validation_time_share=1e9,
        progress=slowly,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("name")
    parser.add_argument("num_iterations", type=int)
    parser.add_argument("num_processes", type=int)
    parser.add_argument("--c", dest="continues", action="store_true")
    parser.add_argument("--method", default="diffusion")
    main(parser.parse_args())
