import json
import sys
from pathlib import Path

import numpy as np
import pytest

from diffunet.cli import evaluate, plan_and_preprocess, predict, train
from diffunet.plans import ResolvedPlans
from tests.data.tiny_datasets import write_csv, write_json, write_png

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import full_size  # pyright: ignore[reportMissingImports]
import several_raters  # pyright: ignore[reportMissingImports]

SIZE = 32
COMMANDS = {
    "diffunet.cli.plan_and_preprocess": plan_and_preprocess.main,
    "diffunet.cli.train": train.main,
    "diffunet.cli.evaluate": evaluate.main,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Return a dataset of two raters, three training patients and two test patients."""
    folder = tmp_path_factory.mktemp("raw") / "Dataset001_Discs"
    patients: list[list[object]] = [["case", "patient"]]
    for patient in range(5):
        part = "Ts" if patient > 2 else "Tr"
        case = f"p{patient}"
        image = np.random.default_rng(patient).integers(1, 90, (SIZE, SIZE)).astype(np.uint8)
        for rater in range(2):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[10 : 16 + 2 * rater, 10:16] = 1
            write_png(folder / f"labels{part}" / f"{case}_r{rater:02d}.png", mask)
        write_png(folder / f"images{part}" / f"{case}_0000.png", image)
        patients.append([case, f"patient{patient}"])
    write_csv(folder / "patients.csv", patients)
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "grey"},
            "labels": {"background": 0, "disc": 1},
            "file_ending": ".png",
            "raters": True,
        },
    )
    return folder


class InThisProcess:
    """Runs a stage's command in this process; stops where a scheduler would."""

    stops_at = ""

    def __init__(self, **_: object):
        pass

    def __call__(self, name: str, command: list[str]) -> bool:
        if name == self.stops_at:
            return False
        if command[1] == "-m":
            assert not COMMANDS[command[2]](command[3:])
        else:
            assert command[1].endswith("in_parts.py")
            assert not predict.main([*command[3:], "-num_parts", "1", "-part_id", "0"])
        return True


def call(dataset: Path, workspace: Path, *more: str) -> int:
    return several_raters.main(
        [
            *(str(dataset), "--workspace", str(workspace), "-np", "0", "--device", "cpu"),
            *("--iterations", "planned=2", "p1=1", "--batch_size", "2", "--num_samples", "2"),
            *("--parts", "1", "--set", "sampling.num_steps=2", *more),
        ]
    )


@pytest.mark.slow
def test_both_recipes_are_trained_and_compared_over_several_calls(
    dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(several_raters, "StoppableCommands", InThisProcess)
    monkeypatch.setattr(InThisProcess, "stops_at", "train_p1")
    assert call(dataset, tmp_path) == full_size.EXIT_OUT_OF_TIME
    assert not (tmp_path / "table.md").exists()
    monkeypatch.setattr(InThisProcess, "stops_at", "")
    assert call(dataset, tmp_path) == 0
    assert "whole already: prepare, train_planned" in capsys.readouterr().out
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["planned", "p1", "planned - p1"]
    numbers = json.loads((tmp_path / "table.json").read_text())
    summary = json.loads((tmp_path / "predictions_p1" / "summary.json").read_text())
    expected = np.mean(
        [case["distribution"]["disc"]["ged_fully_unbiased"] for case in summary["metric_per_case"]]
    )
    assert numbers["p1"]["ged_fully_unbiased"]["mean"] == pytest.approx(expected)
    folder = tmp_path / "p1/results/Dataset001_Discs/diffusion__diffunet_plans__2d/fold_all"
    network = ResolvedPlans.load(folder / "plans.resolved.json").configuration.network
    assert network.conditioning == "concatenated"
    assert network.channels == (32, 32, 64, 128)


def test_a_workspace_is_not_gone_on_with_under_other_arguments(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(several_raters, "StoppableCommands", InThisProcess)
    monkeypatch.setattr(InThisProcess, "stops_at", "prepare")
    assert call(dataset, tmp_path) == full_size.EXIT_OUT_OF_TIME
    with pytest.raises(SystemExit, match="other arguments"):
        call(dataset, tmp_path, "--learning_rate", "0.1")
