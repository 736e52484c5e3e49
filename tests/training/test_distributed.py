import contextlib
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from diffunet.checkpoint import load_checkpoint
from diffunet.data.prediction_records import read_records
from diffunet.errors import InUseError
from diffunet.training.distributed import Ranks, joined_ranks
from tests.training.folds import write_preprocessed
from tests.training.run_fold import run

NUM_ITERATIONS = 4


def run_under_torchrun(root: Path, name: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    program = ["-m", "tests.training.run_fold", str(root), name, str(NUM_ITERATIONS), "0"]
    subprocess.run(
        [sys.executable, *launcher, *program],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("distributed")
    write_preprocessed(root / "preprocessed")
    run(root, "1", NUM_ITERATIONS)
    run_under_torchrun(root, "2")
    return root


def records(root: Path, name: str, kind: str) -> list[dict]:
    lines = (root / name / "fold_0" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.slow
def test_two_ranks_have_the_loss_and_gradients_of_one_process(trained):
    one, two = (records(trained, name, "training") for name in "12")
    assert [record["iteration"] for record in two] == list(range(1, NUM_ITERATIONS + 1))
    for key in ("loss", "gradient_norm"):
        assert two[0][key] == pytest.approx(one[0][key], rel=1e-5)
        assert [record[key] for record in two] == pytest.approx(
            [record[key] for record in one], rel=1e-3
        )


@pytest.mark.slow
def test_two_ranks_end_with_the_weights_of_one_process(trained):
    ours, theirs = (
        load_checkpoint(trained / name / "fold_0" / "checkpoint_final.pth", "cpu")["weights"]
        for name in "21"
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_two_ranks_validate_the_same_cases_together(trained):
    one, two = (records(trained, name, "validation") for name in "12")
    assert [record["num_cases"] for record in two] == [record["num_cases"] for record in one]
    summaries = [
        json.loads((trained / name / "fold_0" / "validation" / "summary.json").read_text())
        for name in "12"
    ]
    cases = [[each["case"] for each in summary["metric_per_case"]] for summary in summaries]
    assert cases[0] == cases[1]
    assert len(cases[0]) == 3
    assert sorted(read_records(trained / "2" / "fold_0" / "validation")) == cases[0]


def test_under_torchrun_a_process_joins_takes_its_gpu_and_leaves(monkeypatch):
    done: list[object] = []
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(dist, "get_node_local_rank", lambda: 3)
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, timeout: done.extend([backend, timeout])
    )
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append("left"))
    monkeypatch.setattr(dist, "get_rank", lambda: 3)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    with joined_ranks(torch.device("cuda")) as (ranks, device):
        assert ranks == Ranks(rank=3, num_ranks=4)
        assert device == torch.device("cuda:3")
    *joined, timeout, left = done
    assert (joined, left) == ([device, "nccl"], "left")
    assert timeout >= timedelta(hours=12)  # NCCL's ten minutes are less than some validations


def test_several_ranks_ask_the_process_group(monkeypatch):
    monkeypatch.setattr(dist, "all_reduce", lambda values: values.mul_(2))
    monkeypatch.setattr(
        dist, "all_gather_object", lambda values, value: values.__setitem__(0, "first")
    )
    monkeypatch.setattr(
        dist, "broadcast_object_list", lambda values, src: values.__setitem__(0, src)
    )
    ranks = Ranks(rank=1, num_ranks=2)
    assert not ranks.is_first
    assert ranks.sum(torch.tensor(3.0)) == 6
    assert ranks.gather("second") == ["first", "second"]
    assert ranks.of_first("mine") == 0


def test_without_torchrun_there_is_one_rank():
    with joined_ranks(torch.device("cpu")) as (ranks, device):
        assert ranks == Ranks(rank=0, num_ranks=1)
        assert device == torch.device("cpu")
    assert ranks.is_first
    assert ranks.gather("x") == ["x"]
    assert ranks.of_first(3) == 3
    assert ranks.sum(torch.tensor(2.0)) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_what_the_first_rank_refuses_is_raised_on_every_rank(rank, monkeypatch):
    refusal = InUseError("'fold_0' is in use")
    sent = []

    def broadcast(values, src):
        sent.append(values[0])
        values[0] = refusal

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)

    @contextlib.contextmanager
    def refused():
        raise refusal
        yield

    with (
        pytest.raises(InUseError),
        Ranks(rank=rank, num_ranks=2).entered_by_first(refused()),
    ):
        pytest.fail("it was refused")
    assert sent == [refusal if rank == 0 else None]
