import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffunet.build import (
    build_denoiser,
    build_denoising_network,
    build_encoding,
    build_sampler,
    build_schedule,
    build_segmentation_encoding,
    build_segmentation_network,
    build_supervised_network,
    build_weighting,
)
from diffunet.diffusion.samplers import SAMPLERS
from diffunet.diffusion.sampling import level_of
from diffunet.diffusion.weighting import WEIGHTINGS
from diffunet.errors import PlansError
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.topology import plan_network
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    PreprocessingPlan,
    SamplingPlan,
    TrainingPlan,
    WeakPlan,
)
from diffunet.plans.presets import p1_network
from diffunet.ranges import choices_of

NETWORK = NetworkPlan(
    channels=(8, 8),
    strides=((1, 1), (2, 2)),
    kernel_sizes=((3, 3), (3, 3)),
    num_blocks=(1, 1),
    num_decoder_blocks=(1, 1),
    has_attention=(False, True),
    image_channels=(8, 16),
    num_image_blocks=(1, 1),
)
CONFIGURATION = ConfigurationPlan(
    dimensions=2,
    data_identifier="2d",
    median_shape=(16, 16),
    patch_size=(16, 16),
    preprocessing=PreprocessingPlan(spacing_mm=(1.0, 1.0), normalization=(NormalizationPlan(),)),
    crop=CropPlan(),
    augmentation=AugmentationPlan(),
    network=NETWORK,
    diffusion=DiffusionPlan(),
    sampling=SamplingPlan(num_steps=3),
    training=TrainingPlan(),
)
ONE_LABEL = LabelScheme(names=("lesion",), values=((1,),))
THREE_LABELS = LabelScheme(names=("a", "b", "c"), values=((1,), (2,), (3,)))
TWO_REGIONS = LabelScheme(
    names=("whole", "core"), values=((1, 2), (2,)), is_regions=True, class_order=(1, 2)
)


def with_diffusion(**changes):
    diffusion = dataclasses.replace(CONFIGURATION.diffusion, **changes)
    return dataclasses.replace(CONFIGURATION, diffusion=diffusion)


@pytest.mark.parametrize("name", choices_of(DiffusionPlan, "schedule"))
def test_every_schedule_of_the_plans_is_built_with_its_limit(name):
    schedule = build_schedule(DiffusionPlan(schedule=name, input_scale=0.3, log_snr_limit=15.0))
    ends = schedule.log_snr(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert ends.tolist() == pytest.approx([15, -15])


def test_the_input_scale_shifts_log_snr_in_the_middle():
    middle = torch.tensor([0.5], dtype=torch.float64)
    found = build_schedule(DiffusionPlan(input_scale=0.1)).log_snr(middle)
    assert float(found) == pytest.approx(-4.605, abs=1e-3)  # 2 ln 0.1


@pytest.mark.parametrize("name", choices_of(DiffusionPlan, "loss_weighting"))
def test_every_weighting_of_the_plans_is_built(name):
    weighting = build_weighting(DiffusionPlan(loss_weighting=name, loss_weighting_bias=-2.0))
    log_snr = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(weighting(log_snr), WEIGHTINGS[name](log_snr, bias=-2.0))


@pytest.mark.parametrize("sampler", choices_of(SamplingPlan, "sampler"))
@pytest.mark.parametrize("step_spacing", choices_of(SamplingPlan, "step_spacing"))
def test_every_sampler_of_the_plans_takes_its_steps(sampler, step_spacing):
    plan = SamplingPlan(sampler=sampler, step_spacing=step_spacing, num_steps=4)
    draw = build_sampler(plan, schedule=build_schedule(DiffusionPlan()))
    times, noise = [], torch.zeros(1, 1, 4, 4)

    def predict_x_0(x_t, t):
        times.append(t)
        return torch.full_like(x_t, 0.5)

    drawn = draw(predict_x_0, torch.randn(1, 1, 4, 4), noise_source=lambda step: noise)
    assert len(times) == 4
    assert times[0] == 1
    assert torch.equal(drawn, torch.full((1, 1, 4, 4), 0.5))


@pytest.mark.parametrize("variance", choices_of(SamplingPlan, "variance"))
def test_the_variance_reaches_the_sampler(variance):
    schedule = build_schedule(DiffusionPlan())
    draw = build_sampler(
        SamplingPlan(sampler="ddpm", variance=variance, num_steps=2), schedule=schedule
    )
    levels = [level_of(float(schedule.log_snr(torch.tensor(t).double()))) for t in (1.0, 0.5)]
    assert draw.steps == (SAMPLERS["ddpm"](levels, variance=variance),)


@pytest.mark.parametrize(
    ("labels", "encoding", "num_channels"),
    [
        (ONE_LABEL, "signed", 1),
        (THREE_LABELS, "signed", 4),
        (THREE_LABELS, "analog_bits", 2),
        (TWO_REGIONS, "signed", 2),
        (TWO_REGIONS, "analog_bits", 2),
    ],
)
def test_the_encoding_follows_labels_and_plan(labels, encoding, num_channels):
    built = build_encoding(labels, DiffusionPlan(encoding=encoding))
    assert built.num_channels == num_channels


@pytest.mark.parametrize(
    ("labels", "num_channels"), [(ONE_LABEL, 1), (THREE_LABELS, 4), (TWO_REGIONS, 2)]
)
def test_logits_of_the_supervised_network_are_never_bits(labels, num_channels):
    configuration = with_diffusion(encoding="analog_bits")
    network = build_segmentation_network(configuration, num_image_channels=1, labels=labels)
    assert network(torch.zeros(1, 1, 16, 16)).shape[1] == num_channels
    assert build_segmentation_encoding(labels).num_channels == num_channels


@pytest.mark.parametrize("prediction", choices_of(DiffusionPlan, "prediction"))
def test_a_denoiser_of_every_prediction_draws_a_sample(prediction):
    configuration = with_diffusion(prediction=prediction)
    denoiser = build_denoiser(configuration, num_image_channels=2, labels=THREE_LABELS)
    features = denoiser.encode_image(torch.randn(1, 2, 16, 16))
    draw = build_sampler(configuration.sampling, schedule=denoiser.schedule)
    drawn = draw(
        lambda x_t, t: denoiser.predict_x_0(x_t, t, features=features),
        torch.randn(2, 4, 16, 16),
        noise_source=lambda step: torch.randn(2, 4, 16, 16),
    )
    assert drawn.shape == (2, 4, 16, 16)
    assert drawn.abs().max() <= 1


@pytest.mark.parametrize(
    ("prediction", "is_bounded"), [("x_0", True), ("v", False), ("noise", False)]
)
def test_only_a_predicted_x_0_is_bounded(prediction, is_bounded):
    denoiser = build_denoiser(
        with_diffusion(prediction=prediction), num_image_channels=1, labels=ONE_LABEL
    )
    assert denoiser.network.has_final_tanh == is_bounded


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("supervised", "SegmentationNetwork"),
        ("diffusion", "Denoiser"),
        ("cdm", "ImageModel"),
        ("classifier", "ClassificationNetwork"),
    ],
)
def test_the_method_decides_which_model_is_built(method, name):
    network = dataclasses.replace(NETWORK, image_channels=(), num_image_blocks=())
    configuration = dataclasses.replace(CONFIGURATION, weak=WeakPlan(network=network))
    model = METHODS[method].build_model(configuration, num_image_channels=1, labels=ONE_LABEL)
    assert type(model).__name__ == name


@pytest.mark.parametrize("build", [build_denoising_network, build_supervised_network])
def test_a_plan_that_describes_no_network_is_a_plans_error(build):
    plan = p1_network(2)
    object.__setattr__(plan, "num_blocks", (0, 1, 1, 1))  # plans refuse it before
    arguments = {} if build is build_supervised_network else {"is_output_bounded": True}
    with pytest.raises(PlansError, match="network: num_blocks"):
        build(plan, num_image_channels=1, num_label_channels=1, **arguments)


def num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_p1s_plan_builds_p1s_network():
    network = build_denoising_network(
        p1_network(2), num_image_channels=3, num_label_channels=1, is_output_bounded=True
    )
    assert num_parameters(network) == 6_891_905


def test_the_supervised_network_has_most_of_the_capacity_of_the_denoising_one():
    for plan in (plan_network((128, 128), (1, 1), num_label_channels=1).network, p1_network(2)):
        arguments = {"num_image_channels": 1, "num_label_channels": 1}
        denoising = build_denoising_network(plan, is_output_bounded=True, **arguments)
        supervised = build_supervised_network(plan, **arguments)
        assert 0.75 < num_parameters(supervised) / num_parameters(denoising) <= 1


def test_a_step_of_the_default_network_costs_a_third_of_a_concatenated_one_of_equal_size():
    flops = {}
    x_t, t, image = torch.zeros(1, 1, 64, 64), torch.zeros(1), torch.zeros(1, 1, 64, 64)
    plans = {
        "encoded": plan_network((128, 128), (1, 1), num_label_channels=1).network,
        "concatenated": p1_network(2),
    }
    sizes = {}
    for name, plan in plans.items():
        network = build_denoising_network(
            plan, num_image_channels=1, num_label_channels=1, is_output_bounded=True
        )
        sizes[name] = num_parameters(network)
        with torch.no_grad():
            features = network.encode_image(image)
            with FlopCounterMode(display=False) as counter:
                network(x_t, t, features)
        flops[name] = counter.get_total_flops()
    assert sizes["encoded"] > sizes["concatenated"]
    assert flops["encoded"] < flops["concatenated"] / 3
