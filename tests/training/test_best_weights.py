import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffunet.checkpoint import load_checkpoint
from diffunet.plans import SamplingPlan
from diffunet.training import validation
from diffunet.training.fold import FoldResult, train_fold
from diffunet.training.reporting import Pictures
from diffunet.training.segmentation import DrawnMaskScorer
from diffunet.training.state import TrainingState
from tests.training.folds import plans, with_options, write_preprocessed

NUM_ITERATIONS = 6


class Killed(BaseException):
    """Ends a training at once: nothing in the product catches it."""


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(Pictures, "update", lambda self: None)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with preprocessed data and an unbroken training of three validations."""
    root = tmp_path_factory.mktemp("best")
    write_preprocessed(root / "preprocessed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "update", lambda self: None)
        assert train(root, "unbroken").is_finished
    return root


def train(root: Path, name: str, *, training: dict | None = None, **settings) -> FoldResult:
    resolved = plans(
        training={
            "num_iterations": NUM_ITERATIONS,
            "num_validations": 3,
            "num_final_validation_cases": 1,
            **(training or {}),
        },
        sampling=SamplingPlan(num_steps=2, num_samples=4),
    )
    torch.set_num_threads(1)
    return train_fold(
        resolved,
        **with_options(
            **{
                "preprocessed_folder": root / "preprocessed",
                "fold_folder": root / name / "fold_0",
                "fold": "0",
                "seed": 0,
                "device": torch.device("cpu"),
                "num_processes": 0,
                "validation_time_share": 1e9,
                **settings,
            }
        ),
    )


def validations(root: Path, name: str) -> list[dict]:
    lines = (root / name / "fold_0" / "metrics.jsonl").read_text().splitlines()
    found = [record for record in map(json.loads, lines) if record["kind"] == "validation"]
    return [{key: value for key, value in each.items() if key != "seconds"} for each in found]


def assert_as_unbroken(root: Path, name: str) -> None:
    assert validations(root, name) == validations(root, "unbroken")
    for checkpoint in ("best", "final"):
        one, other = (
            load_checkpoint(root / each / "fold_0" / f"checkpoint_{checkpoint}.pth", "cpu")
            for each in (name, "unbroken")
        )
        assert one["iteration"] == other["iteration"]
        assert all(
            torch.equal(one["weights"][key], other["weights"][key]) for key in one["weights"]
        )


def killing(method, *, call: int):
    """Return `method`, which kills the training instead of its `call`-th call."""
    calls = []

    def killed(self, *arguments, **settings):
        calls.append(arguments)
        if len(calls) == call:
            raise Killed
        return method(self, *arguments, **settings)

    return killed


MOMENTS = {
    "the first validation": (DrawnMaskScorer, "score", 1),
    "the last validation": (DrawnMaskScorer, "score", 6),
    "noting the first": (TrainingState, "save", 1),
    "noting the last": (TrainingState, "save", 3),
    "writing the first best": (TrainingState, "save_weights", 1),
    "writing the second best": (TrainingState, "save_weights", 2),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_or_after_a_validation_it_continues_to_the_best_weights_of_an_unbroken_one(
    root, monkeypatch, moment
):
    owner, method, call = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, killing(getattr(owner, method), call=call))
        with pytest.raises(Killed):
            train(root, moment)
    assert train(root, moment, continues=True).is_finished
    assert_as_unbroken(root, moment)


def test_asked_to_stop_in_its_last_validation_a_training_is_not_finished(root, monkeypatch):
    draw, calls = DrawnMaskScorer.score, []

    def asked_to_stop(self, *arguments, **settings):
        calls.append(arguments)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(DrawnMaskScorer, "score", asked_to_stop)
        stopped = train(root, "stopped")
    assert (stopped.is_finished, stopped.iteration) == (False, NUM_ITERATIONS)
    assert not (root / "stopped" / "fold_0" / "checkpoint_final.pth").exists()
    assert train(root, "stopped", continues=True).is_finished
    assert_as_unbroken(root, "stopped")


def test_every_validation_scores_as_many_cases_as_the_first_had_time_for(root, monkeypatch):
    """By a clock that says that a case takes a second, the first has time for one of two.

    It takes more than a tenth of the time even so: of the others the last alone is made. There is
    time enough when the training is continued, but what is compared stays.
    """
    seconds = itertools.count()
    with monkeypatch.context() as patch:
        clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
        patch.setattr(validation, "time", clock)
        patch.setattr(TrainingState, "save", killing(TrainingState.save, call=2))
        with pytest.raises(Killed):
            train(root, "timed", validation_time_share=1e-9)
    train(root, "timed", continues=True)
    found = [(each["iteration"], each["num_cases"]) for each in validations(root, "timed")]
    assert found == [(2, 1), (NUM_ITERATIONS, 1)]


@pytest.mark.slow
def test_a_training_killed_with_its_last_validation_continues_as_an_unbroken_one(root):
    """The real thing: a process that ends by SIGKILL where the sixth case is drawn."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from diffunet.training.segmentation import DrawnMaskScorer\n"
        "from diffunet.training.reporting import Pictures\n"
        "from tests.training.test_best_weights import train\n"
        "Pictures.update = lambda self: None\n"
        "draw, calls = DrawnMaskScorer.score, []\n"
        "def killed(self, *arguments, **settings):\n"
        "    calls.append(arguments)\n"
        "    if len(calls) == 6:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return draw(self, *arguments, **settings)\n"
        "DrawnMaskScorer.score = killed\n"
        "train(Path(sys.argv[1]), 'killed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert train(root, "killed", continues=True).is_finished
    assert_as_unbroken(root, "killed")
