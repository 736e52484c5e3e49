import os
import traceback
from dataclasses import dataclass

import numpy as np
import pytest

from diffunet.data.batches.loader import BatchLoader, indices_of_rank
from diffunet.data.batches.patches import PatchSampler, TrainingSample
from diffunet.data.batches.places import PatchPlaces
from diffunet.errors import DatasetError, DiffunetError
from diffunet.plans import AugmentationPlan, CropPlan
from diffunet.randomness import numpy_generator
from tests.data.stores import MemoryStore, case_arrays, configuration


def augmented_source() -> PatchSampler:
    generator = numpy_generator("loader")
    cases = {}
    for number in range(5):
        image = generator.normal(size=(1, 24, 24)).astype(np.float32)
        labels = generator.integers(0, 2, (3, 24, 24)).astype(np.uint8)
        cases[f"c{number}"] = case_arrays(image, labels)
    store = MemoryStore(cases, raters=("r00", "r01", "r02"))
    plan = configuration(
        (16, 16),
        crop=CropPlan(policy="foreground", foreground_share=0.5),
        augmentation=AugmentationPlan(
            mirror_axes=(0, 1), rotation_probability=0.7, gaussian_blur_probability=0.7
        ),
    )
    return PatchSampler(
        PatchPlaces(store, store, cases=store.cases, configuration=plan, batch_size=4, seed=3)
    )


@dataclass
class Failing:
    error: Exception
    at: int

    def case_of(self, iteration: int, index: int) -> str:
        return f"case_{iteration}"

    def sample(self, iteration: int, index: int) -> TrainingSample:
        if iteration == self.at:
            raise self.error
        empty = np.zeros((1, 2, 2), np.float32)
        return TrainingSample(
            case="c", rater="r00", image=empty, label_map=empty[0], tags=np.zeros(0, np.float32)
        )


def batches(source, *, num_processes: int, first: int = 0, last: int = 7, indices=(0, 1, 2, 3)):
    with BatchLoader(
        source,
        indices=tuple(indices),
        first_iteration=first,
        num_iterations=last,
        num_processes=num_processes,
    ) as loader:
        return list(loader)


def test_batches_are_the_same_for_any_number_of_processes():
    source = augmented_source()
    expected = batches(source, num_processes=0)
    found = batches(source, num_processes=2)
    assert [batch.iteration for batch in found] == list(range(7))
    for one, other in zip(expected, found, strict=True):
        assert (one.cases, one.raters) == (other.cases, other.raters)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.label_maps, other.label_maps)
        np.testing.assert_array_equal(one.weights, other.weights)


def test_starting_later_gives_the_batches_that_would_have_come():
    source = augmented_source()
    expected = batches(source, num_processes=0)[4:]
    found = batches(source, num_processes=0, first=4)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.images, other.images)


def test_ranks_together_load_the_batch_of_one_process():
    source = augmented_source()
    whole = batches(source, num_processes=0, last=1)[0]
    parts = [
        batches(
            source,
            num_processes=0,
            last=1,
            indices=indices_of_rank(4, rank=rank, num_ranks=3),
        )[0]
        for rank in range(3)
    ]
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
    assert [len(part.indices) for part in parts] == [1, 1, 2]


@pytest.mark.parametrize("num_processes", [0, 1])
def test_a_failure_names_its_case_and_comes_with_its_traceback(num_processes):
    source = Failing(ZeroDivisionError("by nought"), at=3)
    with pytest.raises(RuntimeError, match="case 'case_3', sample 0 of iteration 3") as caught:
        batches(source, num_processes=num_processes)
    text = "".join(traceback.format_exception(caught.value))
    assert "ZeroDivisionError: by nought" in text
    assert "raise self.error" in text


def test_a_mistake_of_the_user_keeps_its_class_and_message():
    with pytest.raises(DatasetError, match="^remove the file$"):
        batches(Failing(DatasetError("remove the file"), at=2), num_processes=0)


@dataclass
class Dying(Failing):
    def sample(self, iteration: int, index: int) -> TrainingSample:
        if iteration == self.at:
            os._exit(9)
        return super().sample(iteration, index)


def test_a_worker_that_is_killed_is_reported_with_what_to_do():
    with pytest.raises(DiffunetError, match="killed for lack of memory.*--c.*fewer processes"):
        batches(Dying(ValueError(), at=2), num_processes=1)


def test_no_iterations_left_start_no_process():
    assert batches(augmented_source(), num_processes=2, first=7) == []
