import dataclasses
import math

import pytest
import torch

from diffunet.networks.blocks import folded, unfolded
from diffunet.networks.denoising import ConcatenatedNetwork, EncodedNetwork, PooledInput, pooled
from diffunet.networks.segmentation import SegmentationNetwork
from diffunet.networks.task import NetworkTask
from diffunet.networks.unet import UNetShape

SHAPE = UNetShape(
    channels=(8, 8, 16),
    strides=((1, 1), (2, 2), (2, 2)),
    kernel_sizes=((3, 3),) * 3,
    num_blocks=(1, 1, 1),
    num_decoder_blocks=(1, 1, 1),
    num_middle_blocks=2,
    has_attention=(False, False, True),
    num_heads=2,
    num_groups=4,
    dropout=0.0,
    embedding_dim=None,
)
VOLUME_SHAPE = dataclasses.replace(
    SHAPE, strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), kernel_sizes=((1, 3, 3),) + ((3, 3, 3),) * 2
)
CELL_SHAPE = dataclasses.replace(SHAPE, strides=((2, 2), (2, 2), (1, 2)))
VOLUME_CELL_SHAPE = dataclasses.replace(VOLUME_SHAPE, strides=((1, 2, 2), (2, 2, 2), (1, 1, 1)))
# Christensen et al. 2025, as documentation/explanation says; parameters counted by hand from the
# layers of an OpenAI-type U-Net.
P1_SHAPE = UNetShape(
    channels=(32, 32, 64, 128),
    strides=((1, 1), (2, 2), (2, 2), (2, 2)),
    kernel_sizes=((3, 3),) * 4,
    num_blocks=(1, 2, 3, 4),
    num_decoder_blocks=(2, 3, 4, 5),
    num_middle_blocks=4,
    has_attention=(False, False, False, True),
    num_heads=4,
    num_groups=32,
    dropout=0.0,
    embedding_dim=None,
)
P1_NUM_PARAMETERS = 6_891_905


def build(kind, *, shape=SHAPE, num_classes=2, has_final_tanh=False, is_randomized=True):
    task = NetworkTask(
        num_image_channels=3,
        num_label_channels=2,
        has_final_tanh=has_final_tanh,
        num_classes=num_classes,
    )
    if kind in ("encoded", "pooled"):
        image_shape = dataclasses.replace(shape, channels=(8, 16, 24))
        network = EncodedNetwork(
            task, shape=shape, image_shape=image_shape, has_pooled_input=kind == "pooled"
        )
    else:
        network = ConcatenatedNetwork(task, shape=shape)
    if is_randomized:
        generator = torch.Generator().manual_seed(0)
        for parameter in network.parameters():
            parameter.data.normal_(0, 0.1, generator=generator)
    return network


kinds = pytest.mark.parametrize("kind", ["encoded", "pooled", "concatenated"])
shapes = pytest.mark.parametrize(
    ("shape", "spatial"),
    [
        (SHAPE, (8, 12)),
        (VOLUME_SHAPE, (4, 8, 12)),
        (CELL_SHAPE, (8, 16)),
        (VOLUME_CELL_SHAPE, (4, 8, 12)),
    ],
    ids=["2d", "3d", "2d_cells", "3d_cells"],
)


def test_the_published_network_has_the_published_number_of_parameters():
    task = NetworkTask(num_image_channels=3, num_label_channels=1, has_final_tanh=True)
    network = ConcatenatedNetwork(task, shape=P1_SHAPE)
    assert sum(each.numel() for each in network.parameters()) == P1_NUM_PARAMETERS


@kinds
@shapes
def test_the_output_has_the_shape_of_x_t(kind, shape, spatial):
    network = build(kind, shape=shape)
    features = network.encode_image(torch.randn(2, 3, *spatial))
    output = network(torch.randn(2, 2, *spatial), torch.rand(2), features)
    assert output.shape == (2, 2, *spatial)


@kinds
@shapes
def test_one_encoded_image_serves_many_samples(kind, shape, spatial):
    network = build(kind, shape=shape).eval()
    image = torch.randn(1, 3, *spatial)
    x_t, t = torch.randn(3, 2, *spatial), torch.rand(3)
    features = network.encode_image(image)
    assert all(each.shape[0] == 1 for each in features)
    repeated = network.encode_image(image.expand(3, *image.shape[1:]))
    expected = network(x_t, t, repeated)
    expanded = tuple(each.expand(3, *each.shape[1:]) for each in features)
    assert torch.allclose(network(x_t, t, expanded), expected, atol=1e-5)
    assert torch.allclose(network(x_t, t, features), expected, atol=1e-5)


@kinds
def test_a_sample_does_not_depend_on_the_others_of_its_batch(kind):
    network = build(kind).eval()
    x_t, t, image = torch.randn(3, 2, 8, 8), torch.rand(3), torch.randn(3, 3, 8, 8)
    together = network(x_t, t, network.encode_image(image))
    alone = network(x_t[1:2], t[1:2], network.encode_image(image[1:2]))
    assert torch.allclose(together[1:2], alone, atol=1e-5)


@kinds
@pytest.mark.parametrize("changed", ["x_t", "t", "image", "condition"])
def test_the_output_depends_on_every_input(kind, changed):
    network = build(kind).eval()

    def output(**changes):
        inputs = {
            "x_t": torch.ones(1, 2, 8, 8),
            "t": torch.tensor([0.5]),
            "image": torch.ones(1, 3, 8, 8),
            "condition": torch.zeros(1, network.condition_dim),
        } | changes
        features = network.encode_image(inputs["image"])
        return network(inputs["x_t"], inputs["t"], features, inputs["condition"])

    other = {
        "x_t": torch.arange(128.0).reshape(1, 2, 8, 8),
        "t": torch.tensor([0.9]),
        "image": torch.arange(192.0).reshape(1, 3, 8, 8),
        "condition": torch.ones(1, network.condition_dim),
    }
    assert not torch.allclose(output(), output(**{changed: other[changed]}), atol=1e-4)


@kinds
def test_no_condition_is_the_condition_zero(kind):
    network = build(kind).eval()
    x_t, t = torch.randn(1, 2, 8, 8), torch.rand(1)
    features = network.encode_image(torch.randn(1, 3, 8, 8))
    zero = torch.zeros(1, network.condition_dim)
    assert torch.equal(network(x_t, t, features), network(x_t, t, features, zero))


@kinds
def test_embedded_labels_are_conditions(kind):
    network = build(kind)
    condition = network.embed_labels(torch.tensor([[0.0, 1.0]]))
    assert condition.shape == (1, network.condition_dim)
    features = network.encode_image(torch.randn(1, 3, 8, 8))
    assert network(torch.randn(1, 2, 8, 8), torch.rand(1), features, condition).isfinite().all()


@kinds
def test_a_network_without_labels_says_so(kind):
    with pytest.raises(ValueError, match="without image-level labels"):
        build(kind, num_classes=0).embed_labels(torch.zeros(1, 1))


@kinds
def test_missing_features_are_named(kind):
    with pytest.raises(ValueError, match="got None"):
        build(kind)(torch.zeros(1, 2, 8, 8), torch.zeros(1))


def test_without_image_channels_there_are_no_features():
    task = NetworkTask(num_image_channels=0, num_label_channels=1, num_classes=1)
    network = ConcatenatedNetwork(task, shape=SHAPE)
    x_t, t = torch.zeros(1, 1, 8, 8), torch.zeros(1)
    assert network(x_t, t, None, network.embed_labels(torch.ones(1, 1))).shape == x_t.shape
    with pytest.raises(ValueError, match="0 image channels, got 1"):
        network(x_t, t, (x_t,))


@kinds
def test_a_new_network_predicts_zero(kind):
    network = build(kind, is_randomized=False)
    features = network.encode_image(torch.randn(1, 3, 8, 8))
    assert network(torch.randn(1, 2, 8, 8), torch.rand(1), features).abs().sum() == 0


@kinds
def test_the_final_tanh_bounds_the_output(kind):
    bounded, free = build(kind, has_final_tanh=True), build(kind)
    x_t, t, image = 100 * torch.randn(1, 2, 8, 8), torch.rand(1), torch.randn(1, 3, 8, 8)
    expected = free(x_t, t, free.encode_image(image)).tanh()
    assert torch.equal(bounded(x_t, t, bounded.encode_image(image)), expected)


@kinds
@shapes
def test_every_parameter_gets_a_gradient(kind, shape, spatial):
    network = build(kind, shape=shape)
    image, x_t = torch.randn(2, 3, *spatial), torch.randn(2, 2, *spatial)
    condition = network.embed_labels(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    output = network(x_t, torch.rand(2), network.encode_image(image), condition)
    output.square().sum().backward()
    idle = [
        name
        for name, each in network.named_parameters()
        if each.grad is None or not each.grad.isfinite().all() or not each.grad.any()
    ]
    assert idle == []


@kinds
def test_autocast_changes_the_output_little_and_returns_float32(kind):
    network = build(kind).eval()
    x_t, t, image = torch.randn(1, 2, 8, 8), torch.rand(1), torch.randn(1, 3, 8, 8)
    exact = network(x_t, t, network.encode_image(image))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(x_t, t, network.encode_image(image))
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


@kinds
def test_channels_last_weights_and_inputs_give_the_same(kind):
    network = build(kind).eval()
    x_t, t, image = torch.randn(1, 2, 8, 8), torch.rand(1), torch.randn(1, 3, 8, 8)
    expected = network(x_t, t, network.encode_image(image))
    network = network.to(memory_format=torch.channels_last)
    x_t, image = (each.to(memory_format=torch.channels_last) for each in (x_t, image))
    found = network(x_t, t, network.encode_image(image))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("has_concatenated_skips", [True, False])
@shapes
def test_the_supervised_network_maps_images_to_logits(has_concatenated_skips, shape, spatial):
    network = SegmentationNetwork(
        NetworkTask(num_image_channels=3, num_label_channels=2),
        shape=shape,
        has_concatenated_skips=has_concatenated_skips,
    )
    logits = network(torch.randn(2, 3, *spatial))
    assert logits.shape == (2, 2, *spatial)
    assert logits.abs().sum() == 0


@shapes
def test_pooled_noise_keeps_its_variance_and_what_voxels_share_stands_out(shape, spatial):
    noise = torch.randn(200, 2, *(16 * edge // 4 for edge in spatial))
    for stride in shape.strides[1:]:
        cell = torch.tensor(stride).prod()
        noise_before, noise = noise, pooled(noise, stride)
        assert float(noise.var()) == pytest.approx(1, abs=0.03)
        shared = pooled(torch.ones_like(noise_before), stride)
        torch.testing.assert_close(shared, torch.full_like(noise, float(cell.sqrt())))


def test_a_voxel_of_the_pooled_map_is_the_sum_of_its_cell():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert pooled(x, (2, 2))[0, 0].tolist() == [[5.0, 9.0], [21.0, 25.0]]
    assert torch.equal(pooled(x, (1, 1)), x)


@pytest.mark.parametrize("kind", ["encoded", "concatenated"])
def test_cells_are_folded_into_channels_and_unfolded_at_the_end(kind):
    """The network of cells is that of one voxel each on images with the cells as channels."""
    network = build(kind, shape=CELL_SHAPE)
    folded_shape = dataclasses.replace(CELL_SHAPE, strides=((1, 1), *CELL_SHAPE.strides[1:]))
    task = NetworkTask(num_image_channels=12, num_label_channels=8, num_classes=2)
    if kind == "encoded":
        image_shape = dataclasses.replace(folded_shape, channels=(8, 16, 24))
        other = EncodedNetwork(task, shape=folded_shape, image_shape=image_shape)
    else:
        other = ConcatenatedNetwork(task, shape=folded_shape)
    other.load_state_dict(network.state_dict())
    image, x_t, t = torch.randn(2, 3, 8, 16), torch.randn(2, 2, 8, 16), torch.tensor([0.1, 0.8])
    fold = torch.nn.PixelUnshuffle(2)
    output = network(x_t, t, network.encode_image(image))
    expected = other(fold(x_t), t, other.encode_image(fold(image)))
    torch.testing.assert_close(output, torch.nn.functional.pixel_shuffle(expected, 2))


def test_the_pooled_input_starts_from_single_voxels_where_cells_are_folded():
    finest = PooledInput(1, shape=dataclasses.replace(SHAPE, strides=((1, 1), (4, 4), (2, 2))))
    cells = PooledInput(1, shape=CELL_SHAPE)
    cells.load_state_dict(finest.state_dict())
    x_t = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(cells(x_t)[0], finest(x_t)[0])


@pytest.mark.parametrize("cell", [(2, 2), (1, 2), (2, 3, 4), (1, 1)])
def test_unfolding_undoes_folding(cell):
    x = torch.randn(2, 3, *(4 * step for step in cell))
    cells = folded(x, cell)
    assert cells.shape == (2, 3 * math.prod(cell), *(4,) * len(cell))
    assert torch.equal(unfolded(cells, cell), x)
    # a channel of the result is one voxel of every cell
    every = tuple(slice(step - 1, None, step) for step in cell)
    assert torch.equal(cells[:, math.prod(cell) - 1], x[(slice(None), 0, *every)])
