"""Kill preprocessing, training and prediction at random moments, continue, compare.

    python benchmarks/kill_and_continue.py [--trials 10] [--seed 0]

Every trial starts anew, is killed (SIGKILL to the whole process group) at a random moment, killed
again, and then left to finish with the options a user would continue with. The files must equal
those of an unbroken run byte for byte; of a checkpoint, every tensor bit for bit.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from diffunet.data.synthetic import SceneFamily
from diffunet.data.synthetic_dataset import write_ambiguous_dataset

DATASET = "Dataset001_Kill"
TINY = ["network.channels=[8,8,8]", "network.image_channels=[8,8,16]", "training.num_validations=2"]


class Stage:
    """A command, how it is continued, and what it leaves."""

    def __init__(self, name: str, arguments: list[str], again: list[str], results: str):
        self.name, self.arguments, self.again, self.results = name, arguments, again, results

    def command(self, root: Path, *, is_continued: bool) -> list[str]:
        """Return the command line."""
        arguments = [text.replace("ROOT", str(root)) for text in self.arguments]
        script = str(Path(sys.executable).with_name(f"diffunet_{self.name}"))
        return [script, *arguments, *(self.again if is_continued else [])]


STAGES = [
    Stage(
        "preprocess",
        ["-d", "1", "-np", "2", "--workspace", "ROOT/ws"],
        [],
        f"ws/preprocessed/{DATASET}/2d",
    ),
    Stage(
        "train",
        [
            "1",
            "0",
            "-np",
            "1",
            "-device",
            "cpu",
            "--iterations",
            "60",
            "--batch_size",
            "4",
            "--workspace",
            "ROOT/ws",
            "--set",
            *TINY,
        ],
        ["--c"],
        "ws/results",
    ),
    Stage(
        "predict",
        f"-i ROOT/ws/raw/{DATASET}/imagesTs -o ROOT/out -d 1 -device cpu "
        "--workspace ROOT/ws --save_samples --save_probabilities".split(),
        ["--continue_prediction"],
        "out",
    ),
]


def main() -> None:
    """Run all stages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    moments = random.Random(given.seed)  # noqa: S311  # moments to kill at, no secrets
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        prepare(whole)
        for stage in STAGES:
            begin = time.monotonic()
            run(stage.command(whole, is_continued=False))
            duration = time.monotonic() - begin
            expected = contents(whole / stage.results)
            kills = sum(
                trial(stage, Path(folder), whole, expected, duration=duration, moments=moments)
                for _ in range(given.trials)
            )
            print(
                f"{stage.name}: {given.trials} trials, {kills} kills within {duration:.1f} s, "
                f"{len(expected)} results equal each time",
                flush=True,
            )


def prepare(root: Path) -> None:
    """Write the dataset, and plans for it."""
    raw = root / "ws" / "raw" / DATASET
    write_ambiguous_dataset(raw, num_training=400, num_test=12, family=SceneFamily(size=(32, 32)))
    plan = Path(sys.executable).with_name("diffunet_plan_and_preprocess")
    run([str(plan), "-d", "1", "-np", "2", "--no_pp", "--workspace", str(root / "ws")])


def trial(
    stage: Stage,
    folder: Path,
    whole: Path,
    expected: dict[str, str],
    *,
    duration: float,
    moments: random.Random,
) -> int:
    """Kill a stage twice, let it finish, compare; return how often it was still running."""
    root = folder / "broken"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, root)
    shutil.rmtree(root / stage.results)
    kills = 0
    for attempt in range(2):
        process = subprocess.Popen(
            stage.command(root, is_continued=attempt > 0),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(0.1, 0.9) * duration)
        kills += process.poll() is None
        with_children = os.getpgid(process.pid) if process.poll() is None else None
        if with_children is not None:
            os.killpg(with_children, signal.SIGKILL)
        process.wait()
    run(stage.command(root, is_continued=True))
    found = contents(root / stage.results)
    different = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if different:
        raise SystemExit(f"{stage.name}: {', '.join(different)} differ from an unbroken run")
    return kills


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of each result; clocks, logs, pictures and paths are none."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "checkpoint_final.pth":
            digests[name] = digest_of_tensors(path)
        elif path.is_file() and is_result(path):
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def is_result(path: Path) -> bool:
    """Whether a file must be the same in every run."""
    return path.suffix in (".png", ".blocks", ".shard") and path.name not in (
        "progress.png",
        "samples.png",
    )


def digest_of_tensors(path: Path) -> str:
    """Return a digest of every tensor of a checkpoint."""
    digest = hashlib.sha256()
    pending: list[tuple[str, object]] = [("", torch.load(path, weights_only=True))]
    while pending:
        name, value = pending.pop()
        if isinstance(value, torch.Tensor):
            digest.update(
                name.encode()
                + value.cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
        elif isinstance(value, dict):
            pending += [(f"{name}/{key}", each) for key, each in sorted(value.items(), key=str)]
    return digest.hexdigest()


def run(command: list[str]) -> None:
    """Run to the end, and show what went wrong if it did."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


if __name__ == "__main__":
    main()
