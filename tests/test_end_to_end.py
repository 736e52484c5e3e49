"""The whole road through the commands, as a user walks it."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from diffunet.cli import demo, evaluate, plan_and_preprocess, predict, train
from diffunet.data.image_io import read_label_map, read_map
from diffunet.data.synthetic import SceneFamily
from diffunet.data.synthetic_dataset import write_ambiguous_dataset
from diffunet.jsonio import read_json

ROOT = Path(__file__).parents[1]
DATASET = "Dataset001_NAME"
TINY = ["network.channels=[8,8]", "network.image_channels=[8,16]", "training.num_validations=1"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return a workspace whose dataset went through all commands, two iterations of training."""
    folder = tmp_path_factory.mktemp("road")
    raw = folder / "diffunet_workspace" / "raw" / DATASET
    write_ambiguous_dataset(
        raw, num_training=12, num_test=3, num_raters=3, family=SceneFamily(size=(24, 24))
    )
    place = ["--workspace", str(folder / "diffunet_workspace")]
    assert plan_and_preprocess.main(["-d", "1", "-np", "0", *place]) == 0
    road = ["1", "0", "--iterations", "2", "--batch_size", "2", "-np", "0", "-device", "cpu"]
    assert train.main([*road, "--set", *TINY, *place]) == 0
    assert train.main([*road, "-m", "supervised", "--set", *TINY, *place]) == 0
    out = ["-i", str(raw / "imagesTs"), "-o", str(folder / "predictions"), "-device", "cpu"]
    drawn = ["--num_samples", "3", "--num_steps", "2", "--save_samples", "--save_probabilities"]
    assert predict.main([*out, "-d", "1", *drawn, *place]) == 0
    reference = [str(raw / "labelsTs"), str(folder / "predictions"), "-np", "0"]
    assert evaluate.main(reference) == 0
    return folder


def test_planning_leaves_fingerprint_plans_and_splits(workspace):
    folder = workspace / "diffunet_workspace" / "preprocessed" / DATASET
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "dataset.json",
        "dataset_fingerprint.json",
        "diffunet_plans.json",
        "splits_final.json",
        "2d",
    }


def test_training_leaves_what_a_user_looks_for(workspace):
    model = workspace / "diffunet_workspace/results" / DATASET / "diffusion__diffunet_plans__2d"
    fold = model / "fold_0"
    assert (model / "dataset.json").is_file()
    for name in ("plans.resolved.json", "checkpoint_final.pth", "metrics.jsonl", "log.txt"):
        assert (fold / name).is_file(), name
    for name in ("progress.png", "samples.png"):
        assert (fold / name).read_bytes().startswith(b"\x89PNG"), name
    assert read_json(fold / "validation" / "summary.json")["distribution"]["num_cases"] > 0
    assert "Final validation of fold_0" in (fold / "report.html").read_text("utf-8")


def test_prediction_leaves_masks_maps_samples_and_volumes(workspace):
    folder = workspace / "predictions"
    records = read_json(folder / "predictions.json")
    for case in ("synthetic0012", "synthetic0013", "synthetic0014"):
        mask, geometry = read_label_map(folder / f"{case}.png")
        samples = [read_label_map(folder / f"samples/{case}_s{k:02d}.png")[0] for k in range(3)]
        votes = np.sum(samples, axis=0)
        assert geometry.shape == (24, 24)
        assert np.array_equal(mask, votes > 1.5)
        probability = read_map(folder / f"{case}_probability.png")[0]
        assert np.allclose(probability, votes / 3, atol=1e-4)
        assert read_map(folder / f"{case}_uncertainty.png")[0].max() <= 1
        assert case in str(records)
    page = (folder / "report.html").read_text("utf-8")
    assert page.count('class="viewer"') == 3
    assert "--image:url(" in page


def test_evaluation_puts_the_trivial_answers_beside_the_scores(workspace):
    block = read_json(workspace / "predictions" / "summary.json")["distribution"]
    assert block["num_cases"] == 3
    assert set(block["mean"]["scores"]) >= {"ged", "hm_iou", "D_max"}
    assert len(block["mean"]["trivial_answers"]) == 4


def test_the_same_seed_draws_the_same_samples_without_a_workspace(workspace, tmp_path):
    model = workspace / "diffunet_workspace/results" / DATASET / "diffusion__diffunet_plans__2d"
    raw = workspace / "diffunet_workspace" / "raw" / DATASET
    done = predict.main(
        [
            *["-i", str(raw / "imagesTs"), "-o", str(tmp_path / "again"), "--model", str(model)],
            *["--num_samples", "3", "--num_steps", "2", "--save_samples", "-device", "cpu"],
            "--no_report",
        ]
    )
    assert done == 0
    assert not (tmp_path / "again" / "report.html").exists()
    assert not (tmp_path / "again" / "pictures").exists()
    for path in sorted((workspace / "predictions" / "samples").iterdir()):
        again = tmp_path / "again" / "samples" / path.name
        assert np.array_equal(read_label_map(path)[0], read_label_map(again)[0])


def test_one_file_in_gives_one_file_out(workspace, tmp_path):
    model = workspace / "diffunet_workspace/results" / DATASET / "supervised__diffunet_plans__2d"
    image = workspace / f"diffunet_workspace/raw/{DATASET}/imagesTs/synthetic0012_0000.png"
    out = tmp_path / "mask.png"
    assert predict.main(["-i", str(image), "-o", str(out), "--model", str(model)]) == 0
    assert read_label_map(out)[1].shape == (24, 24)


@pytest.mark.parametrize(
    ("main", "arguments", "fragments"),
    [
        (train.main, ["1", "7"], ["fold", "7"]),
        (train.main, ["9", "0"], ["no dataset '9'", DATASET]),
        (train.main, ["1", "0", "-c", "4d"], ["no configuration '4d'", "2d"]),
        (train.main, ["1", "0", "-p", "mine"], ["no plans 'mine'", "diffunet_plans"]),
        (train.main, ["1", "1", "--set", "diffusion.b=1"], ["no field 'b'", "input_scale"]),
        (train.main, ["1", "1", "-device", "tpu"], ["-device tpu", "cpu"]),
        (train.main, ["1", "0"], ["fold_0", "--c"]),
    ],
)
def test_a_mistake_gives_one_message_and_exit_code_2(workspace, capsys, main, arguments, fragments):
    place = ["--workspace", str(workspace / "diffunet_workspace")]
    assert main([*arguments, "-np", "0", *place]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    for fragment in fragments:
        assert fragment in message
    assert "Traceback" not in message


def test_a_plans_file_edited_by_hand_is_obeyed_and_a_slip_in_it_refused(workspace, capsys):
    folder = workspace / "diffunet_workspace" / "preprocessed" / DATASET
    text = (folder / "diffunet_plans.json").read_text()
    (folder / "mine.json").write_text(text.replace('"input_scale"', '"input_scael"'))
    place = ["--workspace", str(workspace / "diffunet_workspace"), "-np", "0"]
    assert train.main(["1", "0", "-p", "mine", *place]) == 2
    assert "unknown key 'input_scael'" in capsys.readouterr().err
    edited = re.sub(r'"input_scale": [0-9.]+', '"input_scale": 0.31', text)
    (folder / "mine.json").write_text(edited)
    tiny = ["--iterations", "1", "--batch_size", "1", "-device", "cpu", "--set", *TINY]
    assert train.main(["1", "1", "-p", "mine", *tiny, *place]) == 0
    results = workspace / "diffunet_workspace" / "results" / DATASET
    resolved = read_json(results / "diffusion__mine__2d" / "fold_1" / "plans.resolved.json")
    assert resolved["configuration"]["diffusion"]["input_scale"] == 0.31


@pytest.mark.slow
def test_the_readme_runs_as_written(tmp_path, monkeypatch):
    """Each word of it; all but the first command in this process, which has torch imported."""
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = next(
        block
        for block in re.findall(r"```bash\n(.*?)```", readme, re.S)
        if "diffunet_train" in block
    )
    commands = [line for line in block.splitlines() if line.strip()]
    assert len(commands) == 5
    raw = tmp_path / "diffunet_workspace" / "raw" / DATASET
    write_ambiguous_dataset(
        raw, num_training=12, num_test=2, num_raters=2, family=SceneFamily(size=(24, 24))
    )
    for number, line in enumerate(commands):
        name, *arguments = line.split()
        if name == "diffunet_train":
            arguments += ["--iterations", "2", "--batch_size", "2", "-np", "1", "--set", *TINY]
        if name == "diffunet_predict":
            arguments += ["--num_samples", "2", "--num_steps", "2"]
        if number == 0:
            script = Path(sys.executable).with_name(name)
            done = subprocess.run([script, *arguments], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            (installed,) = entry_points(group="console_scripts", name=name)
            assert installed.load()(arguments) == 0, line
    assert (tmp_path / "predictions" / "summary.json").is_file()


@pytest.mark.slow
def test_the_demo_ends_with_a_picture_a_table_and_a_page(tmp_path, capsys, monkeypatch):
    for name, number in (("NUM_TRAINING", 24), ("NUM_TEST", 6), ("NUM_SAMPLES", 4)):
        monkeypatch.setattr(demo, name, number)
    arguments = ["--output", str(tmp_path / "out"), "--iterations", "2", "-np", "0"]
    assert demo.main(arguments) == 0
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for text in ("oracle_majority", "always_empty", "centre_blob", "the true distribution itself"):
        assert text in printed
    page = tmp_path / "out" / "predictions" / "report.html"
    assert f"'{page}'" in printed.splitlines()[-1]
    assert "unbiased GED" in page.read_text(encoding="utf-8")
    assert list((tmp_path / "out").glob("*/results/*/*/fold_0/report.html"))


def test_training_imports_no_reader_and_no_plotting(workspace):
    code = (
        "import sys; from diffunet.cli import train; "
        f"code = train.main(['1', '2', '--iterations', '1', '--batch_size', '1', '-np', '0', "
        f"'-device', 'cpu', '--workspace', {str(workspace / 'diffunet_workspace')!r}, '--set', "
        f"*{TINY!r}]); "
        "found = {'SimpleITK', 'nibabel', 'matplotlib'} & set(sys.modules); "
        "print(found); sys.exit(code or bool(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
