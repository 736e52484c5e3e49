import pytest

from diffunet.ablation.axes import combinations, parse_axes
from diffunet.ablation.presets import PRESETS
from diffunet.ablation.variants import OWN, make_variants, trainings_of
from diffunet.errors import PlansError
from diffunet.names import name_problem
from tests.training.folds import plans, with_settings
from tests.wsss.weak_folds import weak_plans


def variants_of(*words, base=None, one_at_a_time=False, has_own=True, preset=()):
    base = base or plans()
    axes = parse_axes(words)
    return make_variants(
        combinations(axes, one_at_a_time=one_at_a_time, has_own=has_own),
        axes,
        resolve=lambda settings: with_settings(base, *settings),
        preset=preset,
    )


def test_variants_of_prediction_alone_share_one_training():
    found = variants_of("sampling.num_steps=2,3", "sampling.sampler=ddpm,ddim")
    assert len(found) == 5
    (training,) = trainings_of(found)
    assert training.settings == ()
    assert training.plans == plans()


def test_a_grid_over_both_trains_once_for_each_value_that_decides_about_weights():
    found = variants_of("diffusion.input_scale=0.1,0.3", "sampling.num_steps=2,3")
    assert [each.settings for each in trainings_of(found)] == [
        ("diffusion.input_scale=0.1",),
        ("diffusion.input_scale=0.3",),
    ]
    assert found[-1].settings == ("sampling.num_steps=3",)
    assert found[-1].plans.configuration.diffusion.input_scale == 0.3


def test_the_plans_own_values_are_one_variant_where_an_axis_has_them():
    found = variants_of("diffusion.input_scale=0.3,0.1,0.03")
    assert [each.name for each in found] == [
        "input_scale=0.3",
        "input_scale=0.1",
        "input_scale=0.03",
    ]
    assert [each.is_own for each in found] == [False, True, False]


def test_the_plans_own_values_are_a_variant_where_no_axis_has_them():
    found = variants_of("diffusion.input_scale=0.3,0.03")
    assert [each.name for each in found] == [OWN, "input_scale=0.3", "input_scale=0.03"]
    assert found[0].values == {"diffusion.input_scale": 0.1}
    assert len(variants_of("diffusion.input_scale=0.3,0.03", has_own=False)) == 2


def test_equal_values_written_differently_are_one_variant():
    assert len(variants_of("diffusion.input_scale=0.3,0.30,3e-1", has_own=False)) == 1


def test_all_faults_are_told_at_once_and_each_once():
    with pytest.raises(PlansError) as fault:
        variants_of("diffusion.input_scale=7,0.1", "sampling.sampler=ddpm,dppm", "training.lr=1")
    assert "training has no field 'lr'" in str(fault.value)
    with pytest.raises(PlansError) as fault:
        variants_of("diffusion.input_scale=7,0.1", "sampling.sampler=ddpm,dppm")
    assert len(str(fault.value).splitlines()) == 2
    for part in ("input_scale", "7", "dppm"):
        assert part in str(fault.value)


def test_values_that_are_valid_together_alone_are_checked_together():
    words = ("network.channels=[8,16,16]", "network.num_blocks=[1,1,1]")
    more = [f"network.{name}=[1,1,1]" for name in ("num_decoder_blocks", "num_image_blocks")]
    more += ["network.strides=[[1,1],[2,2],[2,2]]", "network.kernel_sizes=[[3,3],[3,3],[3,3]]"]
    more += ["network.has_attention=[false,false,false]", "network.image_channels=[8,16,16]"]
    (found,) = variants_of(*words, *more, has_own=False)
    assert found.plans.configuration.network.channels == (8, 16, 16)


@pytest.mark.parametrize(
    "words",
    [
        ["network.channels=[8,16],[16,32]", "diffusion.prediction=x_0,v"],
        [f"training.learning_rate={','.join(f'0.00{n}' for n in range(1, 10))}"],
        ["network=p1,monai"],
    ],
)
def test_names_of_files_are_short_and_different(words):
    found = variants_of(*words, has_own=False)
    names = [each.file_name for each in found]
    assert len(set(names)) == len(names) == len({each.training.name for each in found})
    for name in names:
        assert name_problem(name) is None
        assert len(name) <= 80
        assert not set(name) & set(",/[]= ")


def test_names_of_files_do_not_depend_on_the_order_of_the_axes():
    words = ("diffusion.input_scale=0.3", "sampling.num_steps=2")
    (one,) = variants_of(*words, has_own=False)
    (other,) = variants_of(*reversed(words), has_own=False)
    assert one.file_name == other.file_name
    assert one.training.name == other.training.name


def test_axes_that_end_alike_are_named_in_full():
    base = weak_plans()
    found = variants_of("weak.cdm.tau=0.1", "weak.cg_cdm.tau=0.2", base=base, has_own=False)
    assert found[0].name == "weak.cdm.tau=0.1, weak.cg_cdm.tau=0.2"


def test_what_a_weak_training_would_choose_is_no_value_that_the_user_set():
    base = weak_plans()
    planned = base.configuration.weak.cdm.tau
    found = variants_of(f"weak.cdm.tau={planned},0.5", base=base)
    assert [each.name for each in found] == [OWN, f"tau={planned}", "tau=0.5"]
    assert [each.is_own for each in found] == [True, False, False]
    assert len(trainings_of(found)) == 1


@pytest.mark.parametrize(
    ("name", "preset"),
    [each for sweeps in PRESETS.values() for each in sweeps.items()],
)
def test_every_value_of_a_preset_is_one_that_plans_take(name, preset):
    base = plans() if preset.method == "diffusion" else weak_plans(method=preset.method)
    found = make_variants(
        combinations(preset.axes, one_at_a_time=False),
        preset.axes,
        resolve=lambda settings: with_settings(base, *settings),
        preset=preset.settings,
    )
    assert len(found) >= len(preset.axes[0].values), name
