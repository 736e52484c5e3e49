import pytest
import torch
from torch.nn import functional

from diffunet.networks import blocks
from diffunet.networks.blocks import GroupNorm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("has_silu", [True, False])
@pytest.mark.parametrize(
    ("shape", "num_groups"), [((2, 32, 40, 33), 8), ((3, 96, 8, 8), 8), ((2, 24, 9, 20, 17), 4)]
)
def test_the_fused_kernels_are_group_norm_and_silu(shape, num_groups, has_silu):
    pytest.importorskip("triton")
    from diffunet.networks import fused_norm

    order = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    generator = torch.Generator("cuda").manual_seed(0)
    x, dy = (torch.randn(shape, device="cuda", generator=generator) for _ in range(2))
    x = (3 * x + 1).contiguous(memory_format=order).requires_grad_()
    weight, bias = (
        torch.randn(shape[1], device="cuda", generator=generator).requires_grad_() for _ in range(2)
    )
    y = fused_norm.group_norm_silu(
        x, weight, bias, num_groups=num_groups, eps=1e-5, has_silu=has_silu
    )
    y.backward(dy)
    exact = [each.detach().double().requires_grad_() for each in (x, weight, bias)]
    expected = functional.group_norm(exact[0], num_groups, *exact[1:], 1e-5)
    if has_silu:
        expected = functional.silu(expected)
    expected.backward(dy.double())
    for found, wanted in zip(
        [y, x.grad, weight.grad, bias.grad], [expected, *(each.grad for each in exact)], strict=True
    ):
        assert float((found.double() - wanted).norm() / wanted.norm()) < 1e-6
    assert y.is_contiguous(memory_format=order)


def test_a_norm_takes_the_fused_kernels_for_channels_last_memory_alone():
    pytest.importorskip("triton")
    norm = GroupNorm(16, num_groups=4).cuda()
    x = torch.randn(2, 16, 12, 12, device="cuda")
    assert not blocks._is_fused(x)
    ordered = x.contiguous(memory_format=torch.channels_last)
    assert blocks._is_fused(ordered)
    torch.testing.assert_close(norm.silu(ordered), norm.silu(x), rtol=1e-4, atol=1e-5)
