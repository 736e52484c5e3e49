"""Tiles, groups, batches, folds and mirrors never show in what is drawn."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.samplers import SAMPLERS
from diffunet.inference import draw as inference_draw
from diffunet.inference.compute import Compute
from diffunet.inference.draw import draw_x_0
from diffunet.plans import SamplingPlan
from tests.inference.fakes import (
    PointwiseNetwork,
    SmoothingNetwork,
    denoiser_of,
    random_image,
)

CPU = torch.device("cpu")
DEFAULT = Compute(device=CPU)
SAMPLING = SamplingPlan(num_steps=4, num_samples=3)


def draw(
    denoisers: Sequence[Denoiser],
    image: Tensor,
    *,
    patch_size: tuple[int, ...],
    sampling: SamplingPlan = SAMPLING,
    num_channels: int = 1,
    mirror_axes: tuple[int, ...] = (),
    seed: int = 0,
    case: str = "case",
    compute: Compute = DEFAULT,
) -> Tensor:
    drawn = draw_x_0(
        denoisers,
        image,
        num_channels=num_channels,
        sampling=sampling,
        patch_size=patch_size,
        mirror_axes=mirror_axes,
        seed=seed,
        case=case,
        compute=compute,
    )
    fields = dict(drawn)
    return torch.stack([fields[sample] for sample in range(sampling.num_samples)])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("shape", [(40, 27), (20, 17, 18)])
def test_overlapping_tiles_of_a_translation_equivariant_network_equal_the_whole_image(
    shape, sampler
):
    image = random_image(1, *shape)
    denoiser = denoiser_of(PointwiseNetwork(num_channels=2))
    sampling = SamplingPlan(num_steps=4, num_samples=3, sampler=sampler)
    whole = draw([denoiser], image, patch_size=shape, num_channels=2, sampling=sampling)
    tiled = draw([denoiser], image, patch_size=(8,) * len(shape), num_channels=2, sampling=sampling)
    assert torch.allclose(whole, tiled, atol=1e-4)


@pytest.mark.parametrize("prediction", ["x_0", "v", "noise"])
def test_tiles_are_blended_in_x_0_whatever_the_network_predicts(prediction):
    image = random_image(1, 24, 24)
    denoiser = denoiser_of(PointwiseNetwork(), prediction)
    sampling = SamplingPlan(num_steps=3, num_samples=1, sampler="ddim")
    whole = draw([denoiser], image, patch_size=(24, 24), sampling=sampling)
    tiled = draw([denoiser], image, patch_size=(8, 8), sampling=sampling)
    assert torch.allclose(whole, tiled, atol=1e-4)


def test_groups_batches_and_kept_features_do_not_change_a_sample():
    image = random_image(1, 30, 21)
    denoiser = denoiser_of(SmoothingNetwork())
    sampling = SamplingPlan(num_steps=4, num_samples=5)
    reference = draw([denoiser], image, patch_size=(8, 8), sampling=sampling)
    for compute in (
        Compute(device=CPU, state_gib=0.0),
        Compute(device=CPU, batch_voxels=1),
        Compute(device=CPU, batch_voxels=3 * 64),
        Compute(device=CPU, batch_voxels=50 * 64, feature_gib=0.0),
        Compute(device=CPU, state_gib=4 * 4 * 2 * 30 * 21 / 1024**3, batch_voxels=7 * 64),
    ):
        other = draw([denoiser], image, patch_size=(8, 8), sampling=sampling, compute=compute)
        assert torch.allclose(reference, other, atol=1e-4)
        assert ((reference > 0) != (other > 0)).float().mean() <= 1e-5


def test_a_sample_does_not_depend_on_how_many_others_are_drawn():
    image = random_image(1, 16, 16)
    denoiser = denoiser_of(SmoothingNetwork())
    few = draw([denoiser], image, patch_size=(8, 8))
    many = draw(
        [denoiser], image, patch_size=(8, 8), sampling=SamplingPlan(num_steps=4, num_samples=7)
    )
    assert torch.allclose(few, many[:3], atol=1e-5)


def test_samples_cases_and_seeds_differ_and_repeat():
    image = random_image(1, 16, 16)
    denoiser = denoiser_of(SmoothingNetwork())
    reference = draw([denoiser], image, patch_size=(16, 16))
    assert torch.equal(reference, draw([denoiser], image, patch_size=(16, 16)))
    assert not torch.allclose(reference[0], reference[1], atol=0.1)
    for other in ({"seed": 1}, {"case": "other"}):
        assert not torch.allclose(
            reference, draw([denoiser], image, patch_size=(16, 16), **other), atol=0.1
        )


def test_sample_k_comes_from_fold_k_modulo_the_number_of_folds():
    image = random_image(1, 16, 16)
    folds = [denoiser_of(SmoothingNetwork(seed=fold)) for fold in range(2)]
    sampling = SamplingPlan(num_steps=3, num_samples=5)
    both = draw(folds, image, patch_size=(8, 8), sampling=sampling)
    alone = [draw([fold], image, patch_size=(8, 8), sampling=sampling) for fold in folds]
    for sample in range(5):
        assert torch.allclose(both[sample], alone[sample % 2][sample], atol=1e-5)


def test_more_folds_than_samples_leave_the_last_folds_idle():
    image = random_image(1, 16, 16)
    idle = PointwiseNetwork()
    folds = [denoiser_of(SmoothingNetwork()), denoiser_of(idle)]
    sampling = SamplingPlan(num_steps=2, num_samples=1)
    assert len(draw(folds, image, patch_size=(16, 16), sampling=sampling)) == 1
    assert idle.batch_sizes == []


def test_a_fold_without_a_sample_is_not_asked_about_doubt():
    idle = PointwiseNetwork()
    folds = [denoiser_of(PointwiseNetwork()), denoiser_of(idle)]
    sampling = SamplingPlan(num_steps=2, num_samples=1)
    draw(folds, random_image(1, 3, 8, 8), patch_size=(8, 8), sampling=sampling)
    assert idle.batch_sizes == []


def test_within_one_patch_the_image_is_encoded_once_for_all_steps_and_groups():
    network = PointwiseNetwork()
    draw(
        [denoiser_of(network)],
        random_image(1, 16, 16),
        patch_size=(16, 16),
        compute=Compute(device=CPU, state_gib=0.0, feature_gib=0.0),
    )
    assert network.num_encodings == 1
    assert network.batch_sizes == [1] * 12  # 3 groups of one sample, 4 steps


def test_beyond_one_patch_a_tile_is_encoded_once_per_step_and_group_for_all_samples():
    network = PointwiseNetwork()
    draw(
        [denoiser_of(network)],
        random_image(1, 32, 16),
        patch_size=(16, 16),
        compute=Compute(device=CPU, feature_gib=0.0, batch_voxels=256),
    )
    assert network.num_encodings == 3 * 4  # tiles, steps
    assert network.batch_sizes == [1] * (3 * 4 * 3)


def test_features_of_tiles_are_kept_where_there_is_memory():
    network = PointwiseNetwork()
    draw([denoiser_of(network)], random_image(1, 32, 16), patch_size=(16, 16))
    assert network.num_encodings == 3


def test_small_tiles_share_network_calls():
    network = PointwiseNetwork()
    image = random_image(1, 32, 32)
    compute = Compute(device=CPU, batch_voxels=20 * 64)
    draw([denoiser_of(network)], image, patch_size=(8, 8), compute=compute)
    assert max(network.batch_sizes) == 18  # 6 tiles of 3 samples


def test_an_image_smaller_than_the_patch_is_padded_and_cropped_back():
    image = random_image(1, 5, 7)
    network = PointwiseNetwork()
    drawn = draw([denoiser_of(network)], image, patch_size=(8, 8))
    assert drawn.shape == (3, 1, 5, 7)
    assert network.batch_sizes == [3] * 4


def test_a_slice_of_a_volume_is_drawn_as_if_it_were_alone():
    image = random_image(1, 3, 12, 10)
    denoiser = denoiser_of(PointwiseNetwork())
    together = draw([denoiser], image, patch_size=(8, 8))
    alone = [draw([denoiser], part, patch_size=(8, 8)) for part in image.split(1, dim=1)]
    assert torch.allclose(together, torch.cat(alone, dim=2), atol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 16)], ids=["whole", "sliced"])
def test_the_noise_of_every_ancestral_step_is_new(monkeypatch, shape):
    """It is neither x_T, which would stay in every sample, nor the noise of another step."""
    drawn: list[Tensor] = []

    class Sampler:
        num_volumes = 4

        def __call__(self, predict_x_0, x_T, *, noise_source):
            drawn.extend([x_T, *(noise_source(step) for step in range(3))])
            return x_T.clamp(-1, 1)

    monkeypatch.setattr(inference_draw, "build_sampler", lambda *_, **__: Sampler())
    draw([denoiser_of(PointwiseNetwork())], random_image(1, *shape), patch_size=(16, 16))
    correlations = torch.corrcoef(torch.stack(drawn).flatten(1))
    assert (correlations - torch.eye(4)).abs().max() < 0.3


class AskedNetwork(PointwiseNetwork):
    """Keeps what it is asked."""

    def __init__(self):
        super().__init__()
        self.asked: list[tuple[Tensor, float]] = []

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        self.asked.append((x_t.clone(), float(t[0])))
        return super().forward(x_t, t, features, condition)


def test_doubt_is_asked_of_pure_noise_that_no_sample_has():
    network = AskedNetwork()
    draw([denoiser_of(network)], random_image(1, 3, 16, 16), patch_size=(16, 16))
    (of_doubt, t), (x_T, first_time) = network.asked[:2]
    assert t == first_time == 1
    fields = torch.cat([of_doubt[:1], x_T]).flatten(1)
    assert torch.corrcoef(fields)[0, 1:].abs().max() < 0.3


def test_groups_and_batches_do_not_change_a_sample_of_slices():
    image = random_image(1, 3, 12, 10)
    denoiser = denoiser_of(SmoothingNetwork())
    reference = draw([denoiser], image, patch_size=(8, 8))
    cut = Compute(device=CPU, state_gib=0.0, batch_voxels=2 * 64, feature_gib=0.0)
    other = draw([denoiser], image, patch_size=(8, 8), compute=cut)
    assert torch.allclose(reference, other, atol=1e-4)


def test_mirrors_average_x_0_within_each_step():
    image = random_image(1, 16, 16)
    denoiser = denoiser_of(SmoothingNetwork())
    mirrored = SamplingPlan(num_steps=1, num_samples=1, is_mirrored=True)
    plain = SamplingPlan(num_steps=1, num_samples=1)
    drawn = draw([denoiser], image, patch_size=(16, 16), sampling=mirrored, mirror_axes=(0, 1))
    kernel = denoiser.network.convolution.weight
    total = torch.zeros_like(drawn)
    with torch.no_grad():
        for axes in ((), (2,), (3,), (2, 3)):  # flipping the kernel is flipping input and output
            flipped = SmoothingNetwork()
            flipped.convolution.weight.copy_(kernel.flip(axes))
            total += draw([denoiser_of(flipped)], image, patch_size=(16, 16), sampling=plain) / 4
    assert torch.allclose(drawn, total, atol=1e-5)


def test_mirrors_are_left_out_unless_asked_for():
    image = random_image(1, 16, 16)
    denoiser = denoiser_of(SmoothingNetwork())
    assert torch.equal(
        draw([denoiser], image, patch_size=(16, 16), mirror_axes=(0, 1)),
        draw([denoiser], image, patch_size=(16, 16)),
    )


def test_every_step_of_every_sample_is_reported():
    steps = []
    drawn = draw_x_0(
        [denoiser_of(PointwiseNetwork())],
        random_image(1, 16, 16),
        num_channels=1,
        sampling=SAMPLING,
        patch_size=(8, 8),
        mirror_axes=(),
        seed=0,
        case="case",
        compute=Compute(device=CPU, state_gib=0.0, batch_voxels=64),
        on_step=steps.append,
    )
    assert [sample for sample, _ in drawn] == [0, 1, 2]
    assert sum(steps) == pytest.approx(3 * 4)
    assert max(steps) < 1, "a step of a large image may take minutes: its tiles are told"


@pytest.mark.parametrize(
    ("width", "num_samples", "batch_sizes"),
    [(70, 4, {2}), (40, 3, {3}), (40, 5, {2, 3}), (110, 1, {3}), (110, 3, {3}), (70, 1, {2})],
)
def test_a_cpu_never_gives_a_tile_of_a_volume_alone_to_the_network(width, num_samples, batch_sizes):
    """An odd tile or sample joins the pair before it: alone, it would take as long as five."""
    network = PointwiseNetwork()
    drawn = draw_x_0(
        [denoiser_of(network)],
        random_image(1, 40, 40, width),
        num_channels=1,
        sampling=SamplingPlan(num_steps=1, num_samples=num_samples, tile_step_size=1.0),
        patch_size=(40, 40, 40),
        mirror_axes=(),
        seed=0,
        case="case",
        compute=Compute(device=CPU),
    )
    assert len(list(drawn)) == num_samples
    assert set(network.batch_sizes) == batch_sizes


def test_no_seam_shows_where_tiles_meet():
    """With zeros around each tile the network errs at its rim; the weights must hide that.

    The mean absolute difference of neighbours across tile borders is compared with that elsewhere.
    """
    image = torch.zeros(1, 64, 64)
    denoiser = denoiser_of(SmoothingNetwork(seed=3))
    sampling = SamplingPlan(num_steps=4, num_samples=32)
    drawn = draw([denoiser], image, patch_size=(16, 16), sampling=sampling)
    jumps = (drawn[..., 1:, :] - drawn[..., :-1, :]).abs().mean(dim=(0, 1, 3))
    inner = jumps[7:-8]
    at_borders = torch.zeros(63, dtype=torch.bool)
    at_borders[7::8] = True
    borders = at_borders[7:-8]
    excess = inner[borders].mean() / inner[~borders].mean() - 1
    assert abs(excess) < 0.03, excess
