"""A sweep's work: each training once, each prediction once, and what fails is noted."""

import gc
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from diffunet.ablation.axes import Axis
from diffunet.ablation.cases import ScoredCases
from diffunet.ablation.scores import ScoreFile, score_cases
from diffunet.ablation.variants import Training, Variant, trainings_of
from diffunet.errors import DiffunetError, WriteError
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.output import OutputFolder
from diffunet.inference.run import settings_of
from diffunet.jsonio import read_object, write_json
from diffunet.methods import METHODS
from diffunet.parallel import Progress
from diffunet.plans import ResolvedPlans
from diffunet.training.final_validation import VALIDATION_OPTIONS
from diffunet.training.metrics import read_records
from diffunet.training.state import FINAL, LATEST
from diffunet.workspace import METRICS_FILE

logger = logging.getLogger(__name__)

TRAININGS, SCORES, PREDICTIONS = "trainings", "scores", "predictions"
TRAINING_FILE = "training.json"
"""Beside a finished training: how long it took, and what it needed."""

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """A training to do, or to go on with.

    Attributes:
        settings: beyond those of the whole sweep.
        results: the folder that stands for the workspace's results.
        continues: from the latest checkpoint.
    """

    settings: tuple[str, ...]
    seed: int
    results: Path
    continues: bool


Train = Callable[[TrainingOrder], None]

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is to be compared, on what, and where.

    Attributes:
        folder: of all that is made; sweeps in one folder share trainings and scores.
        name: of the files with the results.
        base: the plans that all variants start from.
        fold: that is trained.
        seeds: of trainings; every variant is trained with each.
    """

    folder: Path
    name: str
    axes: tuple[Axis, ...]
    one_at_a_time: bool
    variants: tuple[Variant, ...]
    base: ResolvedPlans
    fold: str
    seeds: tuple[int, ...]
    cases: ScoredCases

    def score_file(self, variant: Variant, seed: int) -> ScoreFile:
        """Return the scores of a variant, as far as they are there."""
        name = f"{variant.file_name}-seed{seed}-{self.cases.kind}.json"
        about = {
            "variant": variant.name,
            "seed": seed,
            "settings": [*variant.training.settings, *variant.settings],
        }
        return ScoreFile.open(self.folder / SCORES / name, about)

    def results_of(self, training: Training, seed: int) -> Path:
        """Return the folder that stands for the workspace's results."""
        return self.folder / TRAININGS / f"{training.name}-seed{seed}"

    def model_folder(self, training: Training, seed: int) -> Path:
        """Return the folder of a model, which `diffunet_predict --model` takes."""
        plans = self.base
        name = f"{plans.method}__{plans.plans_name}__{plans.configuration_name}"
        return self.results_of(training, seed) / plans.dataset_name / name

    def training_record(self, training: Training, seed: int) -> dict[str, Any] | None:
        """Return how a training went; None where it has not ended."""
        try:
            return read_object(self.results_of(training, seed) / TRAINING_FILE)
        except DiffunetError:
            return None

    def is_trained(self, training: Training, seed: int) -> bool:
        """Whether there are weights to predict with."""
        final = self.model_folder(training, seed) / f"fold_{self.fold}" / FINAL
        return self.training_record(training, seed) is not None and final.is_file()


@dataclass
class _Pace:
    """How much is left of each kind of step, and how fast it went so far.

    Attributes:
        left: the work of each step, by kind and name.
        done: work and seconds of all steps, by kind.
    """

    left: dict[str, dict[Any, float]]
    done: dict[str, tuple[float, float]] = field(default_factory=dict)

    def took(self, kind: str, step: Any, seconds: float) -> None:
        work = self.left[kind].pop(step, 0.0)
        known = self.done.get(kind, (0.0, 0.0))
        self.done[kind] = (known[0] + work, known[1] + seconds)

    def drop(self, variant: Variant, seed: int) -> None:
        """Expect nothing more of what failed."""
        for kind, name in (("training", variant.training.name), ("prediction", variant.name)):
            self.left[kind].pop((name, seed), None)

    def __str__(self) -> str:
        left = {kind: steps for kind, steps in self.left.items() if steps}
        words = " and ".join(f"{len(steps)} {kind}(s)" for kind, steps in left.items())
        if not left:
            return "nothing is left"
        if any(not self.done.get(kind, (0.0,))[0] for kind in left):
            return f"{words} left"
        seconds = sum(
            sum(steps.values()) * self.done[kind][1] / self.done[kind][0]
            for kind, steps in left.items()
        )
        return f"{words} left, about {_duration(seconds)}"


@dataclass
class SweepRun:
    """The work of a sweep, step by step.

    Attributes:
        failures: what went wrong, by variant and seed.
    """

    sweep: Sweep
    train: Train
    compute: Compute
    saves_samples: bool
    progress: Progress
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    _pace: _Pace = field(default_factory=lambda: _Pace({}))

    def run(self, *, after_seed: Callable[[], object]) -> None:
        """Train, predict and score what is not done yet.

        Args:
            after_seed: called whenever all variants were seen with one more seed.

        Raises:
            WriteError, OSError: the disk is full, or the like: no other variant would fare better.
            KeyboardInterrupt: it was asked to stop; run again to go on.
        """
        sweep = self.sweep
        trainings = trainings_of(sweep.variants)
        self._pace = self._work_left(trainings)
        logger.info(
            "%d variants with %d seed(s): %d training(s) and %d prediction(s) of %d %s cases; %s",
            len(sweep.variants),
            len(sweep.seeds),
            len(trainings) * len(sweep.seeds),
            len(sweep.variants) * len(sweep.seeds),
            len(sweep.cases.names),
            sweep.cases.kind,
            self._pace,
        )
        for seed in sweep.seeds:
            for training in trainings:
                self._do(training, seed)
            after_seed()

    def _work_left(self, trainings: Sequence[Training]) -> _Pace:
        """Return all work that is left: iterations of trainings, network evaluations of drawing."""
        steps = [(each, seed) for seed in self.sweep.seeds for each in trainings]
        return _Pace(
            {
                "training": {
                    (each.name, seed): each.plans.configuration.training.num_iterations
                    for each, seed in steps
                    if self._todo(each, seed) and not self.sweep.is_trained(each, seed)
                },
                "prediction": {
                    (variant.name, seed): _work_of(variant) * len(self._missing(variant, seed))
                    for each, seed in steps
                    for variant in self._todo(each, seed)
                },
            }
        )

    def _todo(self, training: Training, seed: int) -> list[Variant]:
        return [
            each
            for each in self.sweep.variants
            if each.training.name == training.name and self._missing(each, seed)
        ]

    def _missing(self, variant: Variant, seed: int) -> list[str]:
        """Return the cases without a score, or without masks that are to be saved."""
        cases = self.sweep.cases
        known = {
            name: record
            for name, record in self.sweep.score_file(variant, seed).cases.items()
            if record.get("source") == cases.sources.get(name)
        }
        written = {path.stem for path in self._predictions(variant, seed).glob("records/*.json")}
        return [
            name
            for name in cases.names
            if name not in known or (self.saves_samples and name not in written)
        ]

    def _predictions(self, variant: Variant, seed: int) -> Path:
        name = f"{variant.file_name}-seed{seed}-{self.sweep.cases.kind}"
        return self.sweep.folder / PREDICTIONS / name

    def _do(self, training: Training, seed: int) -> None:
        """Train if need be, and predict; what fails is noted for each of its variants."""
        todo = self._todo(training, seed)
        if not todo:
            return
        model = self._attempt(todo, seed, lambda: self._model(training, seed))
        if model is None:
            return
        for variant in todo:
            self._attempt([variant], seed, lambda each=variant: self._predict(each, seed, model))

    def _attempt(
        self, variants: Sequence[Variant], seed: int, step: Callable[[], Made]
    ) -> Made | None:
        """Return what a step returns; None where it fails, which is noted."""
        try:
            return step()
        except (WriteError, OSError):
            raise
        except Exception as cause:  # one variant's failure must not cost the others
            names = "; ".join(each.name for each in variants)
            reason = (
                str(cause)
                if isinstance(cause, DiffunetError)
                else f"{type(cause).__name__}: {cause}"
            )
            logger.warning("%s, seed %d: failed, the others go on: %s", names, seed, reason)
            logger.debug("where it happened", exc_info=True)
            for each in variants:
                self.failures[each.name, seed] = reason
                self._pace.drop(each, seed)
        return None

    def _model(self, training: Training, seed: int) -> TrainedModel:
        sweep = self.sweep
        folder = sweep.model_folder(training, seed)
        fold = folder / f"fold_{sweep.fold}"
        if not sweep.is_trained(training, seed):
            logger.info("'%s', seed %d: training", training.name, seed)
            begin = time.monotonic()
            self._train(training, seed, fold=fold)
            self._pace.took("training", (training.name, seed), time.monotonic() - begin)
            logger.info("'%s', seed %d: trained; %s", training.name, seed, self._pace)
        return load_model(
            folder, folds=[sweep.fold], checkpoint="final", device=self.compute.device
        )

    def _train(self, training: Training, seed: int, *, fold: Path) -> None:
        is_cuda = self.compute.device.type == "cuda"
        gc.collect()  # what a step before, or its failure, still holds
        results = self.sweep.results_of(training, seed)
        if is_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.compute.device)
        self.train(
            TrainingOrder(
                settings=training.settings,
                seed=seed,
                results=results,
                continues=(fold / LATEST).exists(),
            )
        )
        peak = torch.cuda.max_memory_allocated(self.compute.device) if is_cuda else None
        write_json(
            results / TRAINING_FILE,
            {
                "settings": training.settings,
                "seed": seed,
                "seconds": _seconds_of(fold / METRICS_FILE),
                "peak_gib": None if peak is None else peak / _GIB,
            },
        )

    def _predict(self, variant: Variant, seed: int, model: TrainedModel) -> None:
        begin = time.monotonic()
        plans = model.plans.with_settings(variant.settings)
        model = replace(model, plans=plans)
        options = VALIDATION_OPTIONS
        if self.saves_samples and "saves_samples" in METHODS[model.method].options:
            options = replace(options, saves_samples=True)
        predictor = METHODS[model.method].make_predictor(
            model, compute=self.compute, options=options
        )
        output = None
        if self.saves_samples:
            output = OutputFolder(
                self._predictions(variant, seed),
                model=model,
                settings=settings_of(predictor, model),
            )
            output.begin(is_alone=True)
        missing = self._missing(variant, seed)
        score_cases(
            self.sweep.score_file(variant, seed),
            model,
            predictor,
            self.sweep.cases,
            todo=self.progress(missing, len(missing), f"{variant.name}, seed {seed}"),
            output=output,
        )
        if output is not None:
            output.gather()
        self._pace.took("prediction", (variant.name, seed), time.monotonic() - begin)
        logger.info("%s, seed %d: predicted; %s", variant.name, seed, self._pace)


def _work_of(variant: Variant) -> float:
    """Return how often a prediction asks the network about one case."""
    sampling = variant.plans.configuration.sampling
    draws = "num_samples" in METHODS[variant.plans.method].options
    return sampling.num_samples * sampling.num_steps if draws else 1


def _seconds_of(metrics: Path) -> float | None:
    """Return how long a training iterated, over all its runs."""
    seconds: Iterable[Any] = (
        record.get("seconds")
        for record in read_records(metrics)
        if record.get("kind") == "training"
    )
    return max((each for each in seconds if isinstance(each, int | float)), default=None)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
