"""`diffusion.is_self_conditioned`: the network sees its own x_0_hat, in training and in drawing."""

import dataclasses
import itertools
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from diffunet.backbones import BACKBONES
from diffunet.build import build_denoiser, build_sampler
from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule, add_noise
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.diffusion.weighting import WEIGHTINGS
from diffunet.inference.compute import Compute
from diffunet.inference.draw import draw_x_0
from diffunet.labels import LabelScheme
from diffunet.plans import NetworkPlan, SamplingPlan
from diffunet.training.objective import DiffusionObjective
from tests.inference.fakes import random_image
from tests.inference.models import small_configuration
from tests.test_backbones import built, of_backbone
from tests.training.test_objective import batch, label_maps

SCHEDULE = ScaledSchedule(CosineSchedule(), 0.1, 20.0)
TIMES = torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=torch.float64)
UNIFORM = partial(WEIGHTINGS["uniform"], bias=0.0)
DISC = LabelScheme(names=("disc",), values=((1,),))


class Mixing(nn.Module):
    """Mixes x_t, its own x_0_hat and the image, voxel by voxel; remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, 0.9, 1.5]))
        self.seen: list[Tensor] = []

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image,)

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        state, x_0_hat = x_t.chunk(2, dim=1)
        self.seen.append(x_0_hat.detach().clone())
        image = features[0].expand(len(x_t), *features[0].shape[1:])
        return self.weight[0] * state + self.weight[1] * x_0_hat + self.weight[2] * image


def self_conditioned(network: nn.Module | None = None) -> Denoiser:
    return Denoiser(
        network or Mixing(),
        schedule=SCHEDULE,
        prediction=PREDICTIONS["x_0"],
        is_self_conditioned=True,
    )


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.rand(4, 1, 6, 5, generator=generator).round() * 2 - 1
    noise, image = (torch.randn(4, 1, 6, 5, generator=generator) for _ in range(2))
    return x_0, noise, (image,)


def loss_of(denoiser: Denoiser, given, told: list[int]) -> Tensor:
    x_0, noise, features = given
    return denoiser.loss(
        *(x_0, TIMES, noise),
        features=features,
        weighting=UNIFORM,
        is_decoupled=False,
        valid=None,
        told=torch.tensor(told, dtype=torch.int64),
    ).weighted_sum


# ---- training


def test_told_rows_see_their_first_x_0_hat_and_others_see_zeros(given):
    denoiser = self_conditioned()
    x_0, noise, features = given
    loss_of(denoiser, given, [0, 3])
    x_t = add_noise(x_0, noise, log_snr=SCHEDULE.log_snr(TIMES))
    first = denoiser.predict_x_0(x_t, TIMES, features=features).clamp(-1, 1)
    seen = denoiser.network.seen[1]  # of the second pass
    torch.testing.assert_close(seen[[0, 3]], first[[0, 3]].detach())
    assert (seen[[1, 2]] == 0).all()
    assert first.abs().max() == 1  # so that the clipping is seen


def test_the_first_pass_has_no_gradients(given):
    """They are those of a network to which x_0_hat was given from outside."""
    denoiser = self_conditioned()
    x_0, noise, features = given
    loss_of(denoiser, given, [0, 1, 2, 3]).sum().backward()
    found = denoiser.network.weight.grad.clone()
    denoiser.network.weight.grad = None
    x_t = add_noise(x_0, noise, log_snr=SCHEDULE.log_snr(TIMES))
    first = denoiser.predict_x_0(x_t, TIMES, features=features).clamp(-1, 1).detach()
    second = denoiser.predict_x_0(x_t, TIMES, features=features, x_0_hat=first)
    (second - x_0).square().sum().backward()
    torch.testing.assert_close(found, denoiser.network.weight.grad)


def test_nobody_told_is_one_pass(given):
    denoiser = self_conditioned()
    loss_of(denoiser, given, [])
    assert len(denoiser.network.seen) == 1
    assert (denoiser.network.seen[0] == 0).all()


def test_autocast_keeps_the_gradients_of_the_second_pass(given, monkeypatch):
    """Older torch keeps casts of weights, and those of a pass without gradients have none."""
    cleared: list[bool] = []
    clear = torch.clear_autocast_cache
    monkeypatch.setattr(
        torch, "clear_autocast_cache", lambda: (cleared.append(torch.is_grad_enabled()), clear())
    )
    x_0, noise, features = given

    class Convolving(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 1, 3, padding=1)

        def encode_image(self, image):
            return (image,)

        def forward(self, x_t, t, features=None, condition=None):
            return self.convolution(torch.cat([x_t, features[0]], dim=1))

    torch.manual_seed(0)
    denoiser = self_conditioned(Convolving())
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(denoiser, (x_0, noise, features), [0, 1, 2, 3])
        assert True in cleared
    loss.sum().backward()
    in_bfloat16 = denoiser.network.convolution.weight.grad.clone()
    denoiser.zero_grad()
    loss_of(denoiser, (x_0, noise, features), [0, 1, 2, 3]).sum().backward()
    in_float32 = denoiser.network.convolution.weight.grad
    assert (in_bfloat16 - in_float32).norm() < 0.02 * in_float32.norm()


def told_of(*, iteration: int, indices: tuple[int, ...], num_draws: int) -> list[int]:
    configuration = self_conditioned_plan(num_draws=num_draws)
    objective = DiffusionObjective(configuration=configuration, labels=DISC, seed=5)

    class Recording(nn.Module):
        told: Tensor

        def encode_image(self, image):
            return (image,)

        def loss(self, x_0, t, noise, *, told, **_settings):
            self.told = told
            return denoiser.loss(x_0, t, noise, told=told, **_settings)

    denoiser, model = self_conditioned(), Recording()
    asked = batch(label_maps(len(indices), 1), indices=indices)
    objective(model, dataclasses.replace(asked, iteration=iteration))
    numbers = [index * num_draws + draw for index in indices for draw in range(num_draws)]
    return [numbers[row] for row in model.told.tolist()]


@pytest.mark.parametrize("num_draws", [1, 3])
def test_every_draw_is_told_in_every_other_iteration_on_whatever_rank(num_draws):
    everything = list(range(4 * num_draws))
    for iteration in (6, 7):
        whole = told_of(iteration=iteration, indices=(0, 1, 2, 3), num_draws=num_draws)
        parts = [
            told_of(iteration=iteration, indices=part, num_draws=num_draws)
            for part in ((0, 2), (1,), (3,))
        ]
        assert sorted(itertools.chain(*parts)) == whole
        assert len(whole) == len(everything) // 2
    other = told_of(iteration=6, indices=(0, 1, 2, 3), num_draws=num_draws)
    assert sorted(whole + other) == everything


def self_conditioned_plan(*, num_draws: int = 1, network: NetworkPlan | None = None):
    plan = small_configuration()
    return dataclasses.replace(
        plan,
        network=network or plan.network,
        diffusion=dataclasses.replace(plan.diffusion, is_self_conditioned=True),
        training=dataclasses.replace(plan.training, num_draws=num_draws),
    )


@pytest.mark.parametrize("has_pooled_input", [False, True])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_network_takes_x_0_hat_and_learns_from_it(backbone, has_pooled_input):
    torch.manual_seed(0)
    network = of_backbone(built(backbone))
    network = dataclasses.replace(network, has_pooled_input=has_pooled_input)
    plan = self_conditioned_plan(network=network)
    denoiser = build_denoiser(plan, num_image_channels=1, labels=DISC)
    with torch.no_grad():  # last layers of a new network are 0, and hide all before them
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    x_t, image = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    features = denoiser.encode_image(image)
    x_0_hat = torch.randn(2, 1, 16, 16).clamp(-1, 1).requires_grad_()
    found = denoiser.predict_x_0(x_t, 0.5, features=features, x_0_hat=x_0_hat)
    assert found.shape == x_t.shape
    found.square().sum().backward()
    assert x_0_hat.grad is not None
    assert x_0_hat.grad.abs().sum() > 0


# ---- drawing


def drawn_by(
    denoiser: Denoiser,
    image: Tensor,
    *,
    patch_size: tuple[int, ...],
    sampler: str = "dpm_solver_2m",
    mirror_axes: tuple[int, ...] = (),
    compute: Compute | None = None,
) -> Tensor:
    sampling = SamplingPlan(
        num_steps=4, num_samples=5, sampler=sampler, is_mirrored=bool(mirror_axes)
    )
    fields = dict(
        draw_x_0(
            [denoiser.eval()],
            image,
            num_channels=1,
            sampling=sampling,
            patch_size=patch_size,
            mirror_axes=mirror_axes,
            seed=0,
            case="case",
            compute=compute or Compute(device=torch.device("cpu")),
        )
    )
    return torch.stack([fields[sample] for sample in range(5)])


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver_2m"])
def test_each_step_sees_x_0_hat_of_the_step_before(sampler):
    network = Mixing()
    image = random_image(1, 12, 12)
    one_by_one = Compute(device=torch.device("cpu"), state_gib=0.0)
    drawn = drawn_by(
        self_conditioned(network), image, patch_size=(12, 12), sampler=sampler, compute=one_by_one
    )
    assert len(network.seen) == 5 * 4
    for sample in range(5):
        first, *others = network.seen[4 * sample : 4 * sample + 4]
        assert (first == 0).all()  # also of the second group of samples, and all after it
        assert all(each.abs().max() <= 1 and each.abs().sum() > 0 for each in others)
        assert not torch.equal(others[0], others[1])
        assert drawn[sample].shape == (1, 12, 12)


def test_x_0_hat_counts_among_the_volumes_of_a_group():
    image, network = random_image(1, 12, 12), Mixing()
    room = 3 * 3 * 4 * 12 * 12 / 1024**3  # three volumes of three samples
    compute = Compute(device=torch.device("cpu"), state_gib=room)
    drawn_by(self_conditioned(network), image, patch_size=(12, 12), sampler="ddim", compute=compute)
    volumes = build_sampler(SamplingPlan(sampler="ddim"), schedule=SCHEDULE).num_volumes
    assert len(network.seen[0]) == 9 // (volumes + 1)


@pytest.mark.parametrize("shape", [(40, 27), (20, 17, 18)])
@pytest.mark.parametrize("mirror_axes", [(), (0, 1)])
def test_tiles_mirrors_groups_and_batches_do_not_show(shape, mirror_axes):
    image, denoiser = random_image(1, *shape), self_conditioned()
    whole = drawn_by(denoiser, image, patch_size=shape)
    compute = Compute(device=torch.device("cpu"), batch_voxels=3 * 64, state_gib=2e-4)
    patch = (8,) * len(shape)
    tiled = drawn_by(denoiser, image, patch_size=patch, mirror_axes=mirror_axes, compute=compute)
    assert torch.allclose(whole, tiled, atol=1e-4)
    told_nothing = Denoiser(
        Half(denoiser.network), schedule=SCHEDULE, prediction=PREDICTIONS["x_0"]
    )
    assert not torch.allclose(whole, drawn_by(told_nothing, image, patch_size=shape), atol=0.1)


class Half(nn.Module):
    """The same network, which always sees zeros."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image,)

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        return self.network(torch.cat([x_t, torch.zeros_like(x_t)], dim=1), t, features)
