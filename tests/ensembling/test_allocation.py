import pytest

from diffunet.ensembling.allocation import (
    allocate,
    chosen_samples,
    interleaved,
    largest_allocation,
)


@pytest.mark.parametrize(
    ("weights", "total", "counts"),
    [
        ((1, 1), 16, (8, 8)),
        ((1, 1), 3, (2, 1)),
        ((2, 1), 16, (11, 5)),  # shares 10.67 and 5.33
        ((5, 3, 1), 10, (6, 3, 1)),  # shares 5.56, 3.33 and 1.11
        ((0.1, 0.2), 3, (1, 2)),
        ((1e-300, 1e300), 5, (0, 5)),
    ],
)
def test_samples_are_shared_out_by_largest_remainders(weights, total, counts):
    assert allocate(weights, total) == counts


@pytest.mark.parametrize(
    ("weights", "available", "counts"),
    [
        ((1, 1), (16, 16), (16, 16)),
        ((1, 1), (16, 8), (9, 8)),  # 17 samples: the odd one goes to the first
        ((2, 1), (8, 8), (8, 4)),
        ((1, 1), (16, None), (16, 16)),  # a single mask stands for any number of samples
        ((1, 3), (4, None), (4, 13)),  # 17 samples, of shares 4.25 and 12.75
        ((1, 1), (None, None), None),
    ],
)
def test_without_a_number_as_many_samples_are_joined_as_there_are(weights, available, counts):
    assert largest_allocation(weights, available) == counts


def test_all_samples_of_a_folder_keep_their_order():
    assert chosen_samples(4, 4, seed=0, case="a", place=0) == (0, 1, 2, 3)


def test_some_samples_of_a_folder_are_a_choice_by_seed_case_and_folder():
    def chosen(**changes):
        return chosen_samples(8, 16, **{"seed": 0, "case": "a", "place": 0, **changes})

    assert chosen() == chosen()
    for case in "abcdefgh":
        assert len(set(chosen(case=case))) == 8
        assert set(chosen(case=case)) <= set(range(16))
    others = [chosen(seed=1), chosen(case="b"), chosen(place=1)]
    assert chosen() not in others


def test_a_single_mask_is_taken_again_and_again():
    assert chosen_samples(3, None, seed=0, case="a", place=0) == (0, 0, 0)


def test_the_first_samples_of_a_mixture_are_a_mixture():
    order = [model for model, _ in interleaved((4, 2))]
    assert order == [0, 1, 0, 0, 1, 0]
    assert [number for model, number in interleaved((4, 2)) if model == 0] == [0, 1, 2, 3]
