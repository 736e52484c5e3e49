"""Sizes are functions of a run's plans: what fits a laptop, and what the user set stays."""

import dataclasses
import math
import operator

import pytest

from diffunet.errors import PlansError
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS, methods_that_learn_from
from diffunet.planning.cost import measure_work
from diffunet.planning.sizes import (
    LAPTOP_SECONDS,
    coarser_spacing,
    may_be_resized,
    with_size,
)
from diffunet.planning.topology import plan_image_model_network, plan_network
from diffunet.plans import (
    AugmentationPlan,
    CropPlan,
    NormalizationPlan,
    PreprocessingPlan,
    ResolvedPlans,
    WeakPlan,
)
from diffunet.plans.settings import without_size
from tests.training.folds import plans

LABELS = LabelScheme(names=("a", "b"), values=((1,), (2,)))
ONE_LABEL = LabelScheme(names=("a",), values=((1,),))


def planned(
    patch: tuple[int, ...],
    *settings: str,
    policy: str = "whole",
    median: tuple[int, ...] | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    method: str = "diffusion",
) -> ResolvedPlans:
    """Return plans as the planner would make them for a patch, with settings."""
    spacing_mm = spacing_mm or (1.0,) * len(patch)
    weak = plan_image_model_network(patch, spacing_mm).network if len(patch) == 2 else None
    made = plans(
        method=method,
        training={"num_iterations": 20_000, "batch_size": 32, "num_final_validation_cases": 100},
        dimensions=len(patch),
        patch_size=patch,
        median_shape=median or patch,
        crop=CropPlan(
            policy=policy,  # type: ignore[arg-type]  # one of the choices
            foreground_share=0.5 if policy == "foreground" else 0.0,
        ),
        network=plan_network(patch, spacing_mm, num_label_channels=3).network,
        weak=None if weak is None else WeakPlan(network=weak),
        augmentation=AugmentationPlan(),
        preprocessing=PreprocessingPlan(
            spacing_mm=spacing_mm, normalization=(NormalizationPlan(),)
        ),
    )
    files = dataclasses.replace(made, transpose_forward=tuple(range(len(patch))))
    return files.with_settings(settings)


def of_large_regions(
    patch: tuple[int, ...],
    *settings: str,
    policy: str = "whole",
    spacing_mm: tuple[float, ...] | None = None,
) -> ResolvedPlans:
    """Return such plans of a dataset whose raters differ by regions of 400 pixels."""
    made = planned(patch, *settings, policy=policy, spacing_mm=spacing_mm)
    diffusion = dataclasses.replace(made.configuration.diffusion, input_scale=0.05)
    configuration = dataclasses.replace(made.configuration, diffusion=diffusion)
    return dataclasses.replace(made, configuration=configuration)


def laptop(made: ResolvedPlans, labels: LabelScheme = LABELS) -> ResolvedPlans:
    return with_size(made, "laptop", labels=labels)


def seconds_of(made: ResolvedPlans) -> float:
    return measure_work(made, LABELS).of_training(made.configuration)


@pytest.mark.parametrize(
    ("method", "patch", "policy"),
    [
        *((method, (64, 64), "whole") for method in METHODS),
        *((method, (256, 256), "whole") for method in METHODS),
        *((method, (512, 512), "whole") for method in METHODS),
        *((method, (512, 544), "foreground") for method in methods_that_learn_from("masks")),
        *((method, (48, 60, 44), "whole") for method in methods_that_learn_from("masks")),
        *((method, (128, 128, 112), "random") for method in methods_that_learn_from("masks")),
    ],
)
def test_a_laptop_trains_for_half_an_hour(method, patch, policy):
    made = laptop(planned(patch, policy=policy, method=method))
    training = made.configuration.training
    assert made.size == "laptop"
    is_short = training.num_iterations in (300, 20_000)  # no fewer, no more
    assert is_short or seconds_of(made) == pytest.approx(LAPTOP_SECONDS, rel=0.15)
    assert training.num_warmup_iterations == math.ceil(training.num_iterations / 20)
    METHODS[method].build_model(made.configuration, num_image_channels=1, labels=LABELS)


def test_the_same_plans_give_the_same_training():
    assert laptop(planned((64, 64))) == laptop(planned((64, 64)))


def test_a_laptop_has_half_the_widths_and_groups_of_several_channels():
    before, after = planned((64, 64)), laptop(planned((64, 64)))
    for name in ("network", "weak.network"):
        networks = [each.configuration.network for each in (before, after)]
        if name == "weak.network":
            networks = [each.configuration.weak.network for each in (before, after)]
        usual, narrow = networks
        assert [2 * width for width in narrow.channels] == list(usual.channels)
        assert 2 * narrow.num_groups == usual.num_groups
        assert narrow.strides == usual.strides


@pytest.mark.parametrize(
    ("patch", "spacing_mm", "cell"),
    [
        ((128, 128), (1.0, 1.0), (2, 2)),
        ((80, 64), (0.5, 0.5), (2, 2)),
        ((256, 256), (1.0, 1.0), (2, 2)),
        ((288, 320), (1.0, 1.0), (4, 4)),
        ((512, 512), (1.0, 1.0), (4, 4)),
        ((128, 128), (4.0, 1.0), (1, 2)),  # rows are far apart: none is folded
        ((40, 40, 40), (1.0, 1.0, 1.0), (1, 1, 1)),  # volumes
        ((64, 64), (1.0, 1.0), (1, 1)),  # small enough
        ((8, 1024), (1.0, 1.0), (1, 2)),  # too few voxels along the first axis
    ],
)
def test_a_laptop_sees_large_patches_in_cells(patch, spacing_mm, cell):
    before = of_large_regions(patch, spacing_mm=spacing_mm)
    after = laptop(before, ONE_LABEL).configuration
    network, usual = after.network, before.configuration.network
    assert network.strides[0] == cell
    if max(cell) < 4:
        assert network.strides[1:] == usual.strides[-len(network.strides) + 1 :]
        assert network.kernel_sizes == usual.kernel_sizes[-len(network.strides) :]
    else:  # as deep as one that sees the same patch in cells of two
        assert network.strides[1:] == usual.strides[2:]
    assert network.channels[0] >= math.prod(cell)  # of x_t, as an output needs them
    assert after.patch_size == patch
    cells = math.prod(patch) // math.prod(cell)
    smallest = 4 if len(patch) == 2 else 2
    assert after.training.batch_size == min(16, max(smallest, round(2**16 / cells)))
    reason = laptop(before, ONE_LABEL).reasons["network"]
    is_told = f"Cells of {' x '.join(map(str, cell))} voxels" in reason
    assert is_told == (math.prod(cell) > 1)


@pytest.mark.parametrize("policy", ["whole", "random"])
def test_a_patch_that_cells_do_not_fit_is_rounded_up_and_not_cut(policy):
    before = of_large_regions((464, 560), policy=policy)
    after = laptop(before, ONE_LABEL)
    assert after.configuration.patch_size == (480, 576)
    assert after.configuration.crop == before.configuration.crop
    assert (
        after.reasons["patch_size"] == "Preset laptop: rounded up to what the network's cells need."
    )


def test_a_cut_patch_is_nowhere_longer_than_planned():
    made = laptop(of_large_regions((464, 592), policy="random"), ONE_LABEL).configuration
    assert made.patch_size == (448, 576)


@pytest.mark.parametrize(("edge", "cell"), [(464, 2), (448, 4)])
def test_a_patch_that_the_user_set_stays_and_decides_on_cells(edge, cell):
    made = laptop(of_large_regions((512, 512), f"patch_size=[{edge},{edge}]"), ONE_LABEL)
    assert made.configuration.patch_size == (edge, edge)
    assert made.configuration.network.strides[0] == (cell, cell)


@pytest.mark.parametrize(("input_scale", "cell"), [(0.0625, 4), (0.0626, 2)])
def test_cells_of_four_are_small_beside_what_raters_differ_by(input_scale, cell):
    plans = planned((512, 512))
    made = with_size(plans, "laptop", labels=ONE_LABEL, input_scale=input_scale).configuration
    assert made.network.strides[0] == (cell, cell)
    assert made.diffusion.input_scale == plans.configuration.diffusion.input_scale


@pytest.mark.parametrize(("is_regions", "cell"), [(True, 4), (False, 2)])
def test_cells_of_four_are_for_few_channels(is_regions, cell):
    """Two regions are two channels, two exclusive labels are three."""
    values = ((1, 2), (2,)) if is_regions else ((1,), (2,))
    order = (1, 2) if is_regions else ()
    labels = LabelScheme(names=("a", "b"), values=values, is_regions=is_regions, class_order=order)
    network = laptop(of_large_regions((512, 512)), labels).configuration.network
    assert network.strides[0] == (cell, cell)
    assert max(network.channels) <= max(network.image_channels)


def test_the_first_width_doubles_with_cells_of_four():
    widths = [
        laptop(of_large_regions(edges), ONE_LABEL).configuration.network.image_channels[:3]
        for edges in ((64, 64), (128, 128), (512, 512))
    ]
    assert widths == [(16, 32, 64), (16, 32, 64), (32, 32, 64)]


def test_the_light_network_of_cells_begins_as_wide_as_the_image_encoder():
    """Half of it is too little for all voxels of a cell (log.md)."""
    network = with_size(planned((128, 128)), "laptop", labels=ONE_LABEL).configuration.network
    assert network.channels[0] == network.image_channels[0] == 16
    usual = with_size(planned((64, 64)), "laptop", labels=ONE_LABEL).configuration.network
    assert usual.channels[0] == usual.image_channels[0] // 2


@pytest.mark.parametrize(
    ("edge", "input_scale", "cell"), [(128, 0.05, 1), (512, 0.05, 4), (512, 0.1, 1)]
)
def test_a_supervised_network_sees_cells_of_four_or_pixels(edge, input_scale, cell):
    before = planned((edge, edge), method="supervised")
    made = with_size(before, "laptop", labels=ONE_LABEL, input_scale=input_scale).configuration
    assert made.network.strides[0] == (cell, cell)
    assert made.patch_size == ((512, 512) if cell == 4 else (128, 128))


@pytest.mark.parametrize("learner", methods_that_learn_from("image_labels"))
@pytest.mark.parametrize(
    ("edge", "cell", "channels"),
    [
        (128, 1, (8, 16, 32, 64, 64)),
        (160, 2, (16, 32, 64, 64)),
        (256, 4, (32, 32, 64, 64)),
        (512, 4, (32, 32, 64, 64)),
    ],
)
def test_models_of_large_images_see_cells(learner, edge, cell, channels):
    before = planned((edge, edge), method=learner)
    for input_scale in (0.05, 0.3):  # says nothing of them
        made = with_size(before, "laptop", labels=LABELS, input_scale=input_scale).configuration
        network = made.weak.network
        assert (network.strides[0], network.channels) == ((cell, cell), channels)
        assert made.network.strides[0] == (1, 1)  # is not trained
        assert made.patch_size == (edge, edge)


@pytest.mark.parametrize(
    ("num_channels", "cell", "channels"),
    [(3, 4, (48, 48, 64, 64)), (4, 4, (64, 64, 64, 64)), (5, 2, (24, 32, 64, 64))],
)
def test_all_channels_of_a_cell_pass_through_a_model_of_images(num_channels, cell, channels):
    before = planned((256, 256), method="cdm")
    preprocessing = dataclasses.replace(
        before.configuration.preprocessing, normalization=(NormalizationPlan(),) * num_channels
    )
    configuration = dataclasses.replace(before.configuration, preprocessing=preprocessing)
    made = laptop(dataclasses.replace(before, configuration=configuration)).configuration
    assert made.weak.network.strides[0] == (cell, cell)
    assert made.weak.network.channels == channels


def test_a_large_image_is_rounded_up_to_what_cells_need():
    made = laptop(planned((288, 272), method="cdm")).configuration
    assert (made.patch_size, made.crop.policy) == ((288, 288), "whole")
    kept = laptop(planned((272, 272), "patch_size=[272,272]", method="cdm")).configuration
    assert kept.patch_size == (272, 272)
    assert kept.weak.network.strides[0] == (2, 2)


def test_whole_images_stay_whole_where_a_laptop_can_train_on_them():
    made = laptop(planned((256, 256))).configuration
    assert (made.patch_size, made.crop.policy) == ((256, 256), "whole")
    assert made.training.batch_size == 4


def test_larger_patches_are_cut_and_often_show_objects():
    made = laptop(planned((64, 96, 80), policy="foreground", median=(80, 120, 100)))
    configuration = made.configuration
    assert configuration.patch_size == (40, 40, 40)
    assert configuration.crop == CropPlan(policy="foreground", foreground_share=0.5)
    assert configuration.training.batch_size == 2
    assert configuration.sampling.tile_step_size == 0.75


@pytest.mark.parametrize("learner", ["cdm", "classifier"])
def test_image_level_labels_need_whole_images_of_any_size(learner):
    assert laptop(planned((512, 512), method=learner)).configuration.patch_size == (512, 512)


def test_a_cut_patch_has_as_many_cells_as_one_of_voxels_had_voxels():
    for before, edge, cell in (
        (planned((512, 544), policy="random"), 256, 2),
        (of_large_regions((512, 544), policy="random"), 512, 4),
    ):
        made = laptop(before, ONE_LABEL).configuration
        assert made.patch_size == (edge, edge)
        assert made.network.strides[0] == (cell, cell)
        assert made.training.batch_size == 4


def test_a_patch_that_is_cut_is_isotropic_in_mm_and_fits_its_network():
    made = laptop(planned((16, 256, 256), policy="random", spacing_mm=(8.0, 1.0, 1.0)))
    patch, network = made.configuration.patch_size, made.configuration.network
    assert patch == (10, 80, 80)
    divisors = [math.prod(steps) for steps in zip(*network.strides, strict=True)]
    assert not any(edge % of for edge, of in zip(patch, divisors, strict=True))


def test_no_axis_gets_longer_than_planned():
    made = laptop(planned((16, 256, 256), policy="random"))
    assert made.configuration.patch_size[0] == 16


@pytest.mark.parametrize(
    "setting",
    [
        "training.num_iterations=777",
        "training.batch_size=7",
        "training.learning_rate=0.0002",
        "training.decay_share=0.1",
        "patch_size=[256,320]",
        "patch_size=[608,608]",
        "crop.policy=whole",
        "network.channels=[8,8,8,8,8]",
        "sampling.num_steps=9",
    ],
)
def test_what_the_user_sets_wins(setting):
    made = planned((512, 512), setting, median=(600, 600))
    after = laptop(made)
    value = operator.attrgetter(*made.set_by_user)
    assert value(after.configuration) == value(made.configuration)
    assert after.set_by_user == made.set_by_user


def test_networks_of_another_preset_stay_and_the_patch_fits_them():
    made = laptop(planned((512, 544), "network=p1", policy="random"))
    assert made.configuration.network.channels == (32, 32, 64, 128)
    assert made.configuration.patch_size == (128, 128)  # no cells are folded
    assert seconds_of(made) == pytest.approx(LAPTOP_SECONDS, rel=0.3)


def test_a_set_length_brings_its_own_learning_rate():
    made = laptop(planned((64, 64), "training.num_iterations=20000")).configuration.training
    assert (made.num_iterations, made.ema_decay) == (20_000, 0.999)
    assert made.learning_rate == pytest.approx(4.5e-4)


def test_a_fast_training_is_no_longer_than_planned():
    made = planned((16, 16))
    training = dataclasses.replace(made.configuration.training, num_iterations=500, batch_size=4)
    configuration = dataclasses.replace(made.configuration, training=training)
    after = laptop(dataclasses.replace(made, configuration=configuration)).configuration.training
    assert (after.num_iterations, after.batch_size) == (500, 4)


def test_where_a_case_would_take_minutes_it_gets_fewer_steps_and_samples():
    usual, large, huge = (
        of_many_samples(planned((64, 64), policy="random", median=(edge, edge)))
        for edge in (64, 700, 9000)
    )
    sampling = laptop(usual).configuration.sampling
    assert (sampling.num_samples, sampling.num_steps) == (16, 10)
    sampling = laptop(large).configuration.sampling
    assert (4 < sampling.num_samples < 16, sampling.num_steps) == (True, 5)
    made = laptop(huge).configuration
    assert (made.sampling.num_samples, made.sampling.num_steps) == (4, 5)
    assert (made.training.num_validations, made.training.num_final_validation_cases) == (0, 1)


def test_where_a_case_takes_less_than_five_minutes_two_are_validated():
    made = of_many_samples(planned((64, 64), policy="random", median=(1900, 1900)))
    case_seconds = measure_work(laptop(made), LABELS).of_case(laptop(made))
    assert 150 < case_seconds < 300
    training = laptop(made).configuration.training
    assert (training.num_validations, training.num_final_validation_cases) == (1, 2)


def test_a_coarser_spacing_has_the_share_of_voxels_and_begins_with_the_finest_axes():
    made = planned((40, 40, 40), spacing_mm=(5.0, 0.5, 0.8))
    assert coarser_spacing(made, share=0.25) == pytest.approx((5.0, 1.6**0.5, 1.6**0.5))
    assert coarser_spacing(made, share=0.001) == pytest.approx((2000 ** (1 / 3),) * 3)
    assert coarser_spacing(made, share=1.0) == pytest.approx((5.0, 0.5, 0.8))
    turned = dataclasses.replace(made, transpose_forward=(2, 0, 1))
    assert coarser_spacing(turned, share=0.25) == pytest.approx((1.6**0.5, 1.6**0.5, 5.0))
    slices = dataclasses.replace(planned((64, 64)), transpose_forward=(0, 1, 2))
    assert coarser_spacing(slices, share=0.5) is None


def of_many_samples(made: ResolvedPlans) -> ResolvedPlans:
    sampling = dataclasses.replace(made.configuration.sampling, num_samples=16, num_steps=10)
    return dataclasses.replace(
        made, configuration=dataclasses.replace(made.configuration, sampling=sampling)
    )


def test_every_changed_value_says_which_preset_it_is_of():
    made = laptop(planned((512, 544), policy="random")).reasons
    assert made["patch_size"].startswith("Preset laptop: ")
    assert made["network"].startswith("Preset laptop: ")
    for name in ("num_iterations", "learning_rate", "batch_size", "decay_share"):
        assert made["training"][name].startswith("Preset laptop: ")


def test_a_large_training_is_wider_and_longer_but_no_longer_than_p1s():
    made = planned((128, 128))
    large = with_size(made, "large", labels=LABELS).configuration
    assert [w // 2 for w in large.network.channels] == list(made.configuration.network.channels)
    assert large.training.num_iterations == 40_000
    assert large.training.learning_rate < made.configuration.training.learning_rate + 3e-3
    long = planned((128, 128))
    training = dataclasses.replace(long.configuration.training, num_iterations=90_000)
    long = dataclasses.replace(
        long, configuration=dataclasses.replace(long.configuration, training=training)
    )
    assert with_size(long, "large", labels=LABELS).configuration.training.num_iterations == 100_000


def test_the_default_size_is_as_planned():
    assert with_size(planned((64, 64)), "default", labels=LABELS) == planned((64, 64))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("diffusion.input_scale=0.3", True),
        ("sampling.num_samples=4", True),
        ("training.precision=bfloat16", True),
        ("training.batch_size=4", False),
        ("patch_size=[32,32]", False),
        ("network=p1", False),
        ("weak.network=p1", False),
        ("crop.policy=random", False),
    ],
)
def test_plans_may_be_resized_where_the_user_says_nothing_of_size_or_length(setting, expected):
    assert may_be_resized(planned((64, 64), setting)) is expected


def test_a_size_is_taken_from_among_settings():
    assert without_size(["a.b=1", "laptop", "p1"]) == ("laptop", ["a.b=1", "p1"])
    assert without_size(["a.b=laptop"]) == (None, ["a.b=laptop"])
    with pytest.raises(PlansError, match="laptop and large: a training has one size"):
        without_size(["large", "laptop"])
