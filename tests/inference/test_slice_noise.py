"""Noise of volumes in slices: normal in every slice, and one rater in all slices of a sample."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from diffunet.diffusion.samplers import SAMPLERS
from diffunet.diffusion.schedules import alpha_sigma
from diffunet.inference.compute import Compute
from diffunet.inference.draw import draw_x_0
from diffunet.inference.slice_noise import doubt_of, draw_slice_noise
from diffunet.plans import SamplingPlan
from tests.inference.fakes import PointwiseNetwork, denoiser_of

EDGE, NUM_SLICES = 26, 9


def discs(radius: float, *, drift: float = 0.0) -> Tensor:
    """Return a mask of -1 and 1 (slice, y, x): a ball whose centre moves from slice to slice."""
    middle = (NUM_SLICES - 1) / 2
    offsets = np.arange(NUM_SLICES) - middle
    radii = radius * np.sqrt(1 - (offsets / (NUM_SLICES / 2)) ** 2)
    rows, columns = np.indices((EDGE, EDGE)) - (EDGE - 1) / 2
    distances = np.hypot(rows, columns - drift * offsets[:, None, None])
    return torch.from_numpy(np.where(distances < radii[:, None, None], 1.0, -1.0)).float()


class TwoRaters(nn.Module):
    """The exact denoiser of slices that one of two raters marked; the image is their two masks."""

    def __init__(self, share_of_second: float):
        super().__init__()
        self.log_odds = float(np.log(share_of_second / (1 - share_of_second)))
        self.schedule = denoiser_of(PointwiseNetwork()).schedule

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image,)

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        first, second = features[0][:, :1], features[0][:, 1:]
        alpha, sigma = alpha_sigma(self.schedule.log_snr(t.double()))
        evidence = (x_t * (second - first)).flatten(1).sum(dim=1) * (alpha / sigma**2)
        share = (evidence + self.log_odds).sigmoid().float()[:, None, None, None]
        return share * second + (1 - share) * first


def shares_of_second(
    raters: tuple[Tensor, Tensor], *, share: float = 0.5, sampler: str = "ddpm", num_samples: int
) -> np.ndarray:
    """Return (sample, slice) whether the slices that the raters mark differently are the second's.

    Where a sample follows one rater, its row has one value.
    """
    drawn = draw_x_0(
        [denoiser_of(TwoRaters(share))],
        torch.stack(raters),
        num_channels=1,
        sampling=SamplingPlan(num_samples=num_samples, num_steps=10, sampler=sampler),
        patch_size=(EDGE, EDGE),
        mirror_axes=(),
        seed=0,
        case="case",
        compute=Compute(device=torch.device("cpu")),
    )
    samples = torch.stack([x_0[0] for _, x_0 in drawn])
    first, second = ((samples - rater).abs().sum(dim=(-2, -1)) for rater in raters)
    differ = (raters[0] != raters[1]).flatten(1).any(dim=1)
    return (second < first)[:, differ].numpy()


def main_share(followed: np.ndarray) -> float:
    """Return the share of a sample's slices that follow the same rater as most of them do."""
    share = followed.mean(axis=1)
    return float(np.maximum(share, 1 - share).mean())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_a_sample_of_slices_is_one_raters_volume(sampler, drift):
    raters = (discs(7, drift=drift), discs(9, drift=drift))
    assert main_share(shares_of_second(raters, sampler=sampler, num_samples=16)) > 0.9


def test_who_marks_nothing_marks_nothing_in_the_whole_volume():
    raters = (torch.full((NUM_SLICES, EDGE, EDGE), -1.0), discs(8))
    assert main_share(shares_of_second(raters, num_samples=16)) > 0.9


def test_a_volume_follows_each_rater_as_often_as_a_slice_does():
    followed = shares_of_second((discs(7), discs(9)), share=0.25, num_samples=64)
    assert abs(followed.mean() - 0.25) < 0.14  # 2.6 standard errors of 64 volumes
    assert main_share(followed) > 0.9


def noise_of(doubt: Tensor, *, samples=(0,), seed=0, case="case", step=0) -> Tensor:
    return draw_slice_noise(doubt, seed=seed, case=case, samples=samples, step=step)


def smooth_doubt(num_slices: int = 3) -> Tensor:
    return doubt_of(torch.linspace(-1, 1, 2 * num_slices * 24 * 24).view(2, num_slices, 24, 24))


def test_noise_is_standard_normal_in_every_slice_and_along_its_doubt():
    doubt = smooth_doubt()
    noise = noise_of(doubt, samples=range(400))
    for values in noise.movedim(2, 0):
        assert stats.kstest(values.flatten()[::7].numpy(), "norm").pvalue > 0.01
    along = (noise * doubt).sum(dim=(-2, -1))
    assert stats.kstest(along[:, 0, 0].numpy(), "norm").pvalue > 0.01
    covariance = np.cov(noise[:, 0, 1].flatten(1)[:, ::29].numpy().T)
    assert np.abs(covariance - np.eye(len(covariance))).max() < 0.25


def test_all_slices_point_as_far_towards_their_doubt():
    doubt = smooth_doubt()
    along = (noise_of(doubt, samples=range(5)) * doubt).sum(dim=(-2, -1))
    assert torch.allclose(along, along[..., :1].expand_as(along), atol=1e-4)
    assert along[..., 0].std() > 0.3


def test_slices_without_doubt_share_their_noise():
    noise = noise_of(torch.zeros(1, 3, 8, 8))
    assert torch.equal(noise[:, :, 0], noise[:, :, 2])
    assert noise.std() > 0.5


def test_noise_of_a_sample_does_not_depend_on_its_group_or_on_other_slices():
    doubt = smooth_doubt()
    together = noise_of(doubt, samples=range(4))
    assert torch.equal(together[3:], noise_of(doubt, samples=[3]))
    below = noise_of(doubt[:, 1:], samples=range(4))
    assert torch.allclose(together[:, :, 1:], below, atol=1e-5)


def test_every_name_changes_the_noise_and_how_far_it_points():
    doubt = smooth_doubt()
    fields = torch.cat(
        [
            noise_of(doubt),
            noise_of(doubt, seed=1),
            noise_of(doubt, case="other"),
            noise_of(doubt, samples=[1]),
            noise_of(doubt, step=1),
        ]
    )
    correlations = np.corrcoef(fields[:, 0, 0].flatten(1).numpy())
    assert np.abs(correlations - np.eye(5)).max() < 0.15
    along = (fields * doubt).sum(dim=(-2, -1))[:, 0, 0]
    assert len(along.unique()) == 5


def test_doubt_is_where_the_mean_is_neither_sure_nor_impossible():
    mean = torch.full((1, 1, 4, 4), -1.0)
    mean[..., 1, 1:3] = 0.0
    expected = torch.zeros(4, 4)
    expected[1, 1:3] = 0.5**0.5
    assert torch.allclose(doubt_of(mean)[0, 0], expected)


def test_an_answer_beyond_sure_leaves_no_doubt():
    mean = torch.full((1, 1, 4, 4), 1.5)
    mean[..., 0, 0] = 0.0
    doubt = doubt_of(mean)
    assert doubt[0, 0, 0, 0] == 1
    assert doubt.sum() == 1


def test_nearly_sure_voxels_do_not_outvote_those_in_doubt():
    mean = torch.full((1, 1, 256, 256), -0.999)
    mean[..., 100:110, 100:110] = 0.0
    assert doubt_of(mean)[..., 100:110, 100:110].square().sum() > 0.9
