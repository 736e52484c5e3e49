import dataclasses
import pickle
from collections import Counter

import numpy as np
import pytest

from diffunet.data.batches.balance import BalancedOrder
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces, is_foreground_turn, marked_voxel, patch_start
from diffunet.errors import DatasetError, PlansError
from diffunet.plans import AugmentationPlan, CropPlan
from diffunet.randomness import numpy_generator
from tests.data.stores import NO_AUGMENTATION, MemoryStore, case_arrays, configuration
from tests.wsss.weak_folds import weak_plans

FOREGROUND = CropPlan(policy="foreground", foreground_share=1.0)


def coordinates(shape: tuple[int, ...]) -> np.ndarray:
    """An image whose normalised value is the flat index of the voxel plus one."""
    return (np.arange(1, np.prod(shape) + 1).reshape(1, *shape) * 2 + 10).astype(np.float32)


def one_case(shape: tuple[int, ...], *, num_raters: int = 1, marked: tuple[int, ...] | None = None):
    labels = np.zeros((num_raters, *shape), np.uint8)
    if marked is not None:
        labels[(0, *marked)] = 1
    names = [f"r{number:02}" for number in range(num_raters)]
    return MemoryStore({"a": case_arrays(coordinates(shape), labels)}, raters=names)


def sampler(store: MemoryStore, plan, *, batch_size: int = 4, seed: int = 0) -> PatchSampler:
    return PatchSampler(
        PatchPlaces(
            store, store, cases=store.cases, configuration=plan, batch_size=batch_size, seed=seed
        )
    )


def test_a_sample_depends_on_seed_iteration_and_index_alone():
    plan = configuration((8, 8), augmentation=AugmentationPlan())
    store = one_case((20, 20), num_raters=4)
    asked_late = sampler(store, plan)
    for iteration in range(5):
        asked_late.sample(iteration, 0)
    first, again = sampler(store, plan).sample(7, 2), asked_late.sample(7, 2)
    np.testing.assert_array_equal(first.image, again.image)
    other = sampler(store, plan, seed=1).sample(7, 2)
    assert not np.array_equal(first.image, other.image)


def test_a_pickled_sampler_draws_the_same():
    original = sampler(one_case((20, 20)), configuration((8, 8)))
    original.sample(0, 0)
    copy = pickle.loads(pickle.dumps(original))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(copy.sample(3, 1).image, original.sample(3, 1).image)


def test_every_case_is_drawn_once_per_round_in_changing_order():
    cases = {
        f"c{number}": case_arrays(coordinates((8, 8)), np.zeros((1, 8, 8), np.uint8))
        for number in range(6)
    }
    drawn = sampler(MemoryStore(cases), configuration((8, 8)), batch_size=4)
    order = [drawn.case_of(iteration, index) for iteration in range(6) for index in range(4)]
    rounds = [order[first : first + 6] for first in range(0, 24, 6)]
    assert all(sorted(each) == sorted(cases) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_raters_are_drawn_equally_often_though_one_alone_marked_something():
    store = one_case((24, 24), num_raters=4, marked=(3, 20))
    drawn = sampler(store, configuration((8, 8), crop=FOREGROUND))
    counts = Counter(drawn.places.choose(iteration, 0).rater for iteration in range(2000))
    assert all(abs(counts[rater] - 500) < 80 for rater in range(4))


def test_a_foreground_patch_holds_a_voxel_that_some_rater_marked():
    store = one_case((24, 30), num_raters=2, marked=(3, 28))
    drawn = sampler(store, configuration((8, 8), crop=FOREGROUND))
    starts = np.array([drawn.places.choose(iteration, 0).start for iteration in range(300)])
    assert (starts[:, 0] <= 3).all()
    assert (starts[:, 1] == 22).sum() + (starts[:, 1] == 21).sum() == 300


def test_a_marked_voxel_lies_anywhere_in_the_patch_with_equal_chance():
    generator = numpy_generator(1)
    places = Counter(50 - patch_start(100, 10, marked=50, generator=generator) for _ in range(5000))
    assert sorted(places) == list(range(10))
    assert all(abs(count - 500) < 100 for count in places.values())


def test_random_patches_reach_every_place():
    generator = numpy_generator(1)
    starts = {patch_start(12, 10, marked=None, generator=generator) for _ in range(100)}
    assert starts == {0, 1, 2}


def test_an_image_smaller_than_the_patch_is_centred_with_zeros_and_background_around():
    labels = np.ones((1, 4, 6), np.uint8)
    store = MemoryStore({"a": case_arrays(coordinates((4, 6)), labels)})
    drawn = sampler(store, configuration((8, 8), crop=CropPlan(policy="whole"))).sample(0, 0)
    expected = np.zeros((8, 8))
    expected[2:6, 1:7] = np.arange(1, 25).reshape(4, 6)
    np.testing.assert_allclose(drawn.image[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(drawn.label_map, expected > 0)


def test_the_image_is_normalised_and_label_and_image_are_of_one_place():
    shape = (20, 20)
    labels = (np.arange(400).reshape(1, *shape) % 3 == 0).astype(np.uint8)
    store = MemoryStore({"a": case_arrays(coordinates(shape), labels)})
    drawn = sampler(store, configuration((8, 8))).sample(1, 2)
    np.testing.assert_array_equal(drawn.label_map == 1, (drawn.image[0].round() - 1) % 3 == 0)
    assert drawn.rater == "r00"


def test_whole_refuses_a_case_larger_than_the_patch():
    drawn = sampler(one_case((9, 8)), configuration((8, 8), crop=CropPlan(policy="whole")))
    with pytest.raises(PlansError, match=r"case 'a': the crop policy is 'whole'.*\(9, 8\)"):
        drawn.places.choose(0, 0)


def test_a_2d_configuration_draws_slices_of_a_volume():
    store = one_case((5, 12, 12))
    drawn = sampler(store, configuration((8, 8)))
    slices = Counter(drawn.places.choose(iteration, 0).slice_index for iteration in range(500))
    assert set(slices) == set(range(5))
    sample = drawn.sample(3, 0)
    assert sample.image.shape == (1, 8, 8)
    index = drawn.places.choose(3, 0).slice_index
    assert set(((sample.image.round() - 1) // 144).ravel()) == {index}


def test_a_foreground_slice_is_one_that_some_rater_marked():
    store = one_case((5, 12, 12), num_raters=3, marked=(4, 1, 1))
    drawn = sampler(store, configuration((8, 8), crop=FOREGROUND))
    choices = [drawn.places.choose(iteration, 0) for iteration in range(50)]
    assert {choice.slice_index for choice in choices} == {4}
    assert {choice.start for choice in choices} <= {(a, b) for a in (0, 1) for b in (0, 1)}


def test_a_case_that_nobody_marked_is_cropped_at_random():
    drawn = sampler(one_case((24, 24)), configuration((8, 8), crop=FOREGROUND))
    assert len({drawn.places.choose(iteration, 0).start for iteration in range(50)}) > 30


def test_labels_are_chosen_equally_often_however_large():
    locations = np.array([[0, 5, 5]] * 999 + [[3, 1, 1]], np.int32)
    generator = numpy_generator(2)
    drawn = Counter(marked_voxel(locations, generator) for _ in range(1000))
    assert drawn[(1, 1)] == pytest.approx(500, abs=60)


def test_the_share_of_foreground_samples_is_kept_in_every_batch():
    crop = CropPlan(policy="foreground", foreground_share=0.33)
    generator = numpy_generator(3)
    counts = [
        sum(is_foreground_turn(crop, index=index, offset=offset) for index in range(8))
        for offset in generator.random(2000)
    ]
    assert set(counts) == {2, 3}
    assert np.mean(counts) == pytest.approx(8 * 0.33, abs=0.05)


def test_rotated_patches_show_image_and_no_padding_where_the_image_reaches():
    plan = configuration(
        (8, 8), augmentation=AugmentationPlan(rotation_probability=1, scaling_probability=1)
    )
    labels = np.ones((1, 64, 64), np.uint8)
    store = MemoryStore({"a": case_arrays(np.full((1, 64, 64), 12.0, np.float32), labels)})
    drawn = sampler(store, plan)
    inside = [
        iteration
        for iteration in range(60)
        if all(8 <= first <= 48 for first in drawn.places.choose(iteration, 0).start)
    ]
    assert len(inside) > 10
    assert all(drawn.sample(iteration, 0).label_map.all() for iteration in inside)


def test_a_rotated_and_zoomed_patch_keeps_its_middle():
    """Where it lies is what its weight is for, and what 'foreground' promises to show."""
    augmentation = dataclasses.replace(
        NO_AUGMENTATION, rotation_probability=1.0, scaling_probability=1.0
    )
    drawn = sampler(one_case((40, 40)), configuration((9, 9), augmentation=augmentation))
    for iteration in range(10):
        row, column = (first + 4 for first in drawn.places.choose(iteration, 0).start)
        if 10 <= row < 30 and 10 <= column < 30:
            middle = drawn.sample(iteration, 0).image[0, 4, 4]
            assert middle == pytest.approx(row * 40 + column + 1, abs=0.5)


def test_no_cases_is_an_error():
    with pytest.raises(DatasetError, match="no training cases"):
        PatchSampler(
            PatchPlaces(
                MemoryStore({}),
                MemoryStore({}),
                cases=(),
                configuration=configuration((8, 8)),
                batch_size=1,
                seed=0,
            )
        )


def test_a_case_without_label_map_is_an_error():
    arrays = case_arrays(coordinates((8, 8)), np.zeros((0, 8, 8), np.uint8))
    with pytest.raises(DatasetError, match="case 'a' has no label map"):
        sampler(MemoryStore({"a": arrays}), configuration((8, 8))).places.choose(0, 0)


class NeverOpened:
    """A store whose label maps must stay closed."""

    def __init__(self, store: MemoryStore):
        self._store = store
        self.properties = store.properties

    def array(self, case: str, name: str) -> np.ndarray:
        assert name == "image"
        return self._store.array(case, name)


def tagged(store: MemoryStore, plan, *, batch_size: int = 4, seed: int = 0) -> PatchSampler:
    return PatchSampler(
        PatchPlaces(
            NeverOpened(store),
            None,
            cases=store.cases,
            configuration=plan,
            batch_size=batch_size,
            seed=seed,
        )
    )


def pictures(num_cases: int = 6) -> MemoryStore:
    cases = {f"c{i}": {"image": coordinates((8, 8)) + 200 * i} for i in range(num_cases)}
    tags = {case: {"image_labels": (i % 2, 1)} for i, case in enumerate(cases)}
    return MemoryStore(cases, tags=tags)


def volume(**tags) -> MemoryStore:
    return MemoryStore({"a": {"image": coordinates((5, 8, 8))}}, tags={"a": tags})


def test_without_label_maps_a_sample_has_the_labels_of_its_image():
    store = pictures()
    drawn = tagged(store, configuration((8, 8), crop=CropPlan(policy="whole")))
    for index in range(12):
        sample = drawn.sample(index // 4, index % 4)
        number = int(sample.case[1:])
        assert sample.tags.dtype == np.float32
        assert sample.tags.tolist() == [number % 2, 1]
        assert (sample.label_map, sample.rater) == (None, "")
        np.testing.assert_allclose(sample.image[0].ravel(), np.arange(1, 65) + 100 * number)


def test_with_label_maps_a_sample_has_no_image_level_labels():
    sample = sampler(one_case((8, 8)), configuration((8, 8))).sample(0, 0)
    assert sample.tags.shape == (0,)


def test_slices_are_drawn_among_those_that_were_labelled():
    store = volume(slice_image_labels=(None, (1,), None, (0,), None))
    drawn = tagged(store, configuration((8, 8)))
    samples = [drawn.sample(iteration, 0) for iteration in range(40)]
    slices = {(int(sample.image[0, 0, 0].round() - 1) // 64, *sample.tags) for sample in samples}
    assert slices == {(1, 1), (3, 0)}


def test_slices_of_a_labelled_case_all_have_its_label():
    drawn = tagged(volume(image_labels=(1,)), configuration((8, 8)))
    choices = [drawn.places.choose(iteration, 0) for iteration in range(60)]
    assert {choice.slice_index for choice in choices} == set(range(5))
    assert drawn.sample(0, 0).tags.tolist() == [1]


def test_a_labelled_sample_too_depends_on_seed_iteration_and_index_alone():
    plan = configuration((8, 8), augmentation=AugmentationPlan())
    asked_late = tagged(pictures(), plan)
    for iteration in range(5):
        asked_late.sample(iteration, 0)
    first, again = tagged(pictures(), plan).sample(7, 2), asked_late.sample(7, 2)
    copy = pickle.loads(pickle.dumps(asked_late)).sample(7, 2)  # noqa: S301  # our own bytes
    for other in (again, copy):
        np.testing.assert_array_equal(first.image, other.image)
        np.testing.assert_array_equal(first.tags, other.tags)
    assert not np.array_equal(first.image, tagged(pictures(), plan, seed=1).sample(7, 2).image)


def test_the_image_is_changed_alike_with_and_without_label_map():
    plan = configuration((8, 8), augmentation=AugmentationPlan(rotation_probability=1))
    arrays = case_arrays(coordinates((12, 12)), np.zeros((1, 12, 12), np.uint8))
    store = MemoryStore({"a": arrays}, tags={"a": {"image_labels": (1,)}})
    for iteration in range(5):
        with_map = sampler(store, plan).sample(iteration, 0)
        without = tagged(store, plan).sample(iteration, 0)
        np.testing.assert_array_equal(with_map.image, without.image)


def test_labels_take_turns_among_the_balanced_samples_of_a_batch(monkeypatch):
    """Of 8 samples with a plain share of 1/4 six are balanced, whichever places those have."""
    asked = []

    def image_of(self, index, *, batch_size, offset, drawn_before):
        asked.append((index, batch_size, drawn_before))
        return "c0", None

    monkeypatch.setattr(BalancedOrder, "image_of", image_of)
    plan = dataclasses.replace(configuration((8, 8)), weak=weak_plans().configuration.weak)
    drawn = tagged(pictures(), plan, batch_size=8)
    for iteration in range(2):
        for index in range(8):
            drawn.case_of(iteration, index)
    assert asked == [(turn, 6, 6 * iteration) for iteration in range(2) for turn in range(6)]


def test_foreground_patches_need_label_maps():
    with pytest.raises(PlansError, match="'foreground' needs label maps"):
        tagged(pictures(), configuration((8, 8), crop=FOREGROUND))


def test_a_case_without_image_level_label_is_an_error():
    with pytest.raises(DatasetError, match="case 'a' has no image-level label"):
        tagged(volume(), configuration((8, 8))).places.choose(0, 0)
