"""Loggers, with stand-ins for foreign packages; TensorBoard itself where it is installed."""

import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest

from diffunet import api
from diffunet.cli import train
from diffunet.errors import UsageError
from diffunet.jsonio import read_json
from diffunet.training import loggers
from diffunet.training.loggers import LOGGERS_FILE, LoggerKind, Loggers
from diffunet.training.metrics import read_records
from diffunet.training.reporting import Pictures
from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed

QUICK = {"num_iterations": 2, "num_validations": 1, "num_final_validation_cases": 1}
TRAINING = {"kind": "training", "iteration": 3, "loss": 0.5, "seconds": 1, "is_best": True}


class Noting:
    """A logger that keeps what it is given."""

    made: ClassVar[list["Noting"]] = []

    def __init__(self, run: loggers.LoggedRun):
        self.run, self.key = run, run.key or "made"
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.ended: list[bool] = []
        Noting.made.append(self)

    def log(self, iteration, values):
        self.logged.append((iteration, dict(values)))

    def end(self, *, is_finished):
        self.ended.append(is_finished)


class Failing(Noting):
    def log(self, iteration, values):
        raise ConnectionError("the network\nis down")


@pytest.fixture(autouse=True)
def _kinds(monkeypatch):
    monkeypatch.setattr(Noting, "made", [])
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    monkeypatch.setitem(loggers.LOGGERS, "noting", LoggerKind(Noting, "json"))
    monkeypatch.setitem(loggers.LOGGERS, "failing", LoggerKind(Failing, "json"))


def begin(folder: Path, *names: str, iteration: int = 0) -> Loggers:
    return Loggers.begin(names or None, folder=folder, plans=plans(), iteration=iteration)


def put_in(monkeypatch, name: str, **content: Any) -> None:
    """Put a stand-in where a package would be."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def place(tmp_path) -> Workspace:
    found = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    folder = write_preprocessed(found.preprocessed / "Dataset001_Discs")
    of_dataset(plans(training=QUICK)).save(folder / "diffunet_plans.json")
    return found


def run(place, **options):
    return api.train(1, 0, workspace=place, device="cpu", num_processes=0, **options)


def test_a_training_passes_every_record_of_its_progress_on(place):
    folder = run(place, loggers=["noting"])
    (noting,) = Noting.made
    found = [(number, set(values)) for number, values in noting.logged]
    assert found == [
        (
            record["iteration"],
            {
                f"{record['kind']}/{name}"
                for name, value in record.items()
                if name not in ("kind", "iteration", "is_best") and value is not None
            },
        )
        for record in read_records(folder / "metrics.jsonl")
        if record["kind"] != "start"  # what a training is, not how it goes
    ]
    assert {"training/loss", "training/learning_rate"} <= found[0][1]
    assert noting.ended == [True]
    assert noting.run.plans.dataset_name == "Dataset001_Discs"


def test_a_training_that_goes_on_keeps_its_loggers_and_their_runs(place):
    folder = run(place, loggers=["noting"])
    more = ["training.num_iterations=3"]
    run(place, continues=True, settings=more)
    first, second = Noting.made
    assert (first.run.key, second.run.key) == (None, "made")
    assert second.run.iteration == 2
    assert [number for number, _ in second.logged] == [3, 3]
    run(place, continues=True, settings=["training.num_iterations=4"], loggers=["none"])
    assert len(Noting.made) == 2
    assert not (folder / LOGGERS_FILE).exists()


def test_a_logger_that_fails_is_left_out_and_the_others_go_on(tmp_path, caplog):
    with begin(tmp_path, "failing", "noting") as begun:
        begun.log(TRAINING)
        begun.log(TRAINING)
    failing, noting = Noting.made
    assert noting.logged == [(3, {"training/loss": 0.5, "training/seconds": 1.0})] * 2
    assert noting.ended == [False]
    assert failing.ended == []
    assert caplog.text.count("takes no more records") == 1
    assert "(ConnectionError: the network is down)" in caplog.text


def test_a_logger_that_cannot_begin_is_told_before_the_first_iteration(place, monkeypatch):
    def refuse(run):
        raise RuntimeError("no API key")

    monkeypatch.setitem(loggers.LOGGERS, "noting", LoggerKind(refuse, "json"))
    with pytest.raises(UsageError, match="--logger noting cannot begin: RuntimeError: no API key"):
        run(place, loggers=["noting"])


def test_a_logger_that_cannot_begin_ends_those_that_have_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(loggers.LOGGERS, "failing", LoggerKind(lambda run: 1 / 0, "json"))
    with pytest.raises(UsageError, match="--logger failing cannot begin: ZeroDivisionError"):
        begin(tmp_path, "noting", "failing")
    assert Noting.made[0].ended == [False]


def test_a_package_that_is_not_installed_is_named_with_its_extra(place, monkeypatch, capsys):
    monkeypatch.setitem(loggers.LOGGERS, "mlflow", LoggerKind(Noting, "no_such_package"))
    words = ["1", "0", "--workspace", str(place.raw.parent), "-device", "cpu"]
    assert train.main([*words, "--logger", "mlflow"]) == 2
    assert "pip install 'diffunet[no_such_package]'" in capsys.readouterr().err
    assert not place.results.exists()


def test_wandb_finds_its_run_again_and_ends_it_as_it_ended(tmp_path, monkeypatch):
    calls: list[tuple[Any, ...]] = []

    def init(**settings):
        calls.append(("init", settings["id"], settings["resume"], settings["project"]))
        assert settings["settings"] == {"console": "off"}  # the terminal may name cases
        return types.SimpleNamespace(
            id="abc",
            log=lambda values, step: calls.append(("log", step, values)),
            finish=lambda exit_code: calls.append(("finish", exit_code)),
        )

    put_in(monkeypatch, "wandb", init=init)
    with begin(tmp_path, "wandb") as begun:
        begun.log(TRAINING)
    with begin(tmp_path, iteration=3) as begun:
        begun.is_finished = True
    opened, again = (("init", key, "allow", plans().dataset_name) for key in (None, "abc"))
    values = {"training/loss": 0.5, "training/seconds": 1.0}
    assert calls == [opened, ("log", 3, values), ("finish", 1), again, ("finish", 0)]


def test_mlflow_makes_the_experiment_once_and_finds_its_run_again(tmp_path, monkeypatch):
    calls: list[tuple[Any, ...]] = []

    class Client:
        def __getattr__(self, name):
            def call(*arguments, **options):
                calls.append((name, *arguments, *options.values()))
                if name == "get_experiment_by_name":
                    return None
                if name == "create_run":
                    return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))
                return "7"

            return call

    put_in(monkeypatch, "mlflow", MlflowClient=Client)
    with begin(tmp_path, "mlflow") as begun:
        begun.log(TRAINING)
    assert [call[0] for call in calls[:4]] == [
        "get_experiment_by_name",
        "create_experiment",
        "create_run",
        "log_dict",
    ]
    assert calls[4:] == [
        ("log_metric", "r1", "training/loss", 0.5, 3),
        ("log_metric", "r1", "training/seconds", 1.0, 3),
        ("set_terminated", "r1", "KILLED"),
    ]
    calls.clear()
    with begin(tmp_path, iteration=3) as begun:
        begun.is_finished = True
    assert calls == [("update_run", "r1", "RUNNING"), ("set_terminated", "r1", "FINISHED")]
    assert read_json(tmp_path / LOGGERS_FILE) == {"mlflow": "r1"}


def test_tensorboard_shows_each_iteration_once_after_a_restart(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with begin(tmp_path, "tensorboard") as begun:
        begun.log(TRAINING)
        begun.log({**TRAINING, "iteration": 5, "loss": 9.0})
    with begin(tmp_path, iteration=3) as begun:
        begun.log({**TRAINING, "iteration": 5, "loss": 0.25})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(each.step, each.value) for each in events.Scalars("training/loss")]
    assert found == [(3, 0.5), (5, 0.25)]
