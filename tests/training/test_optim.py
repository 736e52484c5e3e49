import math

import pytest
import torch
from torch import nn

from diffunet.plans import TrainingPlan
from diffunet.training.optim import (
    build_optimizer,
    learning_rate_at,
    num_warmup_iterations,
    set_learning_rate,
)

PLAN = TrainingPlan(
    num_iterations=1000, learning_rate=0.5, num_warmup_iterations=100, decay_share=0.25
)


def test_the_learning_rate_rises_linearly_stays_and_falls_as_a_cosine():
    assert learning_rate_at(0, PLAN) == pytest.approx(0.5 / 100)
    assert learning_rate_at(49, PLAN) == pytest.approx(0.25)
    assert learning_rate_at(99, PLAN) == learning_rate_at(749, PLAN) == 0.5
    assert learning_rate_at(875, PLAN) == pytest.approx(0.25)
    assert learning_rate_at(999, PLAN) == pytest.approx(0.25 * (1 + math.cos(math.pi * 249 / 250)))


def test_warm_up_takes_at_most_a_tenth_of_a_short_training():
    plan = TrainingPlan(num_iterations=20, learning_rate=1.0, num_warmup_iterations=1000)
    assert [learning_rate_at(iteration, plan) for iteration in range(4)] == [0.5, 1, 1, 1]


def test_a_planned_warm_up_of_one_iteration_is_never_too_long():
    plan = TrainingPlan(num_iterations=2, learning_rate=1.0, num_warmup_iterations=1)
    assert num_warmup_iterations(plan) == 1
    assert learning_rate_at(0, plan) == 1.0


def test_a_training_of_one_iteration_has_a_learning_rate():
    plan = TrainingPlan(num_iterations=1, learning_rate=1.0, decay_share=1.0)
    assert learning_rate_at(0, plan) == 1.0


def test_without_decay_the_learning_rate_stays():
    plan = TrainingPlan(num_iterations=100, learning_rate=1.0, decay_share=0.0)
    assert learning_rate_at(99, plan) == 1.0


def test_only_weights_of_convolutions_and_matrices_decay():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = build_optimizer(model, TrainingPlan(weight_decay=0.1))
    decayed, kept = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[3].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


def test_the_set_learning_rate_is_the_size_of_adams_first_step():
    weight = nn.Parameter(torch.zeros(3))
    holder = nn.ParameterList([weight])
    optimizer = build_optimizer(holder, TrainingPlan(weight_decay=0))
    set_learning_rate(optimizer, 0.25)
    weight.grad = torch.tensor([1.0, -2.0, 30.0])
    optimizer.step()
    torch.testing.assert_close(weight.data, torch.tensor([-0.25, 0.25, -0.25]))
