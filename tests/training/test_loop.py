"""The training loop alone, around a model of one weight."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffunet.data.batches.loader import Batch
from diffunet.stopping import StopRequest
from diffunet.training.clock import Clock, Speed
from diffunet.training.distributed import Ranks
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.loggers import Loggers
from diffunet.training.loop import TrainingLoop
from diffunet.training.metrics import read_records
from diffunet.training.objective import LossTerm, TensorBatch
from diffunet.training.optim import build_optimizer
from diffunet.training.reporting import Pictures
from diffunet.training.state import Origin, TrainingState
from diffunet.training.validation import SampledValidation
from diffunet.workspace import METRICS_FILE
from tests.training.folds import plans

NUM_ITERATIONS = 6


class OneWeight(nn.Module):
    """A number that is to become the mean of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Nearness:
    """The squared distance of the weight from the images, over `count` values."""

    def __init__(self, *, count: float = 1.0):
        self.count = count

    def components(self, model: nn.Module) -> tuple[nn.Module, ...]:
        return (model,)

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        count = torch.tensor(self.count)
        distance = (model.get_parameter("weight") - batch.images.mean()).square().sum()
        return {"distance": LossTerm(count * distance, count)}


class Noting:
    """Notes the weight that each validation was given, and has its distance from 1 as score."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    def score(self, model: nn.Module, case: str, *, is_shown: bool) -> float:
        self.weights.append(float(model.get_parameter("weight")))
        return abs(1 - self.weights[-1])

    def values(self, scores: list[float]) -> dict[str, float]:
        return {"distance": float(np.mean(scores))}

    def criterion(self, score: float) -> float:
        return score


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(Pictures, "update", lambda self: None)


def train(
    folder: Path, *, objective: Nearness, scorer: Noting | None = None, tell_time=print, **training
):
    """Return the state after a training, and the raw weight after each of its steps."""
    resolved = plans(training={"num_iterations": NUM_ITERATIONS, "num_validations": 3, **training})
    plan = resolved.configuration.training
    model = OneWeight()
    state = TrainingState(
        model=model,
        ema=ExponentialMovingAverage(model, decay=plan.ema_decay),
        optimizer=build_optimizer(model, plan),
    )
    weights: list[Tensor] = []
    state.optimizer.register_step_post_hook(
        lambda *_: weights.append(model.weight.detach().clone())
    )
    loop = TrainingLoop(
        model=model,
        objective=objective,  # type: ignore[arg-type]  # nothing builds its model
        plan=plan,
        validation=None if scorer is None else SampledValidation(scorer=scorer, cases=("a",)),
        origin=Origin(plans=resolved, fold="0", seed=0, data={}),
        folder=folder,
        ranks=Ranks(),
        device=torch.device("cpu"),
        checkpoint_interval_s=math.inf,
        validation_time_share=1e9,
        precision="float32",
        has_dropout=True,
        augmentation=None,
        pictures=Pictures(folder),
        loggers=Loggers(),
        tell_time=tell_time,
    )
    assert loop.run(state, map(batch, range(NUM_ITERATIONS)), should_stop=StopRequest())
    return state, [float(weight) for weight in weights]


def batch(iteration: int) -> Batch:
    return Batch(
        iteration=iteration,
        indices=(0,),
        cases=("a",),
        raters=("",),
        images=np.ones((1, 1, 2, 2), np.float32),
        label_maps=None,
        tags=np.zeros((1, 0), np.float32),
    )


def test_validation_is_of_the_averaged_weights(tmp_path):
    scorer = Noting()
    _, raw = train(tmp_path, objective=Nearness(), scorer=scorer, learning_rate=0.1)
    average, averages = 0.0, []
    for iteration, weight in enumerate(raw):
        average += (1 - min(0.9, (1 + iteration) / (10 + iteration))) * (weight - average)
        averages.append(average)
    assert scorer.weights == pytest.approx(averages[1::2], rel=1e-5)
    assert abs(scorer.weights[0] - raw[1]) > 0.01


def test_the_best_validation_is_that_of_the_smallest_score(tmp_path):
    state, _ = train(tmp_path, objective=Nearness(), scorer=Noting(), learning_rate=0.1)
    assert state.best_iteration == NUM_ITERATIONS


def test_a_batch_of_which_every_voxel_is_ignored_teaches_nothing_and_ends_nothing(tmp_path):
    _, raw = train(tmp_path, objective=Nearness(count=0.0))
    assert raw == [0.0] * NUM_ITERATIONS
    assert [record["loss"] for record in read_records(tmp_path / METRICS_FILE)] == [
        0.0
    ] * NUM_ITERATIONS


@pytest.mark.parametrize("count", [1.0, 50.0])
def test_the_gradient_is_of_the_mean_of_one_batch(tmp_path, count):
    """However many values it is of, and whatever the gradients before: that of (w - 1)^2."""
    _, raw = train(tmp_path, objective=Nearness(count=count), learning_rate=0.1)
    found = [record["gradient_norm"] for record in read_records(tmp_path / METRICS_FILE)]
    assert found == pytest.approx([2 * abs(1 - weight) for weight in [0.0, *raw[:-1]]], rel=1e-5)


def test_each_component_is_clipped_by_itself():
    large, small = OneWeight(), OneWeight()
    for each, gradient in ((large, 100.0), (small, 0.5)):
        each.weight.grad = torch.tensor([gradient])
    objective = SimpleNamespace(components=lambda model: (large, small))
    plan = SimpleNamespace(gradient_clip_norm=2.0)
    loop = SimpleNamespace(objective=objective, plan=plan)
    norm = TrainingLoop._clip_gradients(loop, nn.Identity())
    assert [float(each.weight.grad) for each in (large, small)] == pytest.approx([2.0, 0.5])
    assert float(norm) == pytest.approx(math.hypot(100.0, 0.5))


class Drawing(Nearness):
    """Draws a random number in each step, as dropout does."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[float] = []

    def __call__(self, model: nn.Module, batch: TensorBatch) -> dict[str, LossTerm]:
        self.numbers.append(float(torch.rand(1)))
        return super().__call__(model, batch)


def test_dropout_is_new_in_every_step_and_the_same_in_every_training(tmp_path):
    objectives = Drawing(), Drawing()
    for objective in objectives:
        train(tmp_path, objective=objective)
        torch.rand(1)
    assert objectives[0].numbers == objectives[1].numbers
    assert len(set(objectives[0].numbers)) == NUM_ITERATIONS


def test_steps_are_as_long_as_the_learning_rate_of_their_iteration(tmp_path):
    """Adam's first step moves each weight by the learning rate: here in the midst of a warm-up.

    Where all gradients are equal so do the others; they shrink as the rate does.
    """
    _, raw = train(tmp_path, objective=Nearness(), learning_rate=1e-3, decay_share=1.0)
    records = read_records(tmp_path / METRICS_FILE)
    steps = np.diff([0.0, *raw])
    np.testing.assert_allclose(steps, [each["learning_rate"] for each in records], rtol=0.01)
    assert steps[-1] < 0.2 * steps[0]


@pytest.mark.parametrize(("seconds", "stride"), [(0.1, 1), (1.4, 1), (1.6, 2), (4.4, 3), (99.0, 5)])
def test_validations_that_would_take_too_long_are_made_more_rarely(seconds, stride):
    """A second each is planned for; half as much again is let pass, and the last is always made."""
    loop = SimpleNamespace(plan=SimpleNamespace(num_validations=5), ranks=Ranks())
    assert TrainingLoop._stride(loop, seconds, budget_s=1.0) == stride


def test_the_speed_of_a_training_is_told_once_without_the_first_iterations():
    told: list[float] = []
    speed = Speed(told.append)
    for seconds in (*(100.0,) * 5, 8.0, 10.0, 12.0, 50.0, 50.0):
        speed.note(seconds)
    assert told == [10.0]


def test_the_speed_counts_only_the_iterations_since_the_training_went_on():
    """Terms that are summed up since the last record may be older than the process."""
    state = SimpleNamespace(iteration=17, seconds=81.6)
    clock = Clock.at(state)  # type: ignore[arg-type]  # all that it looks at
    assert math.isnan(clock.iterations_per_second(state))  # type: ignore[arg-type]
    state.iteration, state.seconds = 19, 85.6
    assert clock.iterations_per_second(state) == pytest.approx(0.5)  # type: ignore[arg-type]
