import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import learning_rates  # pyright: ignore[reportMissingImports]

from diffunet.training.fold_data import open_fold
from tests.training.folds import plans, write_preprocessed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_preprocessed(tmp_path_factory.mktemp("rates") / "preprocessed")
    return open_fold(plans(training={"num_iterations": 4}), folder, fold="0", device=CPU)


def test_averages_of_one_training_are_of_the_lengths_asked_for(data):
    """An average over one iteration is the weights; one over many still has much of the start."""
    models, loss = learning_rates.trained(
        data, seed=0, lengths=(0, 0.25, 1.0), num_processes=0, device=CPU
    )
    raw, short, long = (dict(models[length].named_parameters()) for length in (0, 0.25, 1.0))
    assert loss > 0
    assert all(torch.allclose(raw[name], short[name]) for name in raw)
    assert any(not torch.allclose(raw[name], long[name], atol=1e-5) for name in raw)


def test_a_row_tells_what_was_trained_and_how_it_scores(data, tmp_path):
    rows = list(
        learning_rates.rows_of(
            data, seed=1, lengths=(0, 1.0), num_processes=0, device=CPU, scratch=tmp_path
        )
    )
    assert [row["average"] for row in rows] == [1.0, 0]
    assert {row["iterations"] for row in rows} == {4}
    assert all(0 <= row["ged"] <= 2 for row in rows)
    assert len({row["loss"] for row in rows}) == 1
