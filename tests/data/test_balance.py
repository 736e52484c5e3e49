from collections import Counter

import numpy as np
import pytest

from diffunet.data.batches.balance import (
    NUM_POSITIONS,
    BalancedOrder,
    image_positions,
    is_plain_turn,
    overlap_weights,
)
from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.geometry import Box


def properties(
    case: str, *, patient: str = "p", shape: tuple[int, ...] = (4, 4), tags=None, slice_tags=()
) -> CaseProperties:
    return CaseProperties(
        case=case,
        patient=patient,
        original_shape=shape,
        original_spacing_mm=(1.0,) * len(shape),
        transpose_forward=tuple(range(len(shape))),
        crop_box=Box(start=(0,) * len(shape), stop=shape),
        shape=shape,
        spacing_mm=(1.0,) * len(shape),
        normalization=(IntensityNormalization(),),
        is_normalized=False,
        image_labels=tags,
        slice_image_labels=slice_tags,
    )


def shortcut(seed: int = 0, number: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Images whose label is likelier in the middle."""
    generator = np.random.default_rng(seed)
    positions = generator.random(number)
    return (generator.random(number) < np.sin(np.pi * positions) ** 2).astype(int), positions


def test_weights_make_label_and_position_independent():
    tags, positions = shortcut()
    weights = overlap_weights(tags, positions)
    part = (positions * NUM_POSITIONS).astype(int)
    assert weights.sum() == pytest.approx(1)
    for index in range(NUM_POSITIONS):
        positive = weights[(part == index) & (tags == 1)].sum()
        assert positive == pytest.approx(weights[(part == index) & (tags == 0)].sum(), abs=1e-12)


def test_a_place_with_one_kind_only_teaches_nothing():
    tags, positions = np.array([0, 0, 1, 0]), np.array([0.05, 0.05, 0.5, 0.5])
    np.testing.assert_allclose(overlap_weights(tags, positions), [0, 0, 0.5, 0.5])


def test_kinds_that_never_meet_are_drawn_alike():
    weights = overlap_weights(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9]))
    np.testing.assert_allclose(weights, [0.25] * 4)


def test_images_without_a_position_are_balanced_among_themselves():
    weights = overlap_weights(np.array([1, 0, 0, 0]), np.full(4, np.nan))
    np.testing.assert_allclose(weights, [0.5, 1 / 6, 1 / 6, 1 / 6])


def test_images_without_a_position_are_balanced_apart_from_the_first():
    weights = overlap_weights(np.array([1, 1, 1, 0]), np.array([np.nan, 0.0, np.nan, 0.0]))
    np.testing.assert_allclose(weights, [0, 0.5, 0, 0.5])


def test_the_last_position_belongs_to_the_last_part():
    weights = overlap_weights(np.array([1, 0]), np.array([1.0, 0.99]))
    np.testing.assert_allclose(weights, [0.5, 0.5])


def test_positions_are_ranks_of_cases_and_places_of_slices():
    cases = {
        "b_2": properties("b_2", patient="b", tags=(1,)),
        "b_1": properties("b_1", patient="b", tags=(0,)),
        "b_3": properties("b_3", patient="b", tags=(0,)),
        "alone": properties("alone", patient="c", tags=(0,)),
        "volume": properties("volume", patient="d", shape=(5, 4, 4), tags=(1,)),
    }
    images = [("b_2", None), ("b_1", None), ("b_3", None), ("alone", None), ("volume", 1)]
    np.testing.assert_allclose(image_positions(images, cases), [0.5, 0, 1, np.nan, 0.25])


def test_images_are_drawn_as_often_as_they_weigh():
    tags, _ = shortcut(number=60)
    cases = {f"c{i:02d}": properties(f"c{i:02d}", tags=(int(tag),)) for i, tag in enumerate(tags)}
    images = [(case, None) for case in cases]
    weights = overlap_weights(tags, image_positions(images, cases))
    order = BalancedOrder(images, cases)
    generator = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for _ in range(1500):
        offset = float(generator.random())
        counts.update(order.image_of(i, batch_size=8, offset=offset)[0] for i in range(8))
    found = np.array([counts[case] for case, _ in images]) / (1500 * 8)
    np.testing.assert_allclose(found, weights, atol=0.004)


def test_labels_take_turns_in_being_balanced():
    tags = {"a": (1, 0), "b": (0, 0), "c": (0, 1), "d": (0, 0)}
    cases = {case: properties(case, patient=case, tags=each) for case, each in tags.items()}
    order = BalancedOrder([(case, None) for case in cases], cases)
    offsets = np.linspace(0, 1, 600, endpoint=False)
    for index, rare in ((0, "a"), (1, "c")):
        counts = Counter(order.image_of(index, batch_size=2, offset=o)[0] for o in offsets)
        assert counts[rare] / 600 == pytest.approx(0.5, abs=0.01)
        assert counts["b"] / 600 == pytest.approx(1 / 6, abs=0.01)


def test_every_label_is_balanced_though_a_batch_has_fewer_samples_than_there_are_labels():
    tags = {f"c{i}": tuple(int(i == label) for label in range(5)) for i in range(5)}
    tags |= {f"none{i}": (0,) * 5 for i in range(15)}
    cases = {case: properties(case, patient=case, tags=each) for case, each in tags.items()}
    order = BalancedOrder([(case, None) for case in cases], cases)
    generator = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for iteration in range(3000):
        offset = float(generator.random())
        counts.update(
            order.image_of(i, batch_size=2, offset=offset, drawn_before=2 * iteration)[0]
            for i in range(2)
        )
    # half of its own turns, and one in 38 of the other labels' turns
    expected = (0.5 + 4 * 0.5 / 19) / 5
    for label in range(5):
        assert counts[f"c{label}"] / 6000 == pytest.approx(expected, abs=0.01)


def test_samples_before_a_batch_only_shift_the_labels():
    tags = {"a": (1, 0, 0), "b": (0, 1, 0), "c": (0, 0, 1), "d": (0, 0, 0)}
    cases = {case: properties(case, patient=case, tags=each) for case, each in tags.items()}
    order = BalancedOrder([(case, None) for case in cases], cases)
    rare = ("a", "b", "c")
    for drawn_before in range(6):
        for index in range(7):
            counts = Counter(
                order.image_of(index, batch_size=7, offset=o, drawn_before=drawn_before)[0]
                for o in np.linspace(0, 1, 600, endpoint=False)
            )
            assert counts[rare[(drawn_before + index) % 3]] / 600 == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 8), (0.5, 16)])
def test_each_batch_has_its_share_of_plain_turns(share, count):
    for iteration in range(3):
        turns = [is_plain_turn(32 * iteration + index, share=share) for index in range(32)]
        assert sum(turns) == count


@pytest.mark.parametrize(("share", "size"), [(0.7, 10), (0.29, 100), (0.57, 100), (0.1, 30)])
def test_shares_without_an_exact_binary_form_are_met_in_each_batch_too(share, size):
    for iteration in range(50):
        first = iteration * size
        turns = [is_plain_turn(first + index, share=share) for index in range(size)]
        assert sum(turns) == round(share * size)


def test_a_share_that_no_batch_holds_is_met_over_several():
    turns = [is_plain_turn(number, share=0.3) for number in range(4000)]
    assert sum(turns) == 1200
    by_batch = np.reshape(turns, (-1, 4)).sum(axis=1)
    assert set(by_batch) == {1, 2}


def test_positions_of_both_kinds_are_distributed_alike():
    tags, positions = shortcut(seed=3)
    weights = overlap_weights(tags, positions)
    part = (positions * NUM_POSITIONS).astype(int)
    with_label, without = (
        np.bincount(part, weights * (tags == kind), minlength=NUM_POSITIONS) for kind in (1, 0)
    )
    assert with_label.sum() == pytest.approx(0.5)
    np.testing.assert_allclose(with_label, without, atol=1e-12)
    plain = [np.bincount(part, tags == kind, minlength=NUM_POSITIONS) for kind in (1, 0)]
    assert np.abs(plain[0] / plain[0].sum() - plain[1] / plain[1].sum()).max() > 0.1


def test_no_image_weighs_more_than_the_other_kind_at_its_position():
    """One of 1000 at a position cannot be drawn as often as all others there together: 1 / 2."""
    tags = np.array([1] + [0] * 999)
    weights = overlap_weights(tags, np.full(1000, 0.35))
    np.testing.assert_allclose(weights, [0.5] + [0.5 / 999] * 999)
    elsewhere = overlap_weights(np.append(tags, [1, 0]), np.append(np.full(1000, 0.35), [0.9, 0.9]))
    assert elsewhere[0] == pytest.approx(0.999 / (2 * 0.999 + 1))


def test_slices_of_volumes_are_balanced_and_those_without_label_left_out():
    slice_tags = (None, (1,), (0,), None, (0,))
    cases = {"v": properties("v", shape=(5, 4, 4), slice_tags=slice_tags)}
    images = [("v", index) for index in cases["v"].tagged_images(2)]
    order = BalancedOrder(images, cases)
    drawn = {order.image_of(0, batch_size=1, offset=offset) for offset in np.linspace(0, 0.99, 50)}
    assert drawn == {("v", 1), ("v", 2), ("v", 4)}


def test_every_batch_is_as_balanced_as_its_size_allows():
    tags, _ = shortcut(number=90)
    cases = {f"c{i:02d}": properties(f"c{i:02d}", tags=(int(tag),)) for i, tag in enumerate(tags)}
    images = [(case, None) for case in cases]
    weights = overlap_weights(tags, image_positions(images, cases))
    order = BalancedOrder(images, cases)
    for offset in np.linspace(0, 1, 40, endpoint=False):
        batch = [order.image_of(i, batch_size=12, offset=float(offset)) for i in range(12)]
        for half in (slice(0, 45), slice(45, 90)):
            expected = 12 * weights[half].sum()
            found = sum(image in images[half] for image in batch)
            assert abs(found - expected) < 1


@pytest.mark.parametrize(("batch_size", "label", "num_turns"), [(5, 0, 3), (5, 1, 2), (6, 1, 3)])
def test_the_turns_of_a_label_are_equal_strides_though_another_label_has_more(
    batch_size, label, num_turns
):
    tags = [(number % 2,) * 2 for number in range(2 * num_turns)]
    cases = {f"c{number}": properties(f"c{number}", tags=each) for number, each in enumerate(tags)}
    order = BalancedOrder([(case, None) for case in cases], cases)
    turns = range(label, batch_size, 2)
    drawn = [order.image_of(index, batch_size=batch_size, offset=0.01)[0] for index in turns]
    assert drawn == list(cases)[::2]


def test_the_only_slice_of_a_volume_has_a_position():
    cases = {"v": properties("v", shape=(1, 4, 4), tags=(1,))}
    np.testing.assert_array_equal(image_positions([("v", 0)], cases), [0])
