import dataclasses
import logging
import re

import pytest
import torch
from torch import nn

from diffunet.checkpoint import load_checkpoint, save_checkpoint
from diffunet.errors import CheckpointError, DiffunetError, PlansError
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.optim import build_optimizer
from diffunet.training.state import (
    Origin,
    TrainingState,
    differences,
    load_pretrained,
)
from tests.training.folds import plans, with_settings

ORIGIN = Origin(plans=plans(), fold="0", seed=3, data={"a": "1", "b": "2"})


def state(*, features: int = 3) -> TrainingState:
    model = nn.Sequential(nn.Linear(2, features), nn.Linear(features, 1))
    ema = ExponentialMovingAverage(model, decay=0.9)
    return TrainingState(
        model=model, ema=ema, optimizer=build_optimizer(model, ORIGIN.plans.configuration.training)
    )


def step(trained: TrainingState, value: float) -> None:
    trained.optimizer.zero_grad()
    (trained.model(torch.ones(1, 2)) * value).sum().backward()
    trained.optimizer.step()
    trained.ema.update(trained.iteration)
    trained.add_terms({"loss": torch.tensor(value)})
    trained.iteration += 1


def test_a_restored_state_goes_on_as_the_one_that_was_saved(tmp_path):
    one = state()
    step(one, 2.0)
    one.best_scores, one.last_validation, one.seconds = [0.5, 0.25], 1, 9.5
    one.save(tmp_path / "latest.pth", ORIGIN)
    other = state()
    other.restore(tmp_path / "latest.pth", ORIGIN)
    for each in (one, other):
        step(each, -3.0)
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(one.ema.model.parameters(), other.ema.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert one.take_means() == other.take_means() == {"loss": -0.5}
    assert (other.iteration, other.best_scores, other.last_validation, other.seconds) == (
        2,
        [0.5, 0.25],
        1,
        9.5,
    )


def test_a_checkpoint_says_what_it_came_from(tmp_path):
    trained = state()
    trained.save_weights(tmp_path / "final.pth", ORIGIN)
    content = load_checkpoint(tmp_path / "final.pth", "cpu")
    assert (content["fold"], content["seed"], content["iteration"]) == ("0", 3, 0)
    assert set(content["versions"]) == {"diffunet", "torch", "numpy"}
    assert content["plans"]["configuration"]["diffusion"]["input_scale"] == 0.1
    assert content["training"] is None


def test_weights_alone_cannot_be_continued(tmp_path):
    state().save_weights(tmp_path / "final.pth", ORIGIN)
    with pytest.raises(
        CheckpointError, match=r"weights only; continue from 'checkpoint_latest.pth'"
    ):
        state().restore(tmp_path / "final.pth", ORIGIN)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fold": "1"}, "is of fold 0, but fold 1 was asked for"),
        ({"seed": 4}, "is of seed 3, but seed 4 was asked for"),
    ],
)
def test_another_fold_or_seed_cannot_be_continued(tmp_path, change, message):
    state().save(tmp_path / "latest.pth", ORIGIN)
    with pytest.raises(CheckpointError, match=message):
        state().restore(tmp_path / "latest.pth", dataclasses.replace(ORIGIN, **change))


def test_changed_plans_cannot_be_continued_and_every_change_is_named(tmp_path):
    state().save(tmp_path / "latest.pth", ORIGIN)
    other = with_settings(ORIGIN.plans, "diffusion.input_scale=0.3", "training.batch_size=8")
    with pytest.raises(PlansError, match=r"input_scale: 0.1 -> 0.3.*batch_size: 4 -> 8"):
        state().restore(tmp_path / "latest.pth", dataclasses.replace(ORIGIN, plans=other))


def test_more_iterations_are_taken_with_a_warning(tmp_path, caplog):
    state().save(tmp_path / "latest.pth", ORIGIN)
    longer = with_settings(ORIGIN.plans, "training.num_iterations=50")
    with caplog.at_level(logging.WARNING):
        state().restore(tmp_path / "latest.pth", dataclasses.replace(ORIGIN, plans=longer))
    assert "training.num_iterations was 12 when this training began and is now 50" in caplog.text


def test_a_diverged_training_is_not_saved(tmp_path):
    broken = state()
    broken.add_terms({"loss": torch.tensor(1.0)})
    broken.save(tmp_path / "latest.pth", ORIGIN)
    before = (tmp_path / "latest.pth").read_bytes()
    broken.add_terms({"loss": torch.tensor(float("nan"))})
    with pytest.raises(DiffunetError, match=r"diverged: loss is not finite.*learning_rate"):
        broken.save(tmp_path / "latest.pth", ORIGIN)
    assert (tmp_path / "latest.pth").read_bytes() == before


def test_differences_name_leaves_and_pass_over_reasons():
    old = {"a": {"b": 1, "c": [1, 2]}, "reasons": {"x": "because"}, "gone": 1}
    new = {"a": {"b": 2, "c": [1, 2]}, "reasons": {}, "new": None}
    assert differences(old, new) == {"a.b": (1, 2), "gone": (1, None)}


def test_pretrained_weights_that_fit_are_taken_and_the_others_are_named(tmp_path, caplog):
    source, target = state(), state(features=3)
    target.model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    source.save_weights(tmp_path / "final.pth", ORIGIN)
    with caplog.at_level(logging.INFO):
        load_pretrained(target.model, tmp_path / "final.pth")
    assert torch.equal(
        target.model.get_parameter("0.weight"), source.model.get_parameter("0.weight")
    )
    assert "2 of 4 tensors" in caplog.text
    assert "'1.weight': (1, 3) of torch.float32 there, (2, 3) of torch.float32 here" in caplog.text


def test_a_long_list_of_misfits_is_shortened(tmp_path, caplog):
    layers = {f"{number:02}": nn.Linear(1, 1) for number in range(15)}
    model = nn.ModuleDict(layers)
    model["99"] = nn.Linear(2, 2)
    source = state()
    source.ema.model = nn.ModuleDict({"99": nn.Linear(2, 2), "98": nn.Linear(1, 1)})
    source.save_weights(tmp_path / "final.pth", ORIGIN)
    with caplog.at_level(logging.WARNING):
        load_pretrained(model, tmp_path / "final.pth")
    assert "'98.weight': not in this network" in caplog.text
    assert "'00.weight': not in the file" in caplog.text
    assert "and 12 more" in caplog.text


def test_pretrained_weights_of_which_none_fits_are_an_error(tmp_path):
    state().save_weights(tmp_path / "final.pth", ORIGIN)
    with pytest.raises(CheckpointError, match="none of the 4 tensors"):
        load_pretrained(nn.Conv2d(1, 1, 1), tmp_path / "final.pth")


def saved_with(path, change):
    """Save a state, and change what the checkpoint holds."""
    trained = state()
    step(trained, 2.0)
    trained.save(path, ORIGIN)
    content = load_checkpoint(path, "cpu")
    change(content)
    save_checkpoint(path, content)
    return path


TRAINING_KEYS = (
    "network",
    "optimizer",
    "seconds",
    "term_sums",
    "num_summed",
    "last_validation",
    "validation_seconds",
    "num_validated",
    "validation_stride",
    "best_iteration",
    "best_scores",
)


@pytest.mark.parametrize("key", TRAINING_KEYS)
@pytest.mark.parametrize("value", [..., "text", None, {"a": [1]}, ["a"]])
def test_a_part_of_the_training_that_is_missing_or_something_else_is_an_error(tmp_path, key, value):
    def change(content):
        if value is ...:
            del content["training"][key]
        else:
            content["training"][key] = value

    path = saved_with(tmp_path / "latest.pth", change)
    with pytest.raises(CheckpointError, match=r"latest\.pth"):
        state().restore(path, ORIGIN)


@pytest.mark.parametrize(
    "key", ["weights", "plans", "fold", "seed", "data", "iteration", "training"]
)
@pytest.mark.parametrize("value", [..., [1]])
def test_a_part_of_a_checkpoint_that_is_missing_or_something_else_is_an_error(tmp_path, key, value):
    def change(content):
        if value is ...:
            del content[key]
        else:
            content[key] = value

    path = saved_with(tmp_path / "latest.pth", change)
    with pytest.raises(CheckpointError, match=r"latest\.pth"):
        state().restore(path, ORIGIN)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved["state"][0].update(exp_avg=torch.zeros(1)),
        lambda saved: saved["state"][0].update(exp_avg_sq=torch.full((3, 2), float("nan"))),
        lambda saved: saved["state"][0].pop("step"),
        lambda saved: saved["state"].pop(1),
        lambda saved: saved["param_groups"].pop(),
        lambda saved: saved["param_groups"][0].update(lr="fast"),
        lambda saved: saved["param_groups"][0].update(params=[0]),
    ],
)
def test_an_optimizers_state_that_is_not_of_these_weights_is_an_error(tmp_path, change):
    path = saved_with(
        tmp_path / "latest.pth", lambda content: change(content["training"]["optimizer"])
    )
    with pytest.raises(CheckpointError, match="optimiser's state does not belong"):
        state().restore(path, ORIGIN)


def test_other_data_cannot_be_continued_and_what_changed_is_named(tmp_path):
    saved_with(tmp_path / "latest.pth", lambda content: None)
    now = dataclasses.replace(ORIGIN, data={"a": "9", "c": "3"})
    with pytest.raises(CheckpointError) as caught:
        state().restore(tmp_path / "latest.pth", now)
    for kind in ("1 changed, the first is 'a'", "1 removed.*'b'", "1 added.*'c'"):
        assert re.search(kind, str(caught.value))
