import pytest
import torch

from diffunet.networks.embeddings import LabelEmbedding, TimeEmbedding, sinusoids


def test_sinusoids_agree_with_diffusers():
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    t = torch.tensor([0.0, 0.3, 1.0])
    expected = embeddings.get_timestep_embedding(
        t, 32, flip_sin_to_cos=True, downscale_freq_shift=0, max_period=10
    )
    assert torch.allclose(sinusoids(t, dim=32), expected, atol=1e-6)


def test_the_first_sinusoid_is_the_cosine_of_t():
    t = torch.tensor([0.0, 0.5])
    assert torch.allclose(sinusoids(t, dim=8)[:, 0], t.cos())


def test_the_time_embedding_tells_neighbouring_times_apart():
    embed = TimeEmbedding(128)
    early, late = embed(torch.tensor([0.5, 0.51]))
    assert not torch.allclose(early, late, atol=1e-5)


def test_the_time_embedding_of_float64_times_is_that_of_float32():
    embed = TimeEmbedding(32)
    t = torch.tensor([0.25, 0.75])
    assert torch.equal(embed(t.double()), embed(t))


def test_label_embeddings_add_one_vector_per_label():
    embed = LabelEmbedding(2, dim=3)
    both, first = embed(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert torch.allclose(both, embed.present.sum(dim=0))
    assert torch.allclose(first, embed.present[0] + embed.absent[1])


def test_a_label_that_is_absent_differs_from_no_condition():
    embed = LabelEmbedding(1, dim=3)
    assert embed(torch.zeros(1, 1)).abs().sum() > 0


def test_tags_between_0_and_1_are_mixed_linearly():
    embed = LabelEmbedding(1, dim=3)
    absent, mixed, present = embed(torch.tensor([[0.0], [0.25], [1.0]]))
    assert torch.allclose(mixed, 0.75 * absent + 0.25 * present)
