"""What a training says of its time."""

import dataclasses

import pytest
from torch import nn

from diffunet.methods import METHODS
from diffunet.planning.sizes import with_size
from diffunet.training.fold_data import FoldData
from diffunet.training.header import sentence_of_time, training_header
from tests.training.folds import plans, write_preprocessed
from tests.training.test_fold_data import opened

LONG = {"num_iterations": 10**7, "batch_size": 32}


def fold(tmp_path, **training) -> FoldData:
    return opened(write_preprocessed(tmp_path), plans(training=training))


def header(data: FoldData) -> list[str]:
    return list(
        training_header(
            data,
            fold="0",
            iteration=0,
            num_ranks=1,
            model=nn.Linear(1, 1),
            method=METHODS[data.plans.method].training(),
        )
    )


def told_at(data: FoldData, *, seconds_per_iteration: float, num_left: int) -> str:
    return sentence_of_time(
        data,
        seconds_per_iteration=seconds_per_iteration,
        num_left=num_left,
        method=METHODS[data.plans.method].training(),
    )


def test_on_a_cpu_the_plans_alone_tell_the_time(tmp_path):
    (sentence,) = [each for each in header(fold(tmp_path)) if each.startswith("time:")]
    assert sentence.endswith("on two cores, besides validations")


def test_of_a_long_training_it_is_said_what_a_laptops_would_take(tmp_path):
    data = fold(tmp_path, **LONG)
    (sentence,) = [each for each in header(data) if each.startswith("time:")]
    assert "a new training with --preset laptop: 25 minutes" in sentence
    told = told_at(data, seconds_per_iteration=2.0, num_left=10**6)
    assert told.startswith("2 seconds an iteration: the 1000000 iterations left take about 23 days")
    assert "; a new training with --preset laptop: " in told


@pytest.mark.parametrize("seconds_per_iteration", [0.001, 1.0])
def test_of_a_short_training_or_a_laptops_it_is_not(tmp_path, seconds_per_iteration):
    data = fold(tmp_path, **(LONG if seconds_per_iteration == 1.0 else {}))
    laptop = with_size(data.plans, "laptop", labels=data.labels)
    data = dataclasses.replace(data, plans=laptop)
    told = told_at(data, seconds_per_iteration=seconds_per_iteration, num_left=10**5)
    assert "laptop" not in told
    assert "(preset laptop)" in " ".join(header(data))


def test_without_validation_cases_no_validation_is_announced(tmp_path):
    data = fold(tmp_path)
    told = told_at(data, seconds_per_iteration=1.0, num_left=12)
    assert told.endswith("and a final validation follows")
    split = dataclasses.replace(data.split, val=())
    data = dataclasses.replace(data, split=split)
    told = told_at(data, seconds_per_iteration=1.0, num_left=12)
    assert told == "1 second an iteration: the 12 iterations left take about 12 seconds"
