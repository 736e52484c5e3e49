import contextlib
import dataclasses
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from diffunet.api.predictor import Predictor
from diffunet.checkpoint import load_checkpoint
from diffunet.errors import (
    CheckpointError,
    DatasetError,
    DiffunetError,
    PlansError,
    UsageError,
    WorkspaceError,
)
from diffunet.methods import METHODS
from diffunet.networks.unet import ResidualUNet
from diffunet.plans import Plans, ResolvedPlans, SamplingPlan, TrainingPlan
from diffunet.training.fold import FoldResult, compile_networks, train_fold
from diffunet.training.loop import training_precision
from diffunet.training.objective import DiffusionObjective
from diffunet.training.reporting import Pictures
from diffunet.training.segmentation import DrawnMaskScorer
from diffunet.training.tensors import to_device
from tests.training.folds import SIZE, plans, with_options, write_preprocessed

CPU = torch.device("cpu")
FIRST_LOSSES = {
    "diffusion": (0.386936, 0.386875, 0.412772),
    "supervised": (1.443232, 1.540622, 1.443845),
}


@pytest.fixture(autouse=True)
def _without_pictures(request, monkeypatch):
    """Pictures take a second each; one test looks at them."""
    if "leaves_all" not in request.node.name:
        monkeypatch.setattr(Pictures, "update", lambda self: None)


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory) -> Path:
    return write_preprocessed(tmp_path_factory.mktemp("fold") / "preprocessed")


def train(preprocessed: Path, folder: Path, resolved: Plans, **settings) -> FoldResult:
    """Train with one thread, as the losses in FIRST_LOSSES were computed."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train_fold(
            resolved,
            **with_options(
                **{
                    "preprocessed_folder": preprocessed,
                    "fold_folder": folder / "fold_0",
                    "fold": "0",
                    "seed": 0,
                    "device": CPU,
                    "num_processes": 0,
                    "validation_time_share": 1e9,
                    **settings,
                }
            ),
        )
    finally:
        torch.set_num_threads(num_threads)


def records(folder: Path, kind: str) -> list[dict]:
    lines = (folder / "fold_0" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize("method", FIRST_LOSSES)
def test_the_first_losses_under_a_seed_are_what_they_were(preprocessed, tmp_path, method):
    resolved = plans(method=method, training={"num_iterations": 3, "num_validations": 0})
    train(preprocessed, tmp_path, resolved)
    losses = [record["loss"] for record in records(tmp_path, "training")]
    assert losses == pytest.approx(FIRST_LOSSES[method], rel=1e-4)


def test_a_training_tells_its_parameters_and_its_device(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 1, "num_validations": 0})
    train(preprocessed, tmp_path, resolved)
    (start,) = records(tmp_path, "start")
    assert start["iteration"] == 0
    assert start["num_parameters"] > 1000
    assert (start["device"], start["num_devices"]) == ("cpu", 1)


@pytest.mark.parametrize("method", FIRST_LOSSES)
def test_a_training_leaves_all_that_prediction_needs(preprocessed, tmp_path, method):
    result = train(preprocessed, tmp_path, plans(method=method))
    assert result.is_finished
    assert result.iteration == 12
    found = {path.name for path in (tmp_path / "fold_0").iterdir()}
    expected = {f"checkpoint_{name}.pth" for name in ("latest", "best", "final")}
    expected |= {"plans.resolved.json", "metrics.jsonl", "log.txt", "progress.png", "samples.png"}
    assert expected <= found
    assert (tmp_path / "dataset.json").exists()
    predictor = Predictor.from_folder(tmp_path)
    prediction = predictor.predict(np.zeros((1, SIZE, SIZE), np.float32), (1.0, 1.0))
    assert prediction.mask.shape == (SIZE, SIZE)


def test_the_summary_is_that_of_evaluation_on_the_planned_number_of_cases(preprocessed, tmp_path):
    result = train(preprocessed, tmp_path, plans(training={"num_iterations": 2}))
    summary = json.loads((tmp_path / "fold_0" / "validation" / "summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary))
    assert len(summary["metric_per_case"]) == 3
    assert {each["case"] for each in summary["metric_per_case"]} <= {
        f"case_{number:02}" for number in range(6, 10)
    }
    assert {"Dice", "HD95"} <= set(summary["foreground_mean"])
    answers = summary["distribution"]["mean"]["trivial_answers"]
    assert set(answers) == {"always_empty", "oracle_majority", "centre_blob", "oracle_raters"}


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_trains_in_bfloat16_if_it_has_any(monkeypatch, caplog, has_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert training_precision(torch.device("cuda"), TrainingPlan()) == expected
    assert ("this GPU has no bfloat16" in caplog.text) != has_bfloat16


def test_a_precision_that_the_device_lacks_is_refused_before_anything_is_written(
    preprocessed, tmp_path, monkeypatch
):
    monkeypatch.setattr("diffunet.training.loop.computes_in", lambda precision, device: False)
    resolved = plans(training={"precision": "bfloat16"})
    with pytest.raises(UsageError, match="training.precision is bfloat16, .*precision=float32"):
        train(preprocessed, tmp_path / "model", resolved)
    assert not list((tmp_path / "model").rglob("*.json*"))


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_the_forward_pass_runs_in_the_precision_of_the_training(
    preprocessed, tmp_path, monkeypatch, precision
):
    found = []

    def record(self, *arguments, original=DiffusionObjective.__call__):
        found.append(torch.is_autocast_enabled("cpu"))
        return original(self, *arguments)

    monkeypatch.setattr(DiffusionObjective, "__call__", record)
    training = {"num_iterations": 1, "num_validations": 0, "precision": precision}
    train(preprocessed, tmp_path, plans(training=training))
    assert found == [precision == "bfloat16"]
    start = json.loads((tmp_path / "fold_0" / "metrics.jsonl").read_text().splitlines()[0])
    assert start["precision"] == ("bfloat16" if precision == "bfloat16" else "float32")


def test_validation_only_scores_every_case_when_asked(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 2})
    train(preprocessed, tmp_path, resolved)
    settings = {"only_validates": True, "validates_all_cases": True}
    result = train(preprocessed, tmp_path, resolved, **settings)
    assert result.summary is not None
    assert len(result.summary["metric_per_case"]) == 4
    assert (result.is_finished, result.iteration) == (True, 2)


@pytest.mark.parametrize(
    ("num_raters", "beside"), [(1, "an empty mask"), (2, "the raters' majority alone")]
)
def test_the_final_validation_stands_beside_what_is_no_answer_by_definition(
    tmp_path, caplog, num_raters, beside
):
    """Of one rater, the majority is the reference, and a perfect model is unknown."""
    preprocessed = write_preprocessed(tmp_path / "preprocessed", num_raters=num_raters)
    with caplog.at_level(logging.INFO):
        train(preprocessed, tmp_path / "model", plans(training={"num_iterations": 1}))
    said = next(line for line in caplog.messages if "final validation on" in line)
    assert f"(of {beside}: " in said
    assert ("a perfect model: 0." in said) == (num_raters > 1)
    assert "unknown" not in said


def test_validation_only_takes_the_latest_weights_of_an_unfinished_training(
    preprocessed, tmp_path, caplog
):
    resolved = plans(training={"num_iterations": 2})
    train(preprocessed, tmp_path, resolved)
    (tmp_path / "fold_0" / "checkpoint_final.pth").unlink()
    with caplog.at_level(logging.WARNING):
        result = train(preprocessed, tmp_path, resolved, only_validates=True)
    assert "validating 'checkpoint_latest.pth'" in caplog.text
    assert (result.is_finished, result.iteration) == (True, 2)


def test_validation_only_of_nothing_is_an_error(preprocessed, tmp_path):
    with pytest.raises(CheckpointError, match="holds no trained model"):
        train(preprocessed, tmp_path, plans(), only_validates=True)


def test_fold_all_trains_on_every_case_and_validates_on_none(preprocessed, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        result = train(preprocessed, tmp_path, plans(training={"num_iterations": 2}), fold="all")
    assert result.summary is None
    assert not (tmp_path / "fold_0" / "checkpoint_best.pth").exists()
    assert (tmp_path / "fold_0" / "checkpoint_final.pth").exists()
    assert "there is no validation" in caplog.text


def test_a_training_says_first_what_it_does_and_how_it_is_read(preprocessed, tmp_path, caplog):
    short = plans(training={"num_iterations": 2, "num_validations": 1})
    with caplog.at_level(logging.INFO):
        train(preprocessed, tmp_path, short)
        begun = caplog.text
        caplog.clear()
        longer = plans(training={"num_iterations": 4, "num_validations": 1})
        train(preprocessed, tmp_path, longer, continues=True)
    assert "method diffusion, 2d, from the beginning, on cpu (1 thread(s))" in begun
    assert f"patches of {SIZE} x {SIZE} voxels" in begun
    assert re.search(r"2 iterations of \d+ patches, [\d,]+ parameters", begun)
    assert "progress.png" in begun
    assert "from iteration 2 on" in caplog.text


def test_a_fold_that_does_not_exist_is_an_error(preprocessed, tmp_path):
    with pytest.raises(DatasetError, match="no fold '7'.*the folds 0 to 0.*'all'"):
        train(preprocessed, tmp_path, plans(), fold="7")


def test_a_fold_that_is_refused_leaves_no_folder(preprocessed, tmp_path):
    for fold in ("7", "00", "０"):
        for continues in (False, True):
            with pytest.raises(DatasetError, match="no fold"):
                train(preprocessed, tmp_path / "model", plans(), fold=fold, continues=continues)
    assert not (tmp_path / "model").exists()


def test_a_training_is_never_overwritten(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 1})
    train(preprocessed, tmp_path, resolved)
    with pytest.raises(UsageError, match="continue it with --c, or remove the folder"):
        train(preprocessed, tmp_path, resolved)


def test_a_fold_is_not_trained_beside_folds_of_other_labels(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 1})
    train(preprocessed, tmp_path, resolved)
    path = tmp_path / "dataset.json"
    described = path.read_text()
    path.write_text(json.dumps(json.loads(described) | {"labels": {"background": 0, "cyst": 1}}))
    with pytest.raises(WorkspaceError, match=r"holds fold_0, .*'labels' was .*'cyst'.* move"):
        train(preprocessed, tmp_path, resolved, fold_folder=tmp_path / "fold_all", fold="all")
    assert not (tmp_path / "fold_all").exists()
    assert "cyst" in path.read_text()


def test_continuing_from_nothing_starts_anew_with_a_warning(preprocessed, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        result = train(
            preprocessed, tmp_path, plans(training={"num_iterations": 1}), continues=True
        )
    assert "starting from the beginning" in caplog.text
    assert result.is_finished


@pytest.mark.parametrize("continues", [False, True], ids=["anew", "continued"])
@pytest.mark.parametrize(
    "name", ["checkpoint_final.pth", "checkpoint_best.pth", "validation/summary.json"]
)
def test_what_a_training_left_is_never_replaced_where_its_latest_checkpoint_is_gone(
    name, continues, preprocessed, tmp_path
):
    kept = tmp_path / "fold_0" / name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weeks of work")
    with pytest.raises(UsageError, match=f"{name}.*nothing to continue from.*--val"):
        train(preprocessed, tmp_path, plans(training={"num_iterations": 1}), continues=continues)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert kept.read_bytes() == b"weeks of work"


def test_a_finished_training_can_be_extended(preprocessed, tmp_path):
    train(preprocessed, tmp_path, plans(training={"num_iterations": 2}))
    longer = plans(training={"num_iterations": 4})
    assert train(preprocessed, tmp_path, longer, continues=True).iteration == 4
    iterations = [record["iteration"] for record in records(tmp_path, "training")]
    assert iterations == [1, 2, 3, 4]


def test_other_plans_cannot_be_continued(preprocessed, tmp_path):
    train(preprocessed, tmp_path, plans(training={"num_iterations": 1}))
    other = plans(training={"num_iterations": 1, "batch_size": 2})
    with pytest.raises(PlansError, match=r"batch_size: 4 -> 2"):
        train(preprocessed, tmp_path, other, continues=True)
    assert (
        ResolvedPlans.load(
            tmp_path / "fold_0" / "plans.resolved.json"
        ).configuration.training.batch_size
        == 4
    )


def test_a_training_on_other_labels_cannot_be_continued(preprocessed, tmp_path):
    short = plans(training={"num_iterations": 1})
    train(preprocessed, tmp_path / "results", short)
    other = write_preprocessed(tmp_path / "other", shifted_case=3)
    with pytest.raises(
        CheckpointError, match="preprocessed data that have changed since.*1 changed.*'case_03'"
    ):
        train(other, tmp_path / "results", short, continues=True)


def test_pretrained_weights_are_where_a_training_starts(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 1, "learning_rate": 1e-9})
    train(preprocessed, tmp_path / "one", resolved, seed=1)
    path = tmp_path / "one" / "fold_0" / "checkpoint_final.pth"
    train(preprocessed, tmp_path / "two", resolved, seed=2, pretrained_weights=path)
    ours, theirs = (
        load_checkpoint(tmp_path / name / "fold_0" / "checkpoint_final.pth", "cpu")["weights"]
        for name in ("two", "one")
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=0)


def test_pretrained_weights_contradict_continuing(preprocessed, tmp_path):
    with pytest.raises(UsageError, match="leave out either -pretrained_weights"):
        train(
            preprocessed, tmp_path, plans(), continues=True, pretrained_weights=Path("weights.pth")
        )


def test_the_number_of_processes_changes_no_weight(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 4})
    for num_processes in (0, 3):
        train(preprocessed, tmp_path / str(num_processes), resolved, num_processes=num_processes)
    ours, theirs = (
        load_checkpoint(tmp_path / name / "fold_0" / "checkpoint_final.pth", "cpu")["weights"]
        for name in "03"
    )
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_sampled_validation_changes_no_weight_dropout_included(preprocessed, tmp_path):
    network = dataclasses.replace(plans().configuration.network, dropout=0.3)
    for number in (0, 4):
        resolved = plans(training={"num_iterations": 4, "num_validations": number}, network=network)
        train(preprocessed, tmp_path / str(number), resolved)
    ours, theirs = (
        load_checkpoint(tmp_path / name / "fold_0" / "checkpoint_final.pth", "cpu")["weights"]
        for name in "04"
    )
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert len(records(tmp_path / "4", "validation")) == 4
    assert records(tmp_path / "0", "validation") == []


def test_a_training_leaves_the_global_generator_as_it_was(preprocessed, tmp_path):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    train(preprocessed, tmp_path, plans(training={"num_iterations": 1}))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_training_that_diverges_says_so_and_keeps_its_last_checkpoint(preprocessed, tmp_path):
    resolved = plans(training={"num_iterations": 40})
    object.__setattr__(resolved.configuration.training, "learning_rate", 1e20)  # plans refuse it
    with pytest.raises(DiffunetError, match="training diverged"):
        train(preprocessed, tmp_path, resolved, checkpoint_interval_s=0)


def test_a_warm_up_longer_than_the_training_is_cut_with_a_warning(preprocessed, tmp_path, caplog):
    resolved = plans(training={"num_iterations": 10, "num_warmup_iterations": 1000})
    with caplog.at_level(logging.WARNING):
        train(preprocessed, tmp_path, resolved)
    assert "num_warmup_iterations 1000 is too long for 10 iterations; using 1" in caplog.text


def test_the_best_weights_are_those_of_the_smallest_criterion(preprocessed, tmp_path):
    train(preprocessed, tmp_path, plans(training={"num_validations": 6}))
    scores = records(tmp_path, "validation")
    best = min(scores, key=lambda record: record["ged_fully_unbiased"])
    content = load_checkpoint(tmp_path / "fold_0" / "checkpoint_best.pth", "cpu")
    assert content["iteration"] == best["iteration"]
    assert [record["is_best"] for record in scores].count(True) >= 1


@pytest.mark.parametrize("moment", ["waiting", "iterating", "validating"])
def test_asked_to_stop_it_saves_and_continues_where_it_was(
    preprocessed, tmp_path, monkeypatch, moment
):
    """While it waits for a batch or draws a case, both for long, or just before a validation."""

    def iterating(batch, device, **settings):
        if batch.iteration == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return to_device(batch, device, **settings)

    def interrupted(self, model, case, *, is_shown):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def stopping(items, total, description):
        for number, item in enumerate(items):
            if number == 4 and moment == "waiting":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            yield item

    with monkeypatch.context() as patch:
        if moment == "validating":
            patch.setattr(DrawnMaskScorer, "score", interrupted)
        if moment == "iterating":
            patch.setattr("diffunet.training.loop.to_device", iterating)
        stopped = train(preprocessed, tmp_path, plans(), progress=stopping)
    assert not stopped.is_finished
    assert stopped.iteration == (4 if moment == "waiting" else 6)
    assert train(preprocessed, tmp_path, plans(), continues=True).is_finished
    iterations = [record["iteration"] for record in records(tmp_path, "training")]
    assert iterations == list(range(1, 13))
    assert [record["iteration"] for record in records(tmp_path, "validation")] == [6, 12]


def test_stopped_before_its_first_iteration_it_says_that_nothing_is_saved(
    preprocessed, tmp_path, caplog
):
    def stopping(items, total, description):
        os.kill(os.getpid(), signal.SIGTERM)
        yield from items

    stopped = train(preprocessed, tmp_path, plans(), progress=stopping)
    assert (stopped.is_finished, stopped.iteration) == (False, 0)
    assert not (tmp_path / "fold_0" / "checkpoint_latest.pth").exists()
    assert "stopped before the first iteration ended: nothing is saved" in caplog.text
    assert "and saved" not in caplog.text


def test_compiling_changes_what_runs_and_nothing_that_is_saved(preprocessed, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self)))
    train(preprocessed, tmp_path, plans(training={"num_iterations": 1}), compiles=True)
    assert compiled == [ResidualUNet] * 2


def test_compiling_is_asked_of_the_unets_alone():
    model = METHODS["diffusion"].build_model(
        plans().configuration, num_image_channels=1, labels=_labels()
    )
    names = set(model.state_dict())
    compile_networks(model)
    compiled = [each for each in model.modules() if each._compiled_call_impl is not None]
    assert len(compiled) == 2
    assert set(model.state_dict()) == names


def test_training_imports_no_reader_of_files_and_no_matplotlib():
    code = (
        "import sys, diffunet.training.fold\n"
        "unwanted = {'SimpleITK', 'nibabel', 'matplotlib', 'PIL', 'tifffile'} & set(sys.modules)\n"
        "sys.exit(', '.join(unwanted) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cell", [(1, 1), (2, 2)])
@pytest.mark.parametrize("method", FIRST_LOSSES)
def test_a_real_training_learns(tmp_path, method, cell):
    """Discs bright on noise, 150 iterations: better than the trivial answers, and a falling loss.

    Voxels are seen one by one or in cells. A supervised network has no answer to raters who
    disagree, so that it learns from one.
    """
    num_raters = 1 if method == "supervised" else 2
    folder = write_preprocessed(
        tmp_path / "preprocessed", num_cases=40, num_held=16, num_raters=num_raters
    )
    resolved = plans(
        method=method,
        training={"num_iterations": 150, "batch_size": 8, "num_validations": 1},
    )
    network = dataclasses.replace(resolved.configuration.network, strides=(cell, (2, 2)))
    configuration = dataclasses.replace(resolved.configuration, network=network)
    resolved = dataclasses.replace(resolved, configuration=configuration)
    result = train(folder, tmp_path, resolved, validates_all_cases=True)
    losses = [record["loss"] for record in records(tmp_path, "training")]
    assert np.mean(losses[-30:]) < 0.5 * np.mean(losses[:5])
    assert result.summary is not None
    mean = result.summary["distribution"]["mean"]
    trivial = mean["trivial_answers"]
    assert mean["scores"]["ged"]["mean"] < trivial["always_empty"]["ged"]["mean"]
    assert mean["scores"]["ged"]["mean"] < trivial["centre_blob"]["ged"]["mean"]
    if method == "supervised":
        assert result.summary["foreground_mean"]["Dice"] > 0.8


def _labels():
    from diffunet.labels import LabelScheme

    return LabelScheme(names=("disc",), values=((1,),))


def test_sampling_that_no_prediction_would_do_is_refused_before_training(preprocessed, tmp_path):
    planned = plans(sampling=SamplingPlan(num_steps=2, is_mirrored=True))
    augmentation = dataclasses.replace(planned.configuration.augmentation, mirror_axes=())
    configuration = dataclasses.replace(planned.configuration, augmentation=augmentation)
    planned = dataclasses.replace(planned, configuration=configuration)
    with pytest.raises(UsageError, match="trained without mirrored images"):
        train(preprocessed, tmp_path, planned)
    assert not records(tmp_path, "training")
    assert not list((tmp_path / "fold_0").glob("checkpoint_*"))
