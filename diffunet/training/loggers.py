"""Where a training's records go besides `metrics.jsonl`: TensorBoard, Weights & Biases, MLflow.

A logger is one class here and one line in `LOGGERS`. Its library is imported when it begins. A
training never ends because of a logger: one that fails is left out, with a warning.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, final

from diffunet.errors import UsageError
from diffunet.jsonio import as_json, read_object, write_json
from diffunet.plans import ResolvedPlans
from diffunet.workspace import RESOLVED_PLANS_FILE

logger = logging.getLogger(__name__)

LOGGERS_FILE = "loggers.json"
"""Of a fold's folder: the names of its loggers, and by which key each finds its run again."""

NO_LOGGER = "none"


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a logger is told of a training.

    Attributes:
        folder: of the fold.
        iteration: finished optimiser steps; records of later ones come (again).
        key: by which the logger finds its earlier part; None at the beginning.
    """

    folder: Path
    plans: ResolvedPlans
    iteration: int
    key: str | None

    @property
    def name(self) -> str:
        plans = self.plans
        return f"{plans.method} {plans.plans_name} {plans.configuration_name} {self.folder.name}"


class Logger(Protocol):
    """Takes the numbers of a training, as they come."""

    key: str
    """By which a continued training finds this run again."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Take numbers, named "training/loss", "validation/dice" and the like."""
        ...

    def end(self, *, is_finished: bool) -> None:
        """Write what is not yet written; a training that is not finished may go on later."""
        ...


@final
class TensorBoard:
    """Event files in the fold's folder, below `tensorboard/`."""

    def __init__(self, run: LoggedRun):
        from torch.utils.tensorboard import SummaryWriter

        self.key = "tensorboard"
        self._writer = SummaryWriter(str(run.folder / self.key), purge_step=run.iteration + 1)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write scalars, so that they are seen at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()

    def end(self, *, is_finished: bool) -> None:
        """Close the files."""
        self._writer.close()


@final
class WeightsAndBiases:
    """A run in the project that is named as the dataset; the user's settings of wandb count."""

    def __init__(self, run: LoggedRun):
        self._run = import_module("wandb").init(
            project=run.plans.dataset_name,
            name=run.name,
            id=run.key,
            resume="allow",
            dir=str(run.folder),
            config=as_json(run.plans),
            settings={"console": "off"},  # what the terminal shows may name cases
        )
        self.key = self._run.id

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Send numbers; wandb keeps what an interrupted training sent first."""
        self._run.log(dict(values), step=iteration)

    def end(self, *, is_finished: bool) -> None:
        """Wait until everything is sent."""
        self._run.finish(exit_code=0 if is_finished else 1)


@final
class MLflow:
    """A run of the experiment that is named as the dataset, where MLFLOW_TRACKING_URI says."""

    def __init__(self, run: LoggedRun):
        self._client = client = import_module("mlflow").MlflowClient()
        dataset = run.plans.dataset_name
        if run.key is None:
            experiment = client.get_experiment_by_name(dataset)
            number = experiment.experiment_id if experiment else client.create_experiment(dataset)
            self.key: str = client.create_run(number, run_name=run.name).info.run_id
            client.log_dict(self.key, as_json(run.plans), RESOLVED_PLANS_FILE)
        else:
            self.key = run.key
            client.update_run(self.key, status="RUNNING")

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Send numbers."""
        for name, value in values.items():
            self._client.log_metric(self.key, name, value, step=iteration)

    def end(self, *, is_finished: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self.key, status="FINISHED" if is_finished else "KILLED")


@dataclass(frozen=True)
class LoggerKind:
    """How a logger begins, and the package that it needs (also the name of diffunet's extra)."""

    begin: Callable[[LoggedRun], Logger]
    package: str


LOGGERS = {
    "tensorboard": LoggerKind(TensorBoard, "tensorboard"),
    "wandb": LoggerKind(WeightsAndBiases, "wandb"),
    "mlflow": LoggerKind(MLflow, "mlflow"),
}
"""By the name that `--logger` takes."""


def require_loggers(names: Iterable[str]) -> None:
    """Check that the packages of loggers are installed.

    Raises:
        UsageError: one is not, or there is no such logger.
    """
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"expected a logger of {', '.join(LOGGERS)}, got '{name}'")
        package = LOGGERS[name].package
        if find_spec(package) is None:
            raise UsageError(
                f"--logger {name}: the package '{package}' is not installed; install it with "
                f"pip install 'diffunet[{package}]', or leave the option out"
            )


@final
class Loggers:
    """The loggers of one training; a context manager.

    Attributes:
        is_finished: whether the training has done all its iterations; set before the context ends.
    """

    def __init__(self) -> None:
        self._begun: dict[str, Logger] = {}
        self.is_finished = False

    @classmethod
    def begin(
        cls, names: Sequence[str] | None, *, folder: Path, plans: ResolvedPlans, iteration: int
    ) -> "Loggers":
        """Begin loggers, or go on with them.

        Args:
            names: None for those that the training had so far; `NO_LOGGER` for none.
            folder: of the fold; remembers them in `loggers.json`.
            iteration: finished optimiser steps; 0 begins new runs.

        Raises:
            UsageError: one cannot begin; its package is not installed, or refuses.
        """
        path = folder / LOGGERS_FILE
        keys: dict[str, Any] = {}
        if iteration and path.is_file():
            keys = read_object(path, UsageError)
        if names is None:
            names = [name for name in keys if name in LOGGERS]
        wanted = [name for name in names if name != NO_LOGGER]
        require_loggers(wanted)
        run = LoggedRun(folder=folder, plans=plans, iteration=iteration, key=None)
        loggers = cls()
        try:
            for name in wanted:
                loggers._begun[name] = _begun(name, run, keys.get(name))
        except UsageError:
            loggers.end()
            raise
        if wanted:
            write_json(path, {name: each.key for name, each in loggers._begun.items()})
        else:
            path.unlink(missing_ok=True)
        return loggers

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End every logger."""
        for name in list(self._begun):
            self._try(name, lambda each: each.end(is_finished=self.is_finished))

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass on the numbers of a record of `metrics.jsonl`, named after its kind."""
        values = {
            f"{record['kind']}/{name}": float(value)
            for name, value in record.items()
            if name != "iteration" and type(value) in (int, float)
        }
        for name in list(self._begun):
            self._try(name, lambda each: each.log(record["iteration"], values))

    def _try(self, name: str, act: Callable[[Logger], None]) -> None:
        try:
            act(self._begun[name])
        except Exception as cause:
            del self._begun[name]
            logger.warning(
                "--logger %s takes no more records (%s); the training goes on, and metrics.jsonl "
                "has them all",
                name,
                _in_one_line(cause),
            )


def _begun(name: str, run: LoggedRun, key: Any) -> Logger:
    run = dataclasses.replace(run, key=key if isinstance(key, str) else None)
    try:
        return LOGGERS[name].begin(run)
    except Exception as cause:
        raise UsageError(
            f"--logger {name} cannot begin: {_in_one_line(cause)}; set it up, or leave the option "
            f"out (--logger {NO_LOGGER} where a training that goes on had it)"
        ) from cause


def _in_one_line(cause: Exception) -> str:
    return " ".join(f"{type(cause).__name__}: {cause}".split())
