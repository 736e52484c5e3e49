from diffunet.randomness import derive_seed, numpy_generator


def test_a_seed_depends_on_every_part_their_order_and_their_type():
    seeds = {
        derive_seed(*parts) for parts in [(1, 2), (2, 1), (1, "2"), (12,), ("1", "2"), (1, 2, 0)]
    }
    assert len(seeds) == 6


def test_seeds_are_fixed_for_ever():
    assert derive_seed(0, "noise", 3) == 3598013454707825169
    assert 0 <= derive_seed("x") < 2**63


def test_equal_parts_give_equal_draws():
    assert numpy_generator(1, "a").random() == numpy_generator(1, "a").random()
    assert numpy_generator(1, "a").random() != numpy_generator(2, "a").random()
