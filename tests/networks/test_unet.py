import dataclasses

import pytest
import torch

from diffunet.networks.unet import Encoder, Head, ResidualUNet, UNet, UNetShape

SHAPE = UNetShape(
    channels=(4, 6, 8),
    strides=((1, 1), (1, 2), (2, 2)),
    kernel_sizes=((1, 3), (3, 3), (3, 3)),
    num_blocks=(1, 2, 1),
    num_decoder_blocks=(2, 1, 3),
    num_middle_blocks=2,
    has_attention=(False, False, True),
    num_heads=2,
    num_groups=4,
    dropout=0.0,
    embedding_dim=None,
)


def randomized(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    return module


@pytest.mark.parametrize("body", [UNet, ResidualUNet])
def test_a_body_returns_one_feature_map_per_stage(body):
    outputs = body(3, shape=SHAPE)(torch.zeros(2, 3, 8, 12), None)
    assert [tuple(each.shape) for each in outputs] == [
        (2, 4, 8, 12),
        (2, 6, 8, 6),
        (2, 8, 4, 3),
    ]


@pytest.mark.parametrize("body", [UNet, ResidualUNet, Encoder])
def test_a_body_of_cells_sees_every_voxel_of_a_cell(body):
    shape = dataclasses.replace(SHAPE, strides=((2, 2), (1, 2), (2, 2)))
    network = randomized(body(1, shape=shape))
    image = torch.zeros(1, 1, 8, 16, requires_grad=True)
    finest = network(image, None)[0]
    assert finest.shape == (1, 4, 4, 8)
    finest[0, :, 2, 3].square().sum().backward()
    assert (image.grad[0, 0, 4:6, 6:8] != 0).all()


@pytest.mark.parametrize("num_decoder_blocks", [(1, 1, 1), (2, 3, 2), (4, 5, 6)])
def test_decoders_take_fewer_or_more_blocks_than_there_are_skips(num_decoder_blocks):
    shape = dataclasses.replace(SHAPE, num_decoder_blocks=num_decoder_blocks)
    outputs = UNet(1, shape=shape)(torch.zeros(1, 1, 4, 8), None)
    assert outputs[0].shape == (1, 4, 4, 8)


@pytest.mark.parametrize("name", ["num_blocks", "num_decoder_blocks"])
def test_concatenated_skips_need_a_block_at_every_stage(name):
    shape = dataclasses.replace(SHAPE, **{name: (0, 1, 1)})
    with pytest.raises(ValueError, match="at least 1 at every stage"):
        UNet(1, shape=shape)


def test_a_lighter_body_may_have_no_block_at_a_stage():
    shape = dataclasses.replace(SHAPE, num_blocks=(0, 1, 1), num_middle_blocks=0)
    assert ResidualUNet(1, shape=shape)(torch.zeros(1, 1, 4, 8), None)[0].shape == (1, 4, 4, 8)


@pytest.mark.parametrize("body", [UNet, ResidualUNet])
def test_attention_lets_every_voxel_see_every_other(body):
    network = randomized(body(1, shape=SHAPE))
    x = torch.randn(1, 1, 32, 64, requires_grad=True)
    network(x, None)[0][0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0, -1, -1] != 0


def test_without_attention_far_voxels_are_not_seen():
    shape = dataclasses.replace(SHAPE, has_attention=(False,) * 3, num_groups=1)
    network = randomized(ResidualUNet(1, shape=shape)).double()
    for module in network.modules():
        if type(module).__name__ == "GroupNorm":
            module.forward = lambda x: x
    x = torch.randn(1, 1, 128, 256, dtype=torch.float64, requires_grad=True)
    network(x, None)[0][0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0, -1, -1] == 0
    assert x.grad[0, 0, 0, 0] != 0


def test_features_are_added_where_a_stage_begins():
    network = randomized(ResidualUNet(1, shape=SHAPE))
    x = torch.randn(1, 1, 4, 8)
    nothing = (torch.zeros(1, 4, 4, 8), torch.zeros(1, 6, 4, 4), torch.zeros(1, 8, 2, 2))
    assert torch.equal(network(x, None, nothing)[0], network(x, None)[0])
    for stage in range(3):
        something = list(nothing)
        something[stage] = torch.ones_like(nothing[stage])
        assert not torch.allclose(network(x, None, tuple(something))[0], network(x, None)[0])


def test_a_new_head_returns_zero_in_float32():
    head = Head(4, 2, shape=SHAPE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(torch.randn(1, 4, 8, 8))
    assert output.dtype == torch.float32
    assert output.abs().sum() == 0
