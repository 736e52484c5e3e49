"""Trains on a miniature dataset, as a program: `python -m tests.training.run_fold ...`."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from diffunet.parallel import Progress, without_progress
from diffunet.training.fold import FoldOptions, FoldResult, train_fold
from diffunet.training.reporting import Pictures
from tests.training.folds import plans
from tests.wsss.weak_folds import offer_few_settings, weak_plans

WEAK = ("cdm", "classifier")


def run(
    root: Path,
    name: str,
    num_iterations: int,
    *,
    method: str = "diffusion",
    num_processes: int = 0,
    continues: bool = False,
    progress: Progress = without_progress,
) -> FoldResult:
    """Train fold 0 of `root/preprocessed` into `root/NAME/fold_0`, saving at every iteration.

    What the program does, in this process: to compare with it costs no second import of torch.
    """
    make_plans = weak_plans if method in WEAK else plans
    num_threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "update", lambda self: None)  # they take a second each
        offer_few_settings(patch)
        torch.set_num_threads(1)
        try:
            return train_fold(
                make_plans(method=method, training={"num_iterations": num_iterations}),
                preprocessed_folder=root / "preprocessed",
                fold_folder=root / name / "fold_0",
                fold="0",
                seed=0,
                device=torch.device("cpu"),
                options=FoldOptions(
                    num_processes=num_processes,
                    continues=continues,
                    checkpoint_interval_s=0,
                    validation_time_share=1e9,
                ),
                progress=progress,
            )
        finally:
            torch.set_num_threads(num_threads)


def slowly(*, hold: int) -> Progress:
    """Return what gives others the time to end this process between two iterations.

    Args:
        hold: the iteration that waits for that, so that a busy machine cannot train past it.
    """

    def progress(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        for number, item in enumerate(items, 1):
            sys.stdout.write("iteration\n")
            sys.stdout.flush()
            time.sleep(60 if number == hold else 0.05)
            yield item

    return progress


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("name")
    parser.add_argument("num_iterations", type=int)
    parser.add_argument("num_processes", type=int)
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--method", default="diffusion")
    given = vars(parser.parse_args())
    run(progress=slowly(hold=given.pop("hold")), **given)
