import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch

from diffunet.checkpoint import load_checkpoint
from tests.processes import assert_nothing_runs, start_group
from tests.training.folds import write_preprocessed
from tests.training.run_fold import run

NUM_ITERATIONS = 12


def run_until(root: Path, name: str, *, iteration: int, number: int, num_processes: int) -> int:
    """Send signal `number` when `iteration` is about to be trained; returns the exit code.

    All but SIGKILL go to the whole process group, as schedulers send them.
    """
    words = [str(root), name, str(NUM_ITERATIONS), str(num_processes)]
    hold = ["--hold", str(min(iteration + 2, NUM_ITERATIONS))]
    program = ["-m", "tests.training.run_fold", *words, *hold]
    with start_group(*program, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        assert process.stdout is not None
        for _ in range(iteration):
            process.stdout.readline()
        (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
        process.communicate(timeout=30)  # one, on a machine that has nothing else to do
    assert_nothing_runs(process.pid)
    return process.returncode


def records(root: Path, name: str) -> list[dict]:
    """Return what was measured, without the records of where a training went on."""
    lines = (root / name / "fold_0" / "metrics.jsonl").read_text().splitlines()
    varying = ("seconds", "samples_per_second")
    return [
        {key: value for key, value in record.items() if key not in varying}
        for record in map(json.loads, lines)
        if record["kind"] != "start"
    ]


def weights(root: Path, name: str, checkpoint: str = "final") -> dict[str, torch.Tensor]:
    path = root / name / "fold_0" / f"checkpoint_{checkpoint}.pth"
    return load_checkpoint(path, "cpu")["weights"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("continuation")
    write_preprocessed(root / "preprocessed")
    run(root, "unbroken", NUM_ITERATIONS)
    return root


def assert_same(root: Path, name: str) -> None:
    assert records(root, name) == records(root, "unbroken")
    for checkpoint in ("final", "best", "latest"):
        expected, found = weights(root, "unbroken", checkpoint), weights(root, name, checkpoint)
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [0, 2])
def test_a_killed_training_continues_to_the_same_weights_and_records(unbroken, num_processes):
    name = f"killed_{num_processes}"
    moment = random.SystemRandom().randrange(2, NUM_ITERATIONS)
    code = run_until(
        unbroken, name, iteration=moment, number=signal.SIGKILL, num_processes=num_processes
    )
    assert code == -signal.SIGKILL
    assert not (unbroken / name / "fold_0" / "checkpoint_final.pth").exists()
    run(unbroken, name, NUM_ITERATIONS, num_processes=num_processes, continues=True)
    assert_same(unbroken, name)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "num_processes"), [(signal.SIGTERM, 2), (signal.SIGHUP, 0)])
def test_an_interrupted_training_saves_ends_soon_and_continues_to_the_same_weights(
    unbroken, number, num_processes
):
    name = number.name
    code = run_until(unbroken, name, iteration=5, number=number, num_processes=num_processes)
    assert code == 0
    stopped = unbroken / name / "fold_0" / "checkpoint_latest.pth"
    assert 4 <= load_checkpoint(stopped, "cpu")["iteration"] <= 6
    run(unbroken, name, NUM_ITERATIONS, continues=True)
    assert_same(unbroken, name)
