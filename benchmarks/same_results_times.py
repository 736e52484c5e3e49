"""How fast two trees are, side by side, for `same_results.py --times`.

Each tree has a process of its own that waits for its turn; the order of turns alternates. Seconds
are those that the processor worked, which other programs of the machine disturb less than the
clock. The networks are tiny, so that what is not arithmetic counts most.
"""

import contextlib
import importlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from same_results_data import RATERS, TAGS, write_datasets
from same_results_road import SAMPLES, WEAK, small

COMMANDS = ("plan_and_preprocess", "train", "predict", "evaluate", "pseudo_label")
FEW_STEPS, MANY_STEPS = 5, 45
PLACE = ["--workspace", "ws", "-device", "cpu"]


def measure(old: Path, new: Path, *, num_rounds: int) -> dict[str, Any]:
    """Return and print, by what is measured, seconds of both trees and their ratio.

    Args:
        old, new: folders that hold the package `diffunet`.
        num_rounds: each measures both trees once.
    """
    trees = [old.resolve(), new.resolve()]
    measured: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(tree, Path(name) / str(number)))
            for number, tree in enumerate(trees)
        ]
        jobs: dict[str, list[Callable[[], float]]] = {
            f"start-up of {command}": [_start_up(tree, command) for tree in trees]
            for command in COMMANDS
        }
        jobs |= {job: [worker.does(job) for worker in workers] for job in JOBS}
        for round_number in range(-1, num_rounds):
            for job, (of_old, of_new) in jobs.items():
                if round_number % 2:
                    seconds = (of_old(), of_new())
                else:
                    second = of_new()
                    seconds = (of_old(), second)
                if round_number >= 0:  # the first fills caches
                    measured.setdefault(job, []).append(seconds)
    content = {job: summary(rows) for job, rows in measured.items()}
    print(f"{'':32s} {'old':>9s} {'new':>9s}   new / old, with the 95 % interval of the median")
    for job, row in content.items():
        ratio = "{median:.3f} [{lower:.3f}, {upper:.3f}]".format(**row["ratio"])
        print(f"{job:32s} {row['old_s']:9.4f} {row['new_s']:9.4f}   {ratio}")
    return content


def summary(rows: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return medians of (old, new) seconds, and the median of their ratios with its interval."""
    old, new = np.array(rows).T
    ratios = new / old
    draws = np.random.default_rng(0).choice(ratios, (4000, len(ratios)))
    lower, upper = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    ratio = {"median": np.median(ratios), "lower": lower, "upper": upper}
    return {
        "old_s": float(np.median(old)),
        "new_s": float(np.median(new)),
        "ratio": {name: float(value) for name, value in ratio.items()},
        "rounds": [list(row) for row in rows],
    }


class Worker:
    """A process with the package of one tree, which measures one job at a time."""

    def __init__(self, tree: Path, folder: Path):
        write_datasets(folder / "ws")
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            env=_environment(tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self._ask("package")
        if Path(str(found)).resolve() != tree / "diffunet":
            raise SystemExit(f"'{tree}' holds no package diffunet; found '{found}' instead")

    def does(self, job: str) -> Callable[[], float]:
        """Return what measures a job, in seconds."""
        return lambda: float(self._ask(job))

    def _ask(self, job: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(job, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"'{job}' failed, as is written above")
        return json.loads(answer)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def _environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}


def _start_up(tree: Path, command: str) -> Callable[[], float]:
    """Return what measures `-h` of a command, in seconds."""
    words = [sys.executable, "-m", f"diffunet.cli.{command}", "-h"]

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, env=_environment(tree), cwd=tree, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return run


def _run(command: str, *words: str) -> float:
    """Run a command in this process and return seconds of the processor."""
    said = io.StringIO()
    main = importlib.import_module(f"diffunet.cli.{command}").main
    start = time.process_time()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(list(words))
    seconds = time.process_time() - start
    if code:
        raise SystemExit(said.getvalue())
    return seconds


def _train(method: str, dataset: str, settings: Sequence[str]) -> float:
    """Return the seconds of a train step: many steps less few."""
    seconds = []
    for num_steps in (FEW_STEPS, MANY_STEPS):
        shutil.rmtree(f"ws/results/{dataset}", ignore_errors=True)
        words = [dataset, "all", "-m", method, *PLACE, "-np", "0", "--batch_size", "4"]
        fixed = ["training.num_validations=0", "training.num_warmup_iterations=1"]
        seconds.append(
            _run("train", *words, "--iterations", str(num_steps), "--set", *settings, *fixed)
        )
    return (seconds[1] - seconds[0]) / (MANY_STEPS - FEW_STEPS)


def _predict(method: str, dataset: str, *words: str) -> float:
    """Return the seconds of a prediction by the model that was trained last."""
    shutil.rmtree("out", ignore_errors=True)
    images = f"ws/raw/{dataset}/imagesTs"
    return _run("predict", "-i", images, "-o", "out", "-d", dataset, "-m", method, *PLACE, *words)


KNOWN = ["--image_labels", f"ws/raw/{TAGS}/known.csv", "--saliency"]
SMALL = [*small(2), *SAMPLES]
JOBS: dict[str, Callable[[], float]] = {
    "train step, supervised": lambda: _train("supervised", RATERS, SMALL),
    "prediction, supervised": lambda: _predict("supervised", RATERS),
    "train step, diffusion": lambda: _train("diffusion", RATERS, SMALL),
    "prediction, diffusion": lambda: _predict("diffusion", RATERS, "--num_samples", "8"),
    "train step, classifier": lambda: _train("classifier", TAGS, WEAK),
    "prediction, layer_cam": lambda: _predict("classifier", TAGS, *KNOWN, "layer_cam"),
    "train step, cdm": lambda: _train("cdm", TAGS, WEAK),
    "prediction, cg_cdm": lambda: _predict("cdm", TAGS, *KNOWN, "cg_cdm"),
}


def work() -> None:
    """Answer with the seconds of each job that is asked for, until the input ends."""
    import diffunet

    for dataset in (RATERS, TAGS):
        _run("plan_and_preprocess", "-d", dataset, "-np", "0", "--workspace", "ws")
    for line in sys.stdin:
        job = line.strip()
        answer = str(Path(diffunet.__file__).parent) if job == "package" else JOBS[job]()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    work()
