"""What a training says of its time."""

import dataclasses
import re

import pytest
from torch import nn

from diffunet.durations import in_words
from diffunet.methods import METHODS
from diffunet.planning.cost import measure_work
from diffunet.planning.sizes import with_size
from diffunet.planning.topology import plan_network
from diffunet.plans import AugmentationPlan, NormalizationPlan, PreprocessingPlan
from diffunet.training.fold_data import FoldData
from diffunet.training.header import sentence_of_time, training_header
from diffunet.training.method import Finishing
from diffunet.training.validation import spread_over_patients
from tests.training.folds import plans, write_preprocessed
from tests.training.test_fold_data import opened

LONG = {"num_iterations": 10**7, "batch_size": 32}


def fold(tmp_path, **training) -> FoldData:
    return opened(write_preprocessed(tmp_path), plans(training=training))


def header(data: FoldData, *, iteration: int = 0) -> list[str]:
    return list(
        training_header(
            data,
            fold="0",
            iteration=iteration,
            num_ranks=1,
            model=nn.Linear(1, 1),
            finishing=finishing_of(data),
        )
    )


def told_at(data: FoldData, *, seconds_per_iteration: float, num_left: int) -> str:
    return sentence_of_time(
        data,
        seconds_per_iteration=seconds_per_iteration,
        num_left=num_left,
        finishing=finishing_of(data),
    )


def finishing_of(data: FoldData, *, is_whole: bool = False) -> Finishing | None:
    return METHODS[data.plans.method].training().finishing(data, is_whole=is_whole)


def test_on_a_cpu_the_plans_alone_tell_the_time(tmp_path):
    data = fold(tmp_path)
    (sentence,) = [each for each in header(data) if each.startswith("time:")]
    found = finishing_of(data)
    assert found is not None
    assert sentence.endswith(
        "on two cores, besides validations; the final validation of 3 cases takes about "
        f"{in_words(found.seconds)} then"
    )


def test_where_only_the_final_validation_is_left_its_time_is_told(tmp_path):
    data = fold(tmp_path)
    is_last = data.plans.configuration.training.num_iterations
    (sentence,) = [each for each in header(data, iteration=is_last) if each.startswith("time:")]
    found = finishing_of(data)
    assert found is not None
    told = in_words(found.seconds)
    assert sentence == f"time: {found.what} takes about {told} on two cores"


@pytest.mark.parametrize("is_whole", [False, True])
def test_the_final_validation_takes_as_long_as_the_masks_of_its_cases(tmp_path, is_whole):
    data = fold(tmp_path, num_final_validation_cases=2)
    cases = spread_over_patients(data.split.val, data.patients)[: None if is_whole else 2]
    work = measure_work(data.plans, data.labels)
    found = finishing_of(data, is_whole=is_whole)
    assert found is not None
    assert f"of {len(cases)} cases" in found.what
    assert len(cases) == (4 if is_whole else 2)
    shapes = [data.images.properties(case).shape for case in cases]
    expected = sum(work.of_case(data.plans, shape=shape) for shape in shapes)
    assert found.seconds == pytest.approx(expected)


def test_a_large_case_takes_longer_than_the_median_one(tmp_path):
    data = fold(tmp_path)
    work = measure_work(data.plans, data.labels)
    median = data.plans.configuration.median_shape
    of_median = work.of_case(data.plans)
    assert work.of_case(data.plans, shape=median) == of_median
    assert work.of_case(data.plans, shape=[8 * edge for edge in median]) > 60 * of_median


def test_a_training_shorter_than_its_validations_says_how_long_these_take(tmp_path):
    data = fold(tmp_path)
    found = finishing_of(data)
    assert found is not None
    step = measure_work(data.plans, data.labels).of_step(data.plans.configuration)
    told = told_at(data, seconds_per_iteration=10 * step, num_left=1)
    assert f"validations about {in_words(2 * 10 * found.case_seconds)} more" in told
    assert "up to a tenth" in told_at(data, seconds_per_iteration=10 * step, num_left=10**6)


def test_of_a_long_training_it_is_said_what_a_laptops_would_take(tmp_path):
    data = fold(tmp_path, **LONG)
    (sentence,) = [each for each in header(data) if each.startswith("time:")]
    assert "a new training with --preset laptop: 25 minutes" in sentence
    told = told_at(data, seconds_per_iteration=2.0, num_left=10**6)
    assert told.startswith("2 seconds an iteration: the 1000000 iterations left take about 23 days")
    assert "; a new training with --preset laptop: " in told


@pytest.mark.parametrize("seconds_per_iteration", [0.001, 1.0])
def test_of_a_short_training_or_a_laptops_it_is_not(tmp_path, seconds_per_iteration):
    data = fold(tmp_path, **(LONG if seconds_per_iteration == 1.0 else {}))
    laptop = with_size(data.plans, "laptop", labels=data.labels)
    data = dataclasses.replace(data, plans=laptop)
    told = told_at(data, seconds_per_iteration=seconds_per_iteration, num_left=10**5)
    assert "laptop" not in told
    assert "(preset laptop)" in " ".join(header(data))


def test_without_validation_cases_no_validation_is_announced(tmp_path):
    data = fold(tmp_path)
    told = told_at(data, seconds_per_iteration=1.0, num_left=12)
    assert "validation" in told
    split = dataclasses.replace(data.split, val=())
    data = dataclasses.replace(data, split=split)
    told = told_at(data, seconds_per_iteration=1.0, num_left=12)
    assert told == "1 second an iteration: the 12 iterations left take about 12 seconds"


def large_volumes(tmp_path) -> FoldData:
    """Return a fold of volumes as large as a whole CT, of which only the plans know."""
    data = fold(tmp_path)
    preprocessing = PreprocessingPlan(
        spacing_mm=(1.0, 0.8, 0.8), normalization=(NormalizationPlan(),)
    )
    configuration = dataclasses.replace(
        data.plans.configuration,
        dimensions=3,
        patch_size=(16, 16, 16),
        median_shape=(320, 512, 512),
        network=plan_network((16,) * 3, (1.0,) * 3, num_label_channels=1).network,
        preprocessing=preprocessing,
        augmentation=AugmentationPlan(),
        weak=None,
    )
    made = dataclasses.replace(data.plans, configuration=configuration, transpose_forward=(0, 1, 2))
    return dataclasses.replace(data, plans=made)


def test_where_a_case_takes_long_to_predict_it_is_said_at_once_and_what_to_do(tmp_path):
    lines = header(large_volumes(tmp_path))
    (told,) = [each for each in lines if each.startswith("time: predicting a case")]
    assert re.search(r"takes an estimated [\d.]+ (minutes|hours|days) on two cores", told)
    command = r"diffunet_plan_and_preprocess -d \S+ -overwrite_target_spacing ([\d.]+ ?){3}, then"
    assert re.search(f"with coarser voxels it takes about 5 minutes: {command}", told)
    assert not any("predicting a case" in each for each in header(fold(tmp_path / "small")))


def test_without_validations_in_between_none_are_announced(tmp_path):
    data = fold(tmp_path, num_validations=0)
    lines = header(data)
    assert "besides" not in " ".join(lines)
    assert lines[-1].endswith("the only validation comes at the end")
    assert "more" not in told_at(data, seconds_per_iteration=1.0, num_left=12)
