"""The label maps of the raters that were not drawn, from the stores to the training step."""

import dataclasses

import numpy as np
import torch

from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import Batch, BatchLoader, load_batch
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces
from diffunet.plans import AugmentationPlan
from diffunet.randomness import numpy_generator
from diffunet.training.tensors import to_device
from tests.data.stores import MemoryStore, case_arrays, configuration

NUM_RATERS = {"a": 4, "b": 1, "c": 3}
CHANGES = AugmentationPlan(mirror_axes=(0, 1), rotation_probability=0.7)


def sampler(*, all_raters: bool, num_raters: dict[str, int] | None = None) -> PatchSampler:
    generator = numpy_generator("all raters")
    cases = {}
    for case, number in (num_raters or NUM_RATERS).items():
        labels = generator.integers(0, 2, (number, 20, 20)).astype(np.uint8)
        cases[case] = case_arrays(generator.normal(size=(1, 20, 20)).astype(np.float32), labels)
    store = MemoryStore(cases, raters=("r00", "r01", "r02", "r03"))
    plan = configuration((12, 12), augmentation=CHANGES)
    places = PatchPlaces(store, store, cases=store.cases, configuration=plan, batch_size=3, seed=3)
    return PatchSampler(places, all_raters=all_raters)


def test_asking_for_all_raters_changes_nothing_else():
    alone, together = sampler(all_raters=False), sampler(all_raters=True)
    for iteration in range(10):
        one, all_of_them = alone.sample(iteration, 0), together.sample(iteration, 0)
        assert one.rater == all_of_them.rater
        np.testing.assert_array_equal(one.image, all_of_them.image)
        np.testing.assert_array_equal(one.label_map, all_of_them.label_map)
        assert one.other_label_maps is None
        assert len(all_of_them.other_label_maps) == NUM_RATERS[all_of_them.case] - 1


class OneRater:
    """The places of a sampler, but always of one rater."""

    def __init__(self, places: PatchPlaces, rater: int):
        self.places, self.rater = places, rater

    def __getattr__(self, name):
        return getattr(self.places, name)

    def choose(self, iteration, index):
        return dataclasses.replace(self.places.choose(iteration, index), rater=self.rater)


def test_the_other_label_maps_are_those_of_the_other_raters_at_the_same_place():
    together = sampler(all_raters=True, num_raters={"a": 4})
    for iteration in range(6):
        sample = together.sample(iteration, 0)
        drawn = together.places.choose(iteration, 0).rater
        others = [rater for rater in range(4) if rater != drawn]
        for rater, label_map in zip(others, sample.other_label_maps, strict=True):
            alone = PatchSampler(OneRater(together.places, rater)).sample(iteration, 0)
            np.testing.assert_array_equal(alone.label_map, label_map)


def test_cases_of_fewer_raters_are_filled_up_and_counted():
    batch = load_batch(sampler(all_raters=True), 2, (0, 1, 2))
    assert batch.num_others == tuple(NUM_RATERS[case] - 1 for case in batch.cases)
    assert batch.other_label_maps.shape == (3, 3, 12, 12)
    for row, number in zip(batch.other_label_maps, batch.num_others, strict=True):
        assert not row[number:].any()


def test_one_rater_everywhere_is_no_other():
    source = sampler(all_raters=True, num_raters=dict.fromkeys("abc", 1))
    batch = load_batch(source, 0, (0, 1, 2))
    assert batch.other_label_maps is None
    assert batch.num_others == ()


def test_processes_bring_the_same_others():
    found = []
    for num_processes in (0, 2):
        with BatchLoader(
            sampler(all_raters=True),
            indices=(0, 1, 2),
            first_iteration=0,
            num_iterations=4,
            num_processes=num_processes,
        ) as loader:
            found.append(list(loader))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.other_label_maps, other.other_label_maps)


def test_all_raters_are_mirrored_alike_on_the_device():
    generator = np.random.default_rng(0)
    maps = generator.integers(3, size=(20, 4, 4, 5)).astype(np.uint16)
    batch = Batch(
        iteration=2,
        indices=tuple(range(20)),
        cases=("a",) * 20,
        raters=("r",) * 20,
        images=maps[:, :1].astype(np.float32),
        label_maps=maps[:, 0],
        other_label_maps=maps[:, 1:],
        num_others=(3,) * 20,
        tags=np.zeros((20, 0), np.float32),
    )
    plan = AugmentationPlan(mirror_axes=(0, 1)).without_intensity()
    moved = to_device(
        dataclasses.replace(batch, images=batch.images.copy()),
        torch.device("cpu"),
        global_size=20,
        seed=1,
        augmentation=BatchAugmentation(plan=plan),
    )
    assert moved.num_others == batch.num_others
    kinds = []
    for row in range(20):
        axes = next(
            axes
            for axes in ((), (0,), (1,), (0, 1))
            if np.array_equal(np.flip(maps[row, 0], axes), moved.images[row, 0])
        )
        kinds.append(axes)
        np.testing.assert_array_equal(moved.label_maps[row], np.flip(maps[row, 0], axes))
        for number in range(3):
            np.testing.assert_array_equal(
                moved.other_label_maps[row, number], np.flip(maps[row, 1 + number], axes)
            )
    assert len(set(kinds)) == 4
