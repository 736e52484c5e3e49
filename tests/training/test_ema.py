import pytest
import torch
from torch import nn

from diffunet.training.ema import ExponentialMovingAverage


def test_the_decay_grows_to_its_limit():
    ema = ExponentialMovingAverage(nn.Linear(1, 1), decay=0.9)
    assert ema.decay_at(0) == pytest.approx(0.1)
    assert ema.decay_at(8) == pytest.approx(0.5)
    assert ema.decay_at(10**6) == 0.9


def test_the_average_is_the_recursion_by_hand():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema = ExponentialMovingAverage(model, decay=0.15)
    expected = 1.0
    for iteration, value in enumerate([2.0, -1.0, 5.0]):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(iteration)
        decay = min(0.15, (1 + iteration) / (10 + iteration))
        expected = decay * expected + (1 - decay) * value
    assert ema.model.get_parameter("weight").item() == pytest.approx(expected, rel=1e-6)


def test_the_averaged_copy_is_for_evaluation_and_without_gradients():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    ema = ExponentialMovingAverage(model, decay=0.9)
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert model.training
