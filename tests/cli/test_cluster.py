"""The job script of the documentation, with stand-ins for SLURM's two commands."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed

PAGE = Path(__file__).parents[2] / "documentation" / "how-to" / "run-on-a-cluster.md"
STAND_INS = {
    # SLURM signals a step, not the script: the step's process is noted here
    "srun": 'echo "$$" > "$NOTES/step"; exec "$@" --workspace "$PLACE" -device cpu -np 0',
    "scontrol": 'echo "$*" >> "$NOTES/scontrol"',
    "diffunet_train": f'exec "{sys.executable}" -m diffunet.cli.train "$@"',
}


@pytest.fixture
def job(tmp_path):
    """Return the script as a command, and its environment."""
    place = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    folder = write_preprocessed(place.preprocessed / "Dataset001_Discs")
    quick = {"num_iterations": 3, "num_validations": 0, "num_final_validation_cases": 1}
    of_dataset(plans(training=quick)).save(folder / "diffunet_plans.json")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    script = re.findall(r"```bash\n(#!/bin/bash.+?)```", PAGE.read_text(), flags=re.DOTALL)[0]
    (tmp_path / "job.sh").write_text(script)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NOTES": str(tmp_path),
        "PLACE": str(tmp_path),
        "SLURM_ARRAY_TASK_ID": "0",
        "SLURM_ARRAY_JOB_ID": "41",
    }
    return ["bash", str(tmp_path / "job.sh")], environment


def test_a_job_that_is_stopped_saves_and_asks_to_be_queued_again(job, tmp_path):
    command, environment = job
    running = subprocess.Popen(command, env=environment)
    begun = "results/Dataset001_Discs/*/fold_0/plans.resolved.json"
    while running.poll() is None and not list(tmp_path.glob(begun)):
        time.sleep(0.01)
    os.kill(int((tmp_path / "step").read_text()), signal.SIGTERM)
    assert running.wait(timeout=60) == 130
    assert (tmp_path / "scontrol").read_text() == "requeue 41_0\n"


@pytest.mark.parametrize(("code", "is_queued"), [(0, False), (2, False), (130, True)])
def test_only_a_job_that_was_stopped_is_queued_again(job, tmp_path, code, is_queued):
    command, environment = job
    (tmp_path / "bin" / "diffunet_train").write_text(f"#!/bin/bash\nexit {code}\n")
    assert subprocess.run(command, env=environment, check=False).returncode == code
    assert (tmp_path / "scontrol").exists() == is_queued
