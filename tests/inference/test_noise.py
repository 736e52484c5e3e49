import numpy as np
import torch
from scipy import stats

from diffunet.inference.noise import SLAB_THICKNESS, draw_noise


def draw(shape=(2, 40, 30), *, seed=0, case="case", samples=(0,), step=0):
    return draw_noise(shape, seed=seed, case=case, samples=samples, step=step)


def test_noise_is_standard_normal():
    noise = draw((1, 100, 100), samples=range(4)).numpy().ravel()
    assert stats.kstest(noise, "norm").pvalue > 0.01


def test_noise_of_a_sample_does_not_depend_on_its_group():
    together = draw(samples=range(5))
    assert torch.equal(together[3:4], draw(samples=[3]))


def test_every_name_changes_the_noise():
    fields = [
        draw(),
        draw(seed=1),
        draw(case="other"),
        draw(samples=[1]),
        draw(step=1),
    ]
    correlations = np.corrcoef([field.numpy().ravel() for field in fields])
    assert np.abs(correlations - np.eye(5)).max() < 0.1


def test_slabs_differ_and_do_not_depend_on_the_slabs_after_them():
    tall = draw((1, 3 * SLAB_THICKNESS, 8))
    assert torch.equal(tall[:, :, :SLAB_THICKNESS], draw((1, SLAB_THICKNESS, 8)))
    assert not torch.equal(
        tall[:, :, :SLAB_THICKNESS], tall[:, :, SLAB_THICKNESS : 2 * SLAB_THICKNESS]
    )


def test_a_seed_means_the_same_noise_for_ever():
    assert np.allclose(draw((1, 1, 4)).flatten(), [1.0950, -0.4836, -0.3404, -2.0343], atol=1e-4)
