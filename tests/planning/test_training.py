import pytest

from diffunet.planning.training import (
    choose_ema_decay,
    choose_learning_rate,
    choose_num_iterations,
    choose_num_warmup_iterations,
    fit_to_iterations,
)
from tests.wsss.weak_folds import weak_plans


@pytest.mark.parametrize(
    ("num_cases", "patches_per_case", "batch_size", "expected"),
    [
        (8063, 1, 32, 21_000),  # LIDC: a hundred passes over 6450 images
        (22, 3.4, 8, 20_000),  # few images: 160 thousand patches
        (100, 1, 32, 10_000),  # never fewer iterations
        (10**6, 1, 32, 100_000),  # P1's 3.2 million patches
        (1, 0, 2, 80_000),
    ],
)
def test_num_iterations(num_cases, patches_per_case, batch_size, expected):
    found = choose_num_iterations(
        num_cases=num_cases, patches_per_case=patches_per_case, batch_size=batch_size
    )
    assert found.value == expected


@pytest.mark.parametrize(
    ("num_iterations", "expected"),
    [
        (400_000, 1e-4),  # P1
        (2_000_000, 1e-4),
        (100_000, 2e-4),
        (25_000, 4e-4),
        (10_000, 6.3e-4),
        (4000, 1e-3),
        (800, 1e-3),
    ],
)
def test_the_learning_rate_falls_with_the_root_of_the_number_of_iterations(
    num_iterations, expected
):
    assert choose_learning_rate(num_iterations).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("num_iterations", "expected"), [(400_000, 1000), (20_000, 1000), (2000, 100), (2, 1), (1, 1)]
)
def test_num_warmup_iterations(num_iterations, expected):
    assert choose_num_warmup_iterations(num_iterations).value == expected


@pytest.mark.parametrize(
    ("num_iterations", "expected"), [(20_000, 0.999), (400_000, 0.9999), (2000, 0.99), (2, 0.0)]
)
def test_weights_are_averaged_over_a_twentieth_of_the_training(num_iterations, expected):
    assert choose_ema_decay(num_iterations).value == pytest.approx(expected)


def test_a_set_number_of_iterations_brings_its_own_learning_rate_warmup_and_average():
    fitted = fit_to_iterations(weak_plans().with_settings(["training.num_iterations=1000"]))
    training = fitted.configuration.training
    assert (training.learning_rate, training.num_warmup_iterations) == (1e-3, 50)
    assert training.ema_decay == pytest.approx(0.98)
    assert "1000 iterations" in fitted.reasons["training"]["learning_rate"]
    assert fitted.set_by_user == ("training.num_iterations",)


def test_what_the_user_sets_beside_the_number_of_iterations_stays():
    settings = ["training.num_iterations=1000", "training.learning_rate=7e-4"]
    fitted = fit_to_iterations(weak_plans().with_settings(settings)).configuration.training
    assert (fitted.learning_rate, fitted.num_warmup_iterations) == (7e-4, 50)


def test_a_planned_number_of_iterations_leaves_a_plans_file_as_it_is():
    assert fit_to_iterations(weak_plans()) == weak_plans()
