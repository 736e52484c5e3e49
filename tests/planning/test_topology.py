import math

import pytest
import torch

from diffunet.build import build_denoising_network, build_supervised_network
from diffunet.planning.topology import plan_network, plan_pooling
from diffunet.plans.presets import p1_network


def num_parameters(plan):
    with torch.device("meta"):
        network = build_denoising_network(
            plan, num_image_channels=1, num_label_channels=1, is_output_bounded=True
        )
    return sum(each.numel() for each in network.parameters())


@pytest.mark.parametrize(
    ("patch", "spacing", "divisors"),
    [
        ((128, 128), (1.0, 1.0), (16, 16)),
        ((512, 512), (0.7, 0.7), (16, 16)),
        # 64 positions along each axis at most: 2048 / 32
        ((2048, 2048), (1.0, 1.0), (32, 32)),
        ((64, 64), (1.0, 1.0), (8, 8)),
        # 15 voxels are not halved, 16 are
        ((15, 16), (1.0, 1.0), (1, 2)),
        ((8, 8), (1.0, 1.0), (1, 1)),
        # 36, 18, 9 and 50, 25, 13
        ((36, 50, 35), (1.0, 1.0, 1.0), (4, 4, 4)),
        ((128, 128, 128), (1.0, 1.0, 1.0), (16, 16, 16)),
        # 5 mm waits until 0.6 mm have become 4.8
        ((20, 256, 224), (5.0, 0.6, 0.6), (2, 16, 16)),
        # the coarse axis is too short to ever be halved
        ((10, 128, 128), (5.0, 1.0, 1.0), (1, 16, 16)),
    ],
)
def test_axes_are_halved_while_they_are_long_and_their_spacings_alike(patch, spacing, divisors):
    assert plan_pooling(patch, spacing).divisors == divisors


def test_a_coarse_axis_is_halved_and_convolved_along_once_the_others_are_as_coarse():
    pooling = plan_pooling((32, 256, 256), (3.0, 1.0, 1.0))
    assert pooling.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert pooling.kernel_sizes == ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))


def test_an_axis_that_was_convolved_along_stays_so():
    # the first axis is left behind at 1 mm while the others reach 16 mm
    pooling = plan_pooling((8, 256, 256), (1.0, 1.0, 1.0))
    assert set(pooling.kernel_sizes) == {(3, 3, 3)}


@pytest.mark.parametrize(
    ("patch", "spacing"),
    [((128, 128), (1.0, 1.0)), ((512, 512), (1.0, 1.0)), ((112, 112, 96), (1.0, 1.0, 1.0))],
)
def test_a_default_network_has_five_to_nine_million_parameters(patch, spacing):
    plan = plan_network(patch, spacing, num_label_channels=1).network
    assert 5e6 < num_parameters(plan) < 9e6


def test_the_widths_are_as_the_reasons_say():
    topology = plan_network((128, 128), (1.0, 1.0), num_label_channels=1)
    assert topology.network.image_channels == (32, 64, 128, 192, 192)
    assert topology.network.channels == (16, 32, 64, 96, 96)
    assert topology.network.num_image_blocks == (1, 1, 2, 2, 2)
    assert "doubled from 32 up to 192" in topology.reasons["image_channels"]


def test_many_label_channels_widen_the_network_of_the_steps():
    network = plan_network((64, 64), (1.0, 1.0), num_label_channels=11).network
    assert network.channels == (24, 32, 64, 96)


def test_there_is_attention_at_the_coarsest_stage_only():
    small = plan_network((128, 128), (1.0, 1.0), num_label_channels=1)
    assert small.network.has_attention == (False, False, False, False, True)
    assert small.reasons["has_attention"] == "at the coarsest stage only, over 64 positions"


@pytest.mark.parametrize("patch", [(3000, 3000), (300, 300, 300), (15, 15, 15), (1, 4000, 4000)])
def test_attention_is_never_over_too_many_positions(patch):
    divisors = plan_pooling(patch, (1.0,) * len(patch)).divisors
    positions = math.prod(-(-edge // each) for edge, each in zip(patch, divisors, strict=True))
    assert positions <= 4096


def test_every_reason_names_a_field_of_the_plan():
    topology = plan_network((64, 64), (1.0, 1.0), num_label_channels=1)
    assert all(hasattr(topology.network, name) for name in topology.reasons)


@pytest.mark.parametrize(
    ("patch", "spacing"),
    [
        ((32, 32), (1.0, 1.0)),
        ((16, 48), (3.0, 1.0)),
        ((8, 8), (1.0, 1.0)),
        ((16, 16, 16), (1.0, 1.0, 1.0)),
        ((6, 32, 16), (4.0, 1.0, 1.0)),
        ((16, 16, 32), (1.0, 1.0, 2.5)),
    ],
)
@pytest.mark.parametrize("is_published", [True, False])
def test_planned_networks_run_forward_and_backward(patch, spacing, is_published):
    topology = plan_network(patch, spacing, num_label_channels=2)
    plan = topology.network
    if is_published:
        plan = p1_network(len(patch))
        patch = tuple(-(-edge // 8) * 8 for edge in patch)
    arguments = {"num_image_channels": 1, "num_label_channels": 2}
    network = build_denoising_network(plan, is_output_bounded=True, **arguments)
    image, x_t = torch.randn(2, 1, *patch), torch.randn(2, 2, *patch)
    output = network(x_t, torch.rand(2), network.encode_image(image))
    assert output.shape == x_t.shape
    output.sum().backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in network.parameters())
    assert build_supervised_network(plan, **arguments)(image).shape == x_t.shape


def test_the_published_network_is_that_of_the_paper():
    plan = p1_network(2)
    with torch.device("meta"):
        network = build_denoising_network(
            plan, num_image_channels=3, num_label_channels=1, is_output_bounded=True
        )
    assert sum(each.numel() for each in network.parameters()) == 6_891_905
    assert plan.has_attention == (False, False, False, True)
    assert plan.num_heads == 4
