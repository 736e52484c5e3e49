import logging
import sys
import types

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffunet import networks
from diffunet.networks import blocks
from diffunet.networks.blocks import (
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    convolution,
    largest_divisor,
    upsample,
)


def randomized(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    return module


@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 3), (3, 3, 3), (1, 3, 3)])
def test_a_convolution_keeps_the_size(kernel_size):
    x = torch.zeros(1, 2, *(7, 6, 5)[: len(kernel_size)])
    y = convolution(2, 4, kernel_size=kernel_size)(x)
    assert y.shape == (1, 4, *x.shape[2:])


def test_a_strided_convolution_divides_the_size_and_skips_no_voxel():
    layer = convolution(1, 1, kernel_size=(1, 1), stride=(1, 2))
    layer.weight.data.fill_(1)
    layer.bias.data.fill_(0)
    x = torch.zeros(1, 1, 2, 8)
    for column in range(8):
        x[..., column] = 1
        y = layer(x)
        assert y.shape == (1, 1, 2, 4)
        assert y.abs().sum() > 0
        x[..., column] = 0


@pytest.mark.parametrize(
    ("number", "limit", "expected"), [(32, 32, 32), (48, 32, 24), (7, 4, 1), (12, 8, 6)]
)
def test_the_largest_divisor_is_found(number, limit, expected):
    assert largest_divisor(number, limit) == expected


def test_group_norm_agrees_with_torch():
    x = torch.randn(2, 12, 5, 5)
    ours = randomized(GroupNorm(12, num_groups=8))
    theirs = nn.GroupNorm(6, 12)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs(x))


def test_group_norm_stays_in_bfloat16_under_autocast():
    norm = GroupNorm(8, num_groups=2)
    x = torch.randn(2, 8, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = norm(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), norm(x), atol=0.05)


def test_a_new_residual_block_is_its_shortcut():
    block = ResidualBlock(4, 6, kernel_size=(3, 3), embedding_dim=5, num_groups=2, dropout=0.0)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x, torch.randn(2, 5)), block.shortcut(x))


def test_a_residual_block_is_the_published_formula():
    block = randomized(
        ResidualBlock(4, 4, kernel_size=(3, 3), embedding_dim=5, num_groups=2, dropout=0.0)
    )
    x, embedding = torch.randn(2, 4, 8, 8), torch.randn(2, 5)
    silu = torch.nn.functional.silu
    y = block.first_convolution(silu(block.first_norm(x)))
    y = y + block.embedding(embedding)[:, :, None, None]
    expected = x + block.second_convolution(silu(block.second_norm(y)))
    assert torch.allclose(block(x, embedding), expected, atol=1e-6)


def test_a_residual_block_gives_the_same_with_and_without_gradients():
    block = randomized(
        ResidualBlock(4, 6, kernel_size=(3, 3), embedding_dim=5, num_groups=2, dropout=0.0)
    )
    x, embedding = torch.randn(2, 4, 8, 8), torch.randn(2, 5)
    kept = x.clone()
    with torch.no_grad():
        without = block(x, embedding)
    assert torch.equal(without, block(x, embedding))
    assert torch.equal(x, kept)


def test_a_residual_block_that_needs_an_embedding_says_so():
    block = ResidualBlock(4, 4, kernel_size=(3, 3), embedding_dim=5, num_groups=2, dropout=0.0)
    with pytest.raises(ValueError, match="needs an embedding"):
        block(torch.zeros(1, 4, 8, 8), None)


def test_dropout_acts_in_training_only():
    block = randomized(
        ResidualBlock(4, 4, kernel_size=(3, 3), embedding_dim=None, num_groups=2, dropout=0.5)
    )
    x = torch.randn(1, 4, 8, 8)
    assert not torch.equal(block(x, None), block(x, None))
    block.eval()
    assert torch.equal(block(x, None), block(x, None))


@pytest.mark.parametrize("spatial", [(4, 5), (3, 4, 2)])
def test_attention_agrees_with_the_softmax_of_all_pairs(spatial):
    attention = randomized(SelfAttention(8, num_heads=2, num_groups=4))
    x = torch.randn(2, 8, *spatial)
    tokens = attention.norm(x).flatten(2).transpose(1, 2)
    query, key, value = attention.query_key_value(tokens).chunk(3, dim=-1)
    gathered = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / 2).softmax(dim=-1)
        gathered.append(weights @ value[..., head])
    update = attention.projection(torch.cat(gathered, dim=-1)).transpose(1, 2)
    assert torch.allclose(attention(x), x + update.reshape(x.shape), atol=1e-5)


@pytest.mark.parametrize(("learns", "expected"), [(True, torch.float32), (False, torch.bfloat16)])
def test_attention_that_learns_on_a_cpu_is_in_float32(monkeypatch, learns, expected):
    found = []

    def attend(query, key, value, original=functional.scaled_dot_product_attention):
        found.append({query.dtype, key.dtype, value.dtype})
        return original(query, key, value)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attend)
    attention = randomized(SelfAttention(8, num_heads=2, num_groups=4))
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(learns):
        y = attention(torch.randn(2, 8, 4, 5).bfloat16())
    with torch.set_grad_enabled(learns):  # weights in bfloat16, without autocast
        assert attention.bfloat16()(torch.randn(2, 8, 4, 5).bfloat16()).dtype == torch.bfloat16
    assert found == [{expected}] * 2
    assert y.dtype == torch.bfloat16


def test_attention_keeps_channels_last():
    attention = randomized(SelfAttention(8, num_heads=2, num_groups=4))
    x = torch.randn(2, 8, 4, 5).to(memory_format=torch.channels_last)
    assert attention(x).is_contiguous(memory_format=torch.channels_last)


def test_upsampling_repeats_voxels_along_each_axis():
    x = torch.tensor([[[[1.0, 2.0]]]])
    assert upsample(x, (1, 2)).tolist() == [[[[1, 1, 2, 2]]]]
    assert upsample(x, (2, 1)).tolist() == [[[[1, 2], [1, 2]]]]


def test_upsampling_stays_in_bfloat16_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert upsample(torch.zeros(1, 1, 2, 2).bfloat16(), (2, 2)).dtype == torch.bfloat16


def test_where_triton_does_not_run_torch_norms_and_says_so_once(monkeypatch, caplog):
    failing = types.ModuleType("diffunet.networks.fused_norm")

    def no_compiler(device):
        raise RuntimeError("Failed to find C compiler.\nSet the CC environment variable")

    failing.try_on = no_compiler  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "diffunet.networks.fused_norm", failing)
    monkeypatch.setattr(networks, "fused_norm", failing, raising=False)
    monkeypatch.setattr(blocks.importlib.util, "find_spec", lambda name: object())
    blocks._runs_triton.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert not blocks._runs_triton(torch.device("cpu"))
            assert not blocks._runs_triton(torch.device("cpu"))
    finally:
        blocks._runs_triton.cache_clear()
    assert caplog.text.count("Failed to find C compiler") == 1
    assert "gcc" in caplog.text
