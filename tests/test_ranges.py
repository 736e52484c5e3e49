"""Every number of every plan has a range, and no road leads around it."""

import copy
import dataclasses
import json
import math
import typing
from dataclasses import dataclass
from typing import Annotated

import pytest

from diffunet.cli.reference import PLAN_CLASSES
from diffunet.errors import PlansError
from diffunet.plans import MaskPlan, NormalizationPlan, Plans, SamplingPlan, WeakPlan
from diffunet.ranges import Length, Range, check_ranges, range_of, ranges_in
from diffunet.records import record_from_json
from tests.test_plans import network, plans

__all__ = ["plans"]

ABSURD = (math.nan, math.inf, 1e31, -1e31, 10**400, "many", True)


def whole(plans):
    """Return plans in which nothing is None or empty, as JSON."""
    (configuration, *_) = plans.configurations.values()
    ct = NormalizationPlan(scheme="ct", lower=-1.0, upper=1.0, mean=0.0, std=1.0)
    bare = dataclasses.replace(network(), image_channels=(), num_image_blocks=())
    mask = MaskPlan(threshold="fixed", threshold_value=0.5)
    weak = WeakPlan(network=bare, presence_thresholds=(0.5,), masks={"cdm": mask})
    weak = dataclasses.replace(weak, cdm=dataclasses.replace(weak.cdm, timestep=400))
    full = dataclasses.replace(
        configuration,
        preprocessing=dataclasses.replace(configuration.preprocessing, normalization=(ct,)),
        augmentation=dataclasses.replace(configuration.augmentation, mirror_axes=(0,)),
        weak=weak,
    )
    return json.loads(
        json.dumps(dataclasses.asdict(dataclasses.replace(plans, configurations={"2d": full})))
    )


def places(content, path=()):
    """Yield the path of every number in `content`, the first entry standing for a list."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name != "reasons":
                yield from places(value, (*path, name))
    elif isinstance(content, list):
        for value in content[:1]:
            yield from places(value, (*path, 0))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield path


def with_value(content, path, value):
    changed = copy.deepcopy(content)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


def load(content):
    return record_from_json(Plans, content, where="plans", error=PlansError)


def numbers_without_range(hint, ranges=()):
    if typing.get_origin(hint) is Annotated:
        ranges = [*ranges, *(each for each in hint.__metadata__ if isinstance(each, Range))]
        return numbers_without_range(typing.get_args(hint)[0], ranges)
    if typing.get_origin(hint) is typing.Literal:
        return []
    if hint in (int, float):
        return [] if ranges else [hint]
    return [each for inner in typing.get_args(hint) for each in numbers_without_range(inner)]


@pytest.mark.parametrize("cls", [cls for _, cls in PLAN_CLASSES], ids=lambda cls: cls.__name__)
def test_every_number_of_a_plan_declares_its_range(cls):
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        assert numbers_without_range(hints[field.name]) == [], field.name


def test_absurd_numbers_anywhere_in_plans_are_refused_with_their_place(plans):
    content = whole(plans)
    load(content)
    paths = list(places(content))
    assert len(paths) > 80
    for path in paths:
        named = next(name for name in reversed(path) if isinstance(name, str))
        for value in ABSURD:
            with pytest.raises(PlansError) as caught:
                load(with_value(content, path, value))
            assert named in str(caught.value), (path, value)
            assert len(str(caught.value)) < 300


def test_a_list_of_a_plan_is_neither_too_short_nor_too_long(plans):
    content = whole(plans)
    for path in {path[: path.index(0)] for path in places(content) if 0 in path}:
        with pytest.raises(PlansError, match=str(path[-1])):
            load(with_value(content, path, [1] * 70_000))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "training.gradient_clip_norm",
            -1,
            "gradient_clip_norm should be above 0, at most 1000000",
        ),
        ("training.gradient_clip_norm", 0, "gradient_clip_norm should be above 0"),
        ("network.num_blocks", [-1, 1], r"num_blocks\[0\] should be from 0 to 32, got -1"),
        ("network.num_middle_blocks", -1, "num_middle_blocks should be from 0"),
        ("network.kernel_sizes", [[0, 0], [3, 3]], r"kernel_sizes\[0\]\[0\] should be odd, from 1"),
        ("network.kernel_sizes", [[2, 3], [3, 3]], "should be odd, from 1 to 7, got 2"),
        ("network.kernel_sizes", [[3], [3, 3]], r"kernel_sizes\[0\]: expected 2 to 3 entries"),
        ("network.kernel_sizes", [[3, 3, 3], [3, 3]], "one value per axis everywhere"),
        ("network.strides", [[1, 1], [0, 2]], r"strides\[1\]\[0\] should be from 1 to 8"),
        ("network.channels", [], "channels: expected 1 to 10 entries, found 0"),
        ("network.channels", [16, 10**9], "should be from 1 to 4096"),
        ("network.dropout", 1, "dropout should be from 0 to below 1"),
        ("network.num_blocks", [10**9, 1], "should be from 0 to 32"),
        ("augmentation.scaling_range", [0, 0], r"scaling_range\[0\] should be from 0.1 to 10"),
        ("augmentation.scaling_range", [1.4, 0.7], "scaling_range should rise"),
        ("augmentation.mirror_axes", [0, 0], "mirror_axes should be different"),
        ("augmentation.mirror_axes", [2], "mirror_axes should be below 2"),
        ("preprocessing.normalization", [], "normalization: expected 1 to 1000 entries"),
        ("weak.cam.stage", 5, "cam.stage should be from -2 to 1"),
        ("sampling.num_steps", 10**9, "num_steps should be from 1 to 10000, got 1000000000"),
        ("sampling.num_steps", 2.5, "expected int, found 2.5"),
        ("patch_size", [2**40, 2**40], "should be from 1 to 65536"),
    ],
)
def test_a_plan_that_no_training_could_obey_is_refused(plans, path, value, message):
    full = load(whole(plans))
    with pytest.raises(PlansError, match=message):
        full.resolve("2d", settings=[f"{path}={json.dumps(value)}"])


def test_strides_and_kernels_have_one_value_per_axis_of_the_patch(plans):
    three = "[[1,1,1],[1,1,1]]"
    with pytest.raises(PlansError, match="network.strides .* should have 2 values per stage"):
        plans.resolve("2d", settings=[f"network.strides={three}", f"network.kernel_sizes={three}"])


def test_a_concatenated_network_needs_a_block_at_every_stage():
    with pytest.raises(ValueError, match="at least 1 with conditioning 'concatenated'"):
        dataclasses.replace(
            network(),
            conditioning="concatenated",
            image_channels=(),
            num_image_blocks=(),
            num_blocks=(1, 0),
        )


def test_the_limits_of_an_intensity_window_are_in_order():
    with pytest.raises(ValueError, match="lower should be at most upper = 1"):
        NormalizationPlan(scheme="ct", lower=2.0, upper=1.0, mean=0.0, std=1.0)


def test_an_instance_made_in_python_is_held_to_the_same_ranges():
    with pytest.raises(ValueError, match="num_samples should be a whole number from 1 to 10000"):
        SamplingPlan(num_samples=2.5)
    assert range_of(SamplingPlan, "num_samples") == Range(1, 10_000)


@pytest.mark.parametrize(
    ("limits", "text", "inside", "outside"),
    [
        (Range(0, 1), "from 0 to 1", (0, 0.5, 1), (-0.1, 1.1)),
        (Range(0, 1, is_above=True), "above 0, at most 1", (1e-9, 1), (0, 2)),
        (Range(0, 1, is_below=True), "from 0 to below 1", (0, 0.9), (1,)),
        (Range(0, 1, is_above=True, is_below=True), "above 0, below 1", (0.5,), (0, 1)),
        (Range(1, 7, is_odd=True), "odd, from 1 to 7", (1, 7), (2, 9)),
    ],
)
def test_a_range_holds_what_it_says(limits, text, inside, outside):
    assert str(limits) == text
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in (*outside, math.nan, math.inf))


def test_entries_inside_of_tuples_and_options_are_checked():
    @dataclass(frozen=True)
    class Record:
        pair: tuple[int, Annotated[int, Range(0, 1)]] = (5, 0)
        many: Annotated[tuple[Annotated[float, Range(0, 1)], ...], Length(2, 2)] = (0.0, 1.0)
        maybe: Annotated[int, Range(0, 1)] | None = None

    check_ranges(Record())
    for wrong, message in (
        ({"pair": (5, 2)}, r"pair\[1\] should be from 0 to 1, got 2"),
        ({"many": (0.0,)}, "many should have 2 entries, got 1"),
        ({"many": (0.0, 3.0)}, r"many\[1\]"),
        ({"maybe": 2}, "maybe should be"),
    ):
        with pytest.raises(ValueError, match=message):
            check_ranges(Record(**wrong))
    hints = typing.get_type_hints(Record, include_extras=True)
    assert ranges_in(hints["many"]) == (Length(2, 2), Range(0, 1))
