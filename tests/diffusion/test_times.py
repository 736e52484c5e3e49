import pytest
import torch
from scipy.stats import kstest

from diffunet.diffusion.times import stratified_times


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_one_time_lies_in_each_stratum(batch_size):
    times = stratified_times(batch_size, 3)
    assert sorted((times * batch_size).floor().tolist()) == list(range(batch_size))


def test_times_are_float64_from_0_to_below_1():
    times = torch.cat([stratified_times(8, seed) for seed in range(200)])
    assert times.dtype == torch.float64
    assert float(times.min()) >= 0
    assert float(times.max()) < 1


@pytest.mark.parametrize("place", [0, 3])
def test_each_place_of_the_batch_is_uniform(place):
    times = [float(stratified_times(4, seed)[place]) for seed in range(2000)]
    assert kstest(times, "uniform").pvalue > 1e-3


def test_times_are_a_function_of_the_seed_alone():
    first = stratified_times(8, 5)
    torch.rand(3)
    assert torch.equal(stratified_times(8, 5), first)


def test_drawing_times_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    stratified_times(8, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_different_seeds_give_different_times():
    assert not torch.equal(stratified_times(8, 5), stratified_times(8, 6))


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size should be at least 1, got 0"):
        stratified_times(0, 1)
