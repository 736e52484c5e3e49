from collections import Counter

import numpy as np
import pytest

from diffunet.data.batches.loader import load_batch
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.place_weight import MAX_WEIGHT, place_weight
from diffunet.data.batches.places import PatchPlaces, marked_voxel, patch_start
from diffunet.plans import CropPlan
from diffunet.randomness import numpy_generator
from tests.data.stores import MemoryStore, case_arrays, configuration

SHARE = 0.4
PRESENCES = (0.0, 0.1, 0.3, 0.5)
FREQUENCIES = (0.74, 0.14, 0.06, 0.06)
"""Of places that look alike: nine in ten are marked by neither of two raters."""


def crop(share: float) -> CropPlan:
    return CropPlan(policy="foreground", foreground_share=share)


def locations_of(labels: np.ndarray) -> np.ndarray:
    return case_arrays(labels[:1], labels)["locations"]


def probabilities(locations, *, shape, patch_size) -> dict[tuple, float]:
    """Return how likely each place is, by going through every draw that leads to it."""
    is_sliced = len(shape) > len(patch_size)
    slices = range(shape[0]) if is_sliced else [None]
    sides = shape[-len(patch_size) :]
    free = [max(size - edge, 0) for size, edge in zip(sides, patch_size, strict=True)]
    places = {
        (index, start): (1 - SHARE) / len(slices) / np.prod([each + 1 for each in free])
        for index in slices
        for start in np.ndindex(*[each + 1 for each in free])
    }
    labels = np.unique(locations[:, 0])
    for label in labels:
        rows = locations[locations[:, 0] == label, 1:]
        for voxel in rows:
            index = int(voxel[0]) if is_sliced else None
            starts = [
                start
                for start in np.ndindex(*[each + 1 for each in free])
                if all(
                    first <= marked < first + edge
                    for first, marked, edge in zip(
                        start, voxel[-len(patch_size) :], patch_size, strict=True
                    )
                )
            ]
            for start in starts:
                places[index, start] += SHARE / len(labels) / len(rows) / len(starts)
    return places


CASES = {
    "picture": ((9, 11), (4, 4), [(0, 0), (4, 5), (4, 6), (8, 10)]),
    "narrower than the patch": ((3, 12), (4, 4), [(0, 2), (2, 11)]),
    "slices of a volume": ((4, 7, 8), (4, 3), [(1, 0, 0), (1, 3, 4), (3, 6, 7)]),
    "volume": ((4, 7, 6), (3, 3, 3), [(0, 0, 0), (2, 3, 4), (3, 6, 5)]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_weight_is_uniform_over_actual_probability_of_every_place(name):
    shape, patch_size, marked = CASES[name]
    labels = np.zeros((2, *shape), np.uint8)
    for number, voxel in enumerate(marked):
        labels[(number % 2, *voxel)] = 1 + number % 3
    locations = locations_of(labels)
    actual = probabilities(locations, shape=shape, patch_size=patch_size)
    assert sum(actual.values()) == pytest.approx(1)
    for (slice_index, start), probability in actual.items():
        is_wide = [
            size >= edge for size, edge in zip(shape[-len(patch_size) :], patch_size, strict=True)
        ]
        weight = place_weight(
            locations,
            shape=shape,
            patch_size=patch_size,
            slice_index=slice_index,
            start=tuple(
                first if wide else patch_start(size, edge, marked=None, generator=numpy_generator())
                for first, wide, size, edge in zip(
                    start, is_wide, shape[-len(patch_size) :], patch_size, strict=True
                )
            ),
            foreground_share=SHARE,
        )
        assert weight == pytest.approx(1 / len(actual) / probability)


def test_places_are_drawn_with_the_probabilities_that_weights_take():
    shape, patch_size, marked = CASES["picture"]
    labels = np.zeros((1, *shape), np.uint8)
    for number, voxel in enumerate(marked):
        labels[(0, *voxel)] = 1 + number % 2
    locations = locations_of(labels)
    generator = numpy_generator("draws")
    drawn: Counter = Counter()
    for _ in range(8000):
        voxel = marked_voxel(locations, generator)
        drawn[
            tuple(
                patch_start(size, edge, marked=voxel[axis], generator=generator)
                for axis, (size, edge) in enumerate(zip(shape, patch_size, strict=True))
            )
        ] += 1
    actual = probabilities(locations, shape=shape, patch_size=patch_size)
    uniform = 1 / len(actual)
    for (_, start), probability in actual.items():
        expected = (probability - (1 - SHARE) * uniform) / SHARE
        error = np.sqrt(expected * (1 - expected) / 8000)
        assert abs(drawn[start] / 8000 - expected) <= 5 * error


def test_a_weight_never_exceeds_its_bound():
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 3, 3] = 1
    for share, bound in ((0.5, 2.0), (0.9, 10.0), (1.0, MAX_WEIGHT)):
        far = place_weight(
            locations_of(labels),
            shape=(20, 20),
            patch_size=(4, 4),
            slice_index=None,
            start=(16, 16),
            foreground_share=share,
        )
        assert far == pytest.approx(bound)


def test_where_nobody_marked_anything_a_sample_counts_as_one():
    store = MemoryStore({"a": case_arrays(np.zeros((1, 9, 9)), np.zeros((1, 9, 9), np.uint8))})
    assert sampler(store, crop(0.5)).places.choose(0, 0).weight == 1


def test_without_foreground_patches_nothing_is_weighed():
    batch = load_batch(sampler(look_alikes(2), CropPlan(policy="random")), 0, range(4))
    assert batch.weights is None


def test_a_batch_has_the_weights_of_its_samples():
    drawn = sampler(look_alikes(2), crop(0.5))
    batch = load_batch(drawn, 0, range(4))
    assert batch.weights.tolist() == pytest.approx(
        [drawn.places.choose(0, i).weight for i in range(4)]
    )
    assert len(set(batch.weights.tolist())) > 1


def test_a_share_that_weights_cannot_make_up_for_is_warned_of(caplog):
    sampler(look_alikes(2), crop(0.9))
    assert not caplog.records
    sampler(look_alikes(2), crop(0.95))
    assert "crop.foreground_share 0.95 is above 0.9" in caplog.text


def look_alikes(num_cases: int, *, num_slices: int = 0) -> MemoryStore:
    """Return images with 40 places each whose look says how likely a rater marks them.

    Places are single voxels: the value of the image is 1 plus the number of the presence.
    """
    generator = numpy_generator("look-alikes")
    cases = {}
    for number in range(num_cases):
        shape = (num_slices, 40, 40) if num_slices else (40, 40)
        image = np.zeros((1, *shape), np.float32)
        labels = np.zeros((2, *shape), np.uint8)
        places = generator.choice(np.prod(shape), 40, replace=False)
        kinds = generator.choice(4, 40, p=FREQUENCIES)
        image.reshape(-1)[places] = 1 + kinds
        for rater in labels.reshape(2, -1):
            rater[places] = generator.random(40) < np.array(PRESENCES)[kinds]
        cases[f"c{number}"] = case_arrays(image, labels)
    return MemoryStore(cases, raters=("r00", "r01"))


def sampler(store: MemoryStore, policy: CropPlan, **changes) -> PatchSampler:
    return PatchSampler(
        PatchPlaces(
            store,
            store,
            cases=store.cases,
            configuration=configuration((10, 10), crop=policy, **changes),
            batch_size=4,
            seed=0,
        )
    )


def learned_shares(store: MemoryStore, policy: CropPlan) -> np.ndarray:
    """Return which share of each kind of place is marked, as the loss counts it and as it is drawn.

    A network that sees the look of a place alone learns just the first, (2, kind).
    """
    drawn = sampler(store, policy)
    counts = np.zeros((2, 2, 5))
    for number in range(2000):
        choice = drawn.places.choose(number // 4, number % 4)
        box: tuple = tuple(slice(first, first + 10) for first in choice.start)
        if choice.slice_index is not None:
            box = (choice.slice_index, *box)
        kinds = store.array(choice.case, "image")[0][box].astype(int).ravel()
        mask = store.array(choice.case, "labels")[choice.rater][box].ravel()
        both = np.stack([np.bincount(kinds, minlength=5), np.bincount(kinds, mask, minlength=5)])
        counts += np.array([choice.weight, 1.0])[:, None, None] * both
    return counts[:, 1, 1:] / counts[:, 0, 1:]


@pytest.mark.parametrize("num_slices", [0, 3])
def test_look_alikes_are_learned_to_be_marked_as_often_as_raters_mark_them(num_slices):
    store = look_alikes(200, num_slices=num_slices)
    weighted, unweighted = learned_shares(store, crop(0.47))
    np.testing.assert_allclose(weighted, PRESENCES, atol=0.05)
    assert (unweighted - PRESENCES)[1:].min() > 0.05  # what the weights are for
